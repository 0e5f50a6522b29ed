// Questions to the service that this page came from, with the key of this tab.

const KEY = "interlingua.key";

export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => (value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY)),
};

export class ServiceError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function words(status, body) {
  const detail = body?.detail;
  if (typeof detail === "string") return detail;
  if (Array.isArray(detail)) return detail.map((each) => `${(each.loc ?? []).slice(1).join(".")}: ${each.msg}`).join("; ");
  return `the service answered ${status}`;
}

async function ask(path, options) {
  const headers = { ...(options.headers ?? {}) };
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  let answer;
  try {
    answer = await fetch(path, { ...options, headers, credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError(0, "the service does not answer; is it still running?");
  }
  if (!answer.ok) throw new ServiceError(answer.status, words(answer.status, await answer.json().catch(() => null)));
  return answer;
}

export const get = async (path, signal) => (await ask(path, { signal })).json();

export const text = async (path, signal) => (await ask(path, { signal })).text();

export const post = async (path, body, signal) =>
  (await ask(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal })).json();

export const remove = async (path) => (await ask(path, { method: "DELETE" })).json();

/** A name for one change, which is made once however often it is sent. (`crypto.randomUUID` is for HTTPS and localhost.) */
export const once = () => `page-${Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("")}`;

/** Words for whoever looks at the page. */
export function explained(error) {
  if (error.status === 401 || error.status === 403) return `${error.message} (the button Key takes one)`;
  return error.message;
}
