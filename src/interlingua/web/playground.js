// Who asks on the left, lists side by side on the right; a like changes them, and what changed is marked.

import { get, once, post } from "./api.js";
import { board } from "./board.js";
import { chooser } from "./choose.js";
import { counted, h, later, number, say } from "./dom.js";

const itemLine = (item) => [
  h("span", { class: "title" }, item.title), item.new ? h("span", { class: "badge" }, "new") : "",
  h("span", { class: "muted" }, item.categories.slice(0, 3).join(" · ")),
];

export function playground(place, page) {
  const state = { mode: "user", user: null, had: [], events: 0, history: [], text: "", weight: 0.5 };
  const lists = board(page, state, liked);
  const who = h("div", { class: "who" });
  const words = page.about.reads_texts ? sentence() : h("p", { class: "hint" }, "This run reads no texts, so it takes no sentences.");

  const users = chooser({
    label: "User", hint: "part of an id", failed: page.failed,
    find: async (query, signal) => (await post("/v1/page/users", { part: query, limit: 12 }, signal)).users,
    shown: (user) => [h("span", { class: "title" }, user.user_id), h("span", { class: "muted" }, `${counted(user.events, "event")}, last ${user.last.at(-1) ?? "none"}`)],
    choose: (user) => pick(user.user_id),
  });
  const titles = chooser({
    label: `Add a ${page.about.thing} to the history`, hint: "words of a title", failed: page.failed,
    find: async (query, signal) => (await get(`/v1/titles?limit=12&q=${encodeURIComponent(query)}`, signal)).items,
    shown: itemLine,
    choose: (item) => { add(item); who.querySelector("input").focus(); },
  });

  function modeButton(mode, text) {
    return h("button", { type: "button", "aria-pressed": String(state.mode === mode), on: { click: () => setMode(mode) } }, text);
  }

  function setMode(mode) {
    state.mode = mode;
    drawWho();
    lists.ask({ fresh: true });
    who.querySelector(`button[aria-pressed="true"]`).focus();
  }

  function drawWho() {
    const open = state.mode === "user" ? userPart() : newPart();
    who.replaceChildren(h("div", { class: "segments", role: "group", "aria-label": "Who asks" }, modeButton("user", "User"), modeButton("new", "Newcomer")), ...open);
  }

  function userPart() {
    const shown = [...state.had].reverse();
    return [
      users,
      state.user ? h("div", { class: "person" },
        h("h3", {}, "User ", h("b", {}, state.user)),
        h("p", { class: "muted" }, `${counted(state.events, "event")} on record, the last first`),
        h("ol", { class: "had", tabindex: "0", "aria-label": "History" }, shown.map((item) => h("li", {}, itemLine(item))))) : h("p", { class: "hint" }, "No users here: build a history instead."),
    ];
  }

  function newPart() {
    const lines = state.history.map((item, index) => h("li", {}, itemLine(item), h("button", {
      type: "button", class: "plain", "aria-label": `Remove ${item.title}`,
      on: { click: () => { state.history.splice(index, 1); drawWho(); lists.ask({}); who.querySelector("input").focus(); } },
    }, "×")));
    return [
      titles,
      lines.length ? h("ol", { class: "had", "aria-label": "History" }, lines) : h("p", { class: "hint" }, "Nobody knows anything of this person yet: the lists show what newcomers get."),
      lines.length ? keepForm() : "",
    ];
  }

  function keepForm() {
    const name = h("input", { id: "keep", maxlength: 100, required: true, placeholder: "a new id", autocomplete: "off" });
    return h("form", { class: "inline", on: { submit: async (event) => {
      event.preventDefault();
      const user = name.value.trim();
      const events = state.history.map((item) => ({ user_id: user, item_id: item.item_id }));
      try {
        await post("/v1/events", { events, idempotency_key: once() });
        state.history = [];
        await pick(user);
        say(`${user} is a user now`);
      } catch (error) { page.failed(error); }
    } } }, h("label", { for: "keep" }, "Keep as a user"), name, h("button", { type: "submit" }, "Keep"));
  }

  function sentence() {
    const field = h("textarea", { id: "words", rows: 2, maxlength: 2000, placeholder: page.about.thing === "movie" ? "slow burn science fiction" : "what is looked for", spellcheck: "true" });
    const weight = h("input", { id: "weight", type: "range", min: 0, max: 1, step: 0.1, value: state.weight });
    const shown = h("output", { for: "weight" }, "0.5");
    const ask = later(() => lists.ask({}), 350);
    field.addEventListener("input", () => { state.text = field.value.trim(); ask(); });
    weight.addEventListener("input", () => { state.weight = Number(weight.value); shown.textContent = number(state.weight, 1); if (state.text) ask(); });
    return h("div", { class: "words" }, h("label", { for: "words" }, "In words"), field,
      h("div", { class: "slide" }, h("label", { for: "weight" }, "Weight of the words"), weight, shown));
  }

  function add(item) {
    if (state.history.some((each) => each.item_id === item.item_id)) return null;
    state.history.push(item);
    drawWho();
    return lists.ask({ because: `${item.title} is in the history` });
  }

  async function pick(user) {
    state.mode = "user";
    const changed = state.user !== user;
    try {
      const found = await post("/v1/page/user", { user_id: user });
      Object.assign(state, { user, had: found.history, events: found.events });
      drawWho();
      await lists.ask({ fresh: changed });
    } catch (error) { page.failed(error); }
  }

  /** A like: an event of the user, or an item more in the history of somebody new. */
  async function liked(item) {
    if (state.mode === "new") { await add(item); return; }
    try {
      await post("/v1/events", { events: [{ user_id: state.user, item_id: item.item_id }], idempotency_key: once() });
      const found = await post("/v1/page/user", { user_id: state.user });
      Object.assign(state, { had: found.history, events: found.events });
      drawWho();
      await lists.ask({ because: `${state.user} liked ${item.title}` });
    } catch (error) { page.failed(error); }
  }

  async function begin() {
    drawWho();
    if (page.visit) {
      const user = page.visit;
      page.visit = null;
      await pick(user);
      return;
    }
    try {
      const { users: some } = await post("/v1/page/users", { limit: 20 });
      const middling = [...some].sort((a, b) => a.events - b.events)[Math.floor(some.length / 3)];
      if (middling) await pick(middling.user_id);
      else setMode("new");
    } catch (error) { page.failed(error); }
  }

  place.append(
    h("h1", { id: "playground-title", class: "hidden" }, "Playground"),
    h("div", { class: "play" }, h("aside", { class: "panel", "aria-label": "Who asks" }, h("h2", {}, "Who asks"), who, words), lists.element));
  begin();
  return {
    enter: () => { if (page.visit) { pick(page.visit); page.visit = null; } },
  };
}
