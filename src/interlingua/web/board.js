// The lists side by side: one for each column, with places that changed since the question before.

import { post } from "./api.js";
import { counted, h, number, say, thumb } from "./dom.js";
import { reasonText } from "./reason.js";

const SHOWN = 10;

/** What became of an item: {kind: "up" | "down" | "new" | "", by}; nothing where there was no list before. */
export function moved(before, id, place) {
  if (!before) return { kind: "", by: 0 };
  const was = before.indexOf(id);
  if (was < 0) return { kind: "new", by: 0 };
  return { kind: was > place ? "up" : was < place ? "down" : "", by: Math.abs(was - place) };
}

function mark({ kind, by }) {
  if (!kind) return h("span", { class: "move" });
  const shown = { up: `▲${by}`, down: `▼${by}`, new: "new" }[kind];
  const said = { up: `up by ${by}`, down: `down by ${by}`, new: "new in this list" }[kind];
  return h("span", { class: `move ${kind}` }, h("span", { "aria-hidden": "true" }, shown), h("span", { class: "hidden" }, said));
}

/** Acts unless it is at it; the button keeps the focus, which a disabled one loses. */
async function once(button, act) {
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  try { await act(); } finally { button.removeAttribute("aria-disabled"); }
}

export function board(page, state, liked) {
  const columns = page.about.columns;
  const chosen = new Set(columns.filter((column) => column.first).map((column) => column.id));
  const before = new Map();
  const status = h("p", { class: "status", role: "status" });
  const grid = h("div", { class: "lists" });
  let asking = null;

  const picks = h("div", { class: "picks", role: "group", "aria-label": "Lists that are shown" }, columns.map((column) => {
    const button = h("button", { type: "button", class: "pick", "aria-pressed": String(chosen.has(column.id)), title: column.about }, column.name);
    button.addEventListener("click", () => {
      if (chosen.has(column.id) && chosen.size > 1) chosen.delete(column.id);
      else chosen.add(column.id);
      button.setAttribute("aria-pressed", String(chosen.has(column.id)));
      ask({});
    });
    return button;
  }));

  function question(column) {
    const who = state.mode === "user" ? { user_id: state.user } : { history: state.history.map((item) => item.item_id) };
    const said = state.text && column.id === "served" ? { text: state.text, text_weight: state.weight } : {};
    return { who, said };
  }

  function frames() {
    const wanted = columns.filter((column) => chosen.has(column.id));
    const known = new Map([...grid.children].map((each) => [each.dataset.column, each]));
    grid.replaceChildren(...wanted.map((column) => known.get(column.id) ?? h("section", {
      class: `list ${column.id === "served" ? "served" : ""}`, "data-column": column.id, "aria-label": column.about,
    }, h("header", {}, h("h3", {}, column.name), h("p", { class: "about" }, column.about)), h("ol", {}), h("p", { class: "notes" }))));
    grid.style.setProperty("--lists", String(wanted.length - (chosen.has("served") ? 1 : 0)));
    return wanted;
  }

  /** Asks every column; `fresh`: another person, nothing is compared; `because`: what changed, in words. */
  async function ask({ fresh = false, because = "" }) {
    if (state.mode === "user" && !state.user) return;
    asking?.abort();
    asking = new AbortController();
    const { signal } = asking;
    if (fresh) before.clear();
    const wanted = frames();
    status.textContent = "";
    const changes = await Promise.all(wanted.map(async (column) => {
      const frame = [...grid.children].find((each) => each.dataset.column === column.id);
      frame.setAttribute("aria-busy", "true");
      try {
        const { who, said } = question(column);
        const answer = await post("/v1/page/list", { column: column.id, ...who, ...said, k: SHOWN }, signal);
        const count = fill(frame, column, answer, who);
        if (column.id === "served") reasons(frame, column, { ...who, ...said }, answer.items, signal);
        return { column, count };
      } catch (error) {
        page.failed(error);
        return null;
      } finally {
        if (!signal.aborted) frame.removeAttribute("aria-busy");
      }
    }));
    const served = changes.find((each) => each?.column.id === "served");
    if (because && served && !signal.aborted) {
      const { up, down, added } = served.count;
      status.textContent = `${because}: in ${served.column.name} ${added} new, ${up} up, ${down} down.`;
    } else if (served && !signal.aborted) say(`${served.column.name} answered`);
  }

  function fill(frame, column, answer, who) {
    const was = before.get(column.id);
    const count = { up: 0, down: 0, added: 0 };
    const focused = frame.contains(document.activeElement) ? [...frame.querySelectorAll("button")].indexOf(document.activeElement) : -1;
    frame.querySelector("ol").replaceChildren(...answer.items.map((item, place) => {
      const change = moved(was, item.item_id, place);
      if (change.kind) count[change.kind === "new" ? "added" : change.kind] += 1;
      return line(column, item, place, change, who);
    }));
    before.set(column.id, answer.items.map((item) => item.item_id));
    frame.querySelector(".notes").textContent = [answer.fallback_reason, ...answer.notes, `${number(answer.latency_ms, 0)} ms`].filter(Boolean).join(" · ");
    if (focused >= 0) frame.querySelectorAll("button")[focused]?.focus();
    return count;
  }

  function line(column, item, place, change, who) {
    const why = h("div", { class: "reason" });
    const facts = [item.categories.slice(0, 3).join(" · "), column.id === "popularity" ? `had by ${number(item.events)}` : ""].filter(Boolean);
    const open = column.id === "popularity" || column.id === "served" ? null : h("button", {
      type: "button", class: "plain", "aria-expanded": "false", "aria-label": `Why ${item.title}`, title: "Why this one",
    }, "why");
    open?.addEventListener("click", async () => {
      const shown = open.getAttribute("aria-expanded") === "true";
      open.setAttribute("aria-expanded", String(!shown));
      if (shown) { why.replaceChildren(); return; }
      try {
        const { reasons: [found] } = await post("/v1/page/why", { column: column.id, ...who, items: [item.item_id] });
        why.replaceChildren(found ? reasonText(found) : h("p", { class: "why" }, "This list gives no reasons."));
      } catch (error) { page.failed(error); }
    });
    const like = h("button", { type: "button", class: "like", "aria-label": `Like ${item.title}`, title: "Like", on: { click: () => once(like, () => liked(item)) } }, thumb());
    const row = h("li", { class: `row ${change.kind}`, "data-item": item.item_id },
      h("span", { class: "rank" }, String(place + 1)),
      h("div", { class: "what" },
        h("p", { class: "head" }, h("span", { class: "title" }, item.title), item.new ? h("span", { class: "badge" }, "new item") : "", mark(change)),
        facts.length ? h("p", { class: "facts" }, facts.join(" · ")) : "", why),
      h("div", { class: "acts" }, open, like));
    for (const [event, on] of [["mouseenter", true], ["mouseleave", false]]) row.addEventListener(event, () => same(item.item_id, on));
    return row;
  }

  /** Shows where the same item stands in the other lists. */
  function same(id, on) {
    for (const row of grid.querySelectorAll(".row")) row.classList.toggle("same", on && row.dataset.item === id);
  }

  async function reasons(frame, column, who, items, signal) {
    if (!items.length) return;
    try {
      const found = await post("/v1/page/why", { column: column.id, ...who, items: items.map((item) => item.item_id) }, signal);
      const lines = new Map([...frame.querySelectorAll(".row")].map((row) => [row.dataset.item, row]));
      items.forEach((item, place) => {
        const reason = found.reasons[place];
        if (reason) lines.get(item.item_id)?.querySelector(".reason").replaceChildren(reasonText(reason));
      });
    } catch (error) { page.failed(error); }
  }

  const element = h("div", { class: "board" }, h("div", { class: "bar" }, h("h2", {}, "Lists side by side"), picks), status, grid);
  return { element, ask, counted };
}
