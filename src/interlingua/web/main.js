// The page: which part is shown, colours, the key, and what is being trained meanwhile.

import { explained, get, key } from "./api.js";
import { byId, counted, h, number, problem, say } from "./dom.js";
import { items } from "./items.js";
import { live } from "./live.js";
import { models } from "./models.js";
import { playground } from "./playground.js";

const PARTS = { playground, items, models, live };
const THEME = "interlingua.theme";
const page = { about: null, failed: (error) => { if (error.name !== "AbortError") problem(explained(error)); }, go, soon };
const begun = {};
const LOOK_MS = 1000;
const PATIENCE_MS = 5 * 60_000; // for a version to be loaded
let followed = false; // the end of a training beside the service
let renewal = 0; // the timer while something is trained
let watch = 0; // the newest look-out for another version

function go(part) {
  if (location.hash === `#${part}`) show();
  else location.hash = part;
}

async function show() {
  const asked = location.hash.slice(1);
  const part = asked in PARTS ? asked : "playground";
  for (const name of Object.keys(PARTS)) {
    byId(name).hidden = name !== part;
    const link = document.querySelector(`.tabs a[href="#${name}"]`);
    if (name === part) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    if (name !== part) begun[name]?.leave?.();
  }
  if (!page.about) return;
  begun[part] ??= PARTS[part](byId(part), page);
  begun[part].enter?.();
}

/** Asks anew who answers; everything is built again where that has changed. */
async function renew() {
  try {
    const about = await get("/v1/page/about");
    const other = page.about?.model_version !== about.model_version;
    page.about = about;
    byId("run").replaceChildren(
      h("b", {}, about.name), ` on ${about.dataset}`,
      h("span", { class: "more" }, ` · ${counted(about.users, "user")}, ${counted(about.items, about.thing)} · ${about.model_version.slice(0, 8)}`));
    training(about.training);
    if (other) {
      for (const name of Object.keys(begun)) {
        begun[name].leave?.();
        begun[name].gone?.();
        delete begun[name];
        byId(name).replaceChildren();
      }
      problem("");
      await show();
    }
  } catch (error) {
    page.failed(error);
  }
}

/** Looks for another version, which takes the place of the present one, and says why it does not; for some minutes. */
async function soon() {
  watch += 1;
  const mine = watch;
  const before = page.about?.model_version;
  const until = performance.now() + PATIENCE_MS;
  let said = null;
  while (performance.now() < until) {
    await new Promise((then) => { setTimeout(then, LOOK_MS); });
    const now = await get("/health/ready").catch(() => null);
    if (mine !== watch) return;
    if (now && now.model_version !== before) await renew();
    if (page.about?.model_version !== before) return;
    if (now?.problem && now.problem !== said) problem(now.problem);
    said = now?.problem ?? said;
  }
}

function training(state) {
  clearTimeout(renewal);
  const place = byId("training");
  place.hidden = !state;
  if (!state) return;
  const done = state.stages ? Math.round((100 * state.finished) / state.stages) : 0;
  place.replaceChildren(
    h("span", {}, state.words),
    state.stages && !state.ended ? h("progress", { max: 100, value: done, "aria-label": "progress of the training" }) : "",
    state.stages && !state.ended ? h("span", { class: "muted" }, `${number(state.finished)} of ${counted(state.stages, "step")}`) : "");
  if (!state.ended) renewal = setTimeout(renew, 3000);
  else if (!followed) { followed = true; soon(); }
}

function theme(chosen) {
  const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  byId("theme").setAttribute("aria-pressed", String(dark));
  document.dispatchEvent(new Event("themechange"));
}

byId("theme").addEventListener("click", () => {
  const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem(THEME, next);
  theme(next);
  say(`${next} colours`);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => theme(localStorage.getItem(THEME)));

function keyForm(open) {
  byId("key-form").hidden = !open;
  byId("key-button").setAttribute("aria-expanded", String(open));
  if (open) byId("key").focus();
}

byId("key-button").addEventListener("click", () => keyForm(byId("key-form").hidden));
byId("key-form").addEventListener("keydown", (event) => {
  if (event.key === "Escape") { keyForm(false); byId("key-button").focus(); }
});
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(byId("key").value.trim());
});
byId("key-forget").addEventListener("click", () => useKey(""));

function useKey(value) {
  key.set(value);
  byId("key").value = "";
  byId("key-button").dataset.set = String(Boolean(value));
  keyForm(false);
  byId("key-button").focus();
  say(value ? "the key is used from now on" : "the key is forgotten");
  page.about = null;
  problem("");
  renew();
}

theme(localStorage.getItem(THEME));
byId("key-button").dataset.set = String(Boolean(key.get()));
window.addEventListener("hashchange", show);
show();
renew();
