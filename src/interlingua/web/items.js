// A map of the vector space; an item put in by its text lands on it, and the page says in whose lists it comes out.

import { get, post, remove } from "./api.js";
import { chooser } from "./choose.js";
import { counted, h, number, say } from "./dom.js";
import { drawing } from "./map.js";

const plain = (text) => text.normalize("NFKD").toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 60);

export function items(place, page) {
  const picture = drawing((point) => look(point.item_id));
  const detail = h("div", { class: "panel detail", role: "region", "aria-label": "The item", "aria-live": "polite" }, h("p", { class: "hint" }, "Choose a point, search an item, or put one in by its text."));
  const table = h("tbody", {});
  let points = [];

  const search = chooser({
    label: "Find an item", hint: "words of a title", failed: page.failed,
    find: async (query, signal) => (await get(`/v1/titles?limit=12&q=${encodeURIComponent(query)}`, signal)).items,
    shown: (item) => [h("span", { class: "title" }, item.title), h("span", { class: "muted" }, item.categories.slice(0, 3).join(" · "))],
    choose: (item) => look(item.item_id),
  });

  function form() {
    if (!page.about.reads_texts) return h("p", { class: "hint" }, "This run reads no texts, so it has no place for new items. A recipe such as all-round or l3ae has.");
    const title = h("input", { id: "new-title", required: true, maxlength: 500, autocomplete: "off" });
    const description = h("textarea", { id: "new-description", rows: 3, maxlength: 5000 });
    const categories = h("input", { id: "new-categories", maxlength: 500, placeholder: "Drama, Mystery", autocomplete: "off" });
    const id = h("input", { id: "new-id", required: true, maxlength: 200, autocomplete: "off", spellcheck: "false" });
    let own = false;
    id.addEventListener("input", () => { own = Boolean(id.value); });
    title.addEventListener("input", () => { if (!own) id.value = plain(title.value); });
    const button = h("button", { type: "submit", class: "main" }, "Put it in");
    return h("form", { class: "stack", on: { submit: async (event) => {
      event.preventDefault();
      button.disabled = true;
      const item = { item_id: id.value.trim(), title: title.value.trim() };
      if (description.value.trim()) item.description = description.value.trim();
      const named = categories.value.split(/[,|]/).map((each) => each.trim()).filter(Boolean);
      if (named.length) item.categories = named;
      try {
        await post("/v1/items", { items: [item] });
        await load();
        await look(item.item_id);
        say(`${item.title} is in`);
        event.target.reset();
        own = false;
      } catch (error) { page.failed(error); } finally { button.disabled = false; }
    } } }, h("h2", {}, "Put an item in, by its text"),
    h("label", { for: "new-title" }, "Title"), title, h("label", { for: "new-description" }, "Description"), description,
    h("label", { for: "new-categories" }, "Categories"), categories, h("label", { for: "new-id" }, "Id"), id, button);
  }

  async function look(id) {
    detail.setAttribute("aria-busy", "true");
    try {
      const found = await post("/v1/page/item", { item_id: id });
      picture.select(found.item, found.point, found.alike.map((each) => each.item_id));
      show(found);
    } catch (error) { page.failed(error); } finally { detail.removeAttribute("aria-busy"); }
  }

  function show(found) {
    const share = (count) => (found.sampled ? (100 * count) / found.sampled : 0);
    const meter = (words, count) => h("div", { class: "meter" }, h("span", {}, words), h("meter", { min: 0, max: 100, value: share(count), "aria-label": words }), h("b", {}, `${number(count)} of ${number(found.sampled)}`));
    detail.replaceChildren(
      h("h2", {}, found.item.title, found.item.new ? h("span", { class: "badge" }, "new item") : ""),
      h("p", { class: "muted" }, [found.item.categories.join(" · "), `${counted(found.item.events, "event")} in training`, found.item.item_id].filter(Boolean).join(" · ")),
      h("h3", {}, "In whose lists"),
      found.sampled ? h("div", {}, meter("among the first 10", found.in_10), meter("among the first 100", found.in_100),
        h("p", { class: "muted" }, `A sample of ${counted(found.sampled + found.had, "user")}${found.had ? `, of whom ${number(found.had)} had it` : ""}. Half of the places are at or before ${number(found.median)} of ${number(page.about.items)}.`),
        h("ul", { class: "best" }, found.best.slice(0, 6).map((each) => h("li", {}, h("button", { type: "button", class: "plain", on: { click: () => { page.visit = each.user_id; page.go("playground"); } } }, each.user_id), h("span", { class: "muted" }, ` place ${number(each.place)}`)))))
        : h("p", { class: "muted" }, "No users to ask."),
      h("h3", {}, "Most like it"),
      h("ul", { class: "alike" }, found.alike.map((each) => h("li", {}, h("button", { type: "button", class: "plain", on: { click: () => look(each.item_id) } }, each.title), h("span", { class: "muted" }, ` ${number(each.score, 2)}`)))),
      found.item.new ? h("button", { type: "button", on: { click: () => out(found.item) } }, "Take it out again") : "");
  }

  async function out(item) {
    try {
      await remove(`/v1/items/${encodeURIComponent(item.item_id)}`);
      picture.select(null);
      detail.replaceChildren(h("p", { class: "hint" }, `${item.title} is out.`));
      await load();
    } catch (error) { page.failed(error); }
  }

  async function load() {
    try {
      const found = await get("/v1/page/map");
      points = found.points;
      picture.points(points);
      about.textContent = found.space
        ? `${number(points.length)} of ${counted(found.total, "item")}, by ${found.space}, on the two directions in which they spread most (${found.explained.map((part) => `${number(100 * part)} %`).join(" and ")} of it).`
        : "This run has no vectors of items.";
      rows();
    } catch (error) { page.failed(error); }
  }

  function rows() {
    const shown = [...points].sort((a, b) => Number(b.new) - Number(a.new) || b.events - a.events).slice(0, 200);
    table.replaceChildren(...shown.map((each) => h("tr", {},
      h("td", {}, h("button", { type: "button", class: "plain", on: { click: () => look(each.item_id) } }, each.title), each.new ? h("span", { class: "badge" }, "new") : ""),
      h("td", {}, each.categories.slice(0, 3).join(" · ")), h("td", { class: "number" }, number(each.events)),
      h("td", { class: "number" }, number(each.x, 3)), h("td", { class: "number" }, number(each.y, 3)))));
  }

  const about = h("p", { class: "muted" });
  place.append(
    h("h1", { id: "items-title", class: "hidden" }, "Items"),
    h("div", { class: "space" },
      h("aside", { class: "panel" }, search, form()),
      h("div", { class: "panel mapped" }, h("h2", {}, "Map of the vector space"), about, picture.element,
        h("details", {}, h("summary", {}, "The map as a table"), h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "The map as a table" }, h("table", {},
          h("caption", { class: "hidden" }, "Items on the map: new ones, then those with most events"),
          h("thead", {}, h("tr", {}, ["Item", "Categories", "Events", "x", "y"].map((name) => h("th", { scope: "col" }, name)))), table)))),
      detail));
  load();
  return { enter: () => picture.draw(), gone: picture.gone };
}
