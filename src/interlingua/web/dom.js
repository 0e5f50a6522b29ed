// Elements from names, attributes and texts. A text is always a text node: nothing here reads markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element: `h("button", {class: "a", on: {click: f}}, "text", child)`; attributes that are null or false are left out. */
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") {
      for (const [event, act] of Object.entries(value)) element.addEventListener(event, act);
    } else if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** The element with an id. */
export const byId = (id) => document.getElementById(id);

/** Says something to screen readers. */
export function say(text) {
  byId("said").textContent = text;
}

/** Shows what went wrong, or nothing. */
export function problem(text) {
  const place = byId("problem");
  place.hidden = !text;
  place.replaceChildren(text ? h("span", {}, text) : "", text ? h("button", { type: "button", on: { click: () => problem("") } }, "Close") : "");
}

export const number = (value, digits = 0) =>
  value === null || value === undefined ? "–" : Number(value).toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });

/** "1 event", "2 events". */
export const counted = (count, word) => `${number(count)} ${word}${count === 1 ? "" : "s"}`;

const THUMB = "M7 10v10H3.6V10zm2.2 10h8.2a2 2 0 0 0 2-1.6l1.3-6.3a2 2 0 0 0-2-2.4h-4.6l.8-3.9a1.7 1.7 0 0 0-3.1-1.2L9.2 9.6z";

/** A drawing of a thumb. */
export const thumb = () =>
  svg("svg", { viewBox: "0 0 24 24", width: 16, height: 16, "aria-hidden": "true" }, svg("path", { d: THUMB, fill: "none", stroke: "currentColor", "stroke-width": 1.8, "stroke-linejoin": "round" }));

/** What waits: a later call replaces an earlier one that has not begun. */
export function later(act, milliseconds) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => act(...given), milliseconds);
  };
}
