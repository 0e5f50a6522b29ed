// A field that finds things while one types: the combobox of the ARIA practices, with a list below it.

import { h, later, say } from "./dom.js";

let made = 0;

/**
 * @param {string} label what is searched, shown above the field
 * @param {string} hint in the empty field
 * @param {(query: string, signal: AbortSignal) => Promise<Array>} find
 * @param {(found: any) => Array<Node|string>} shown contents of one line
 * @param {(found: any) => void} choose
 */
export function chooser({ label, hint, find, shown, choose, failed }) {
  const id = `choose-${(made += 1)}`;
  const list = h("ul", { id: `${id}-list`, role: "listbox", tabindex: "-1", "aria-label": label, hidden: true });
  const field = h("input", {
    id, type: "text", role: "combobox", autocomplete: "off", spellcheck: "false", placeholder: hint, "aria-expanded": "false",
    "aria-controls": `${id}-list`, "aria-autocomplete": "list", maxlength: 200,
  });
  let found = [];
  let at = -1;
  let asking = null;
  let stale = false; // typed since the list was made

  function close() {
    asking?.abort();
    stale = false;
    list.hidden = true;
    at = -1;
    field.setAttribute("aria-expanded", "false");
    field.removeAttribute("aria-activedescendant");
  }

  function mark(place) {
    at = place;
    [...list.children].forEach((line, number) => line.setAttribute("aria-selected", String(number === at)));
    if (at >= 0) {
      field.setAttribute("aria-activedescendant", `${id}-${at}`);
      list.children[at].scrollIntoView({ block: "nearest" });
    } else field.removeAttribute("aria-activedescendant");
  }

  function take(place) {
    const chosen = found[place];
    if (chosen === undefined) return;
    field.value = "";
    close();
    choose(chosen);
  }

  async function search() {
    asking?.abort();
    asking = new AbortController();
    const { signal } = asking;
    stale = false;
    try {
      const results = await find(field.value.trim(), signal);
      if (signal.aborted || document.activeElement !== field) return;
      found = results;
    } catch (error) {
      if (error.name !== "AbortError") failed(error);
      return;
    }
    const lines = found.map((each, place) =>
      h("li", { id: `${id}-${place}`, role: "option", "aria-selected": "false", on: { mousedown: (event) => { event.preventDefault(); take(place); } } }, shown(each)));
    list.replaceChildren(...(lines.length ? lines : [h("li", { class: "none", role: "option", "aria-disabled": "true" }, "Nothing found")]));
    list.hidden = false;
    field.setAttribute("aria-expanded", "true");
    mark(-1);
    say(`${found.length} found`);
  }

  let busy = null; // the search at hand
  const soon = later(() => { if (stale || list.hidden) busy = search(); }, 120);
  field.addEventListener("input", () => { stale = true; soon(); });
  field.addEventListener("focus", soon);
  field.addEventListener("blur", close);
  field.addEventListener("keydown", async (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") close();
    if (step === undefined && event.key !== "Enter") return;
    event.preventDefault();
    const open = !list.hidden || stale;
    if (list.hidden || stale) await (busy = search());
    else await busy;
    if (list.hidden || !open) return;
    if (event.key === "Enter") take(Math.max(at, 0));
    else if (found.length) mark((at + step + found.length) % found.length);
  });
  return h("div", { class: "choose" }, h("label", { for: id }, label), field, list);
}
