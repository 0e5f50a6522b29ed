// A reason in pieces: words that were taken from something show it when they are pointed at, or have the focus. The first
// of a sentence is a stop of the tab key, the arrow keys go on from it.

import { byId, h } from "./dom.js";

const KINDS = { title: "title", categories: "categories", description: "description", event: "history", text: "asked for", dataset: "data" };

function show(element, evidence) {
  const place = byId("evidence");
  place.replaceChildren(...evidence.map((each) => h("p", {}, h("span", { class: "kind" }, KINDS[each.kind] ?? each.kind), " ", each.text)));
  place.hidden = false;
  const from = element.getBoundingClientRect();
  const width = Math.min(place.offsetWidth, window.innerWidth - 16);
  const left = Math.max(8, Math.min(from.left, window.innerWidth - width - 8));
  const above = from.top > place.offsetHeight + 12;
  place.style.left = `${left + window.scrollX}px`;
  place.style.top = `${(above ? from.top - place.offsetHeight - 6 : from.bottom + 6) + window.scrollY}px`;
}

const hide = () => { byId("evidence").hidden = true; };

document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });

/** The sentence of a reason as an element. */
export function reasonText(reason) {
  const known = new Map(reason.evidence.map((each) => [each.id, each]));
  const parts = reason.parts.length ? reason.parts : [{ text: reason.sentence, evidence: [] }];
  const words = [];
  return h("p", { class: "why" }, parts.flatMap((part) => {
    const own = part.evidence.map((id) => known.get(id)).filter(Boolean);
    if (!own.length) return part.text;
    const [, before, said, after] = /^(\s*)(.*?)(\s*)$/s.exec(part.text);
    const word = h("span", { class: "held", tabindex: words.length ? "-1" : "0", "aria-describedby": "evidence" }, said);
    words.push(word);
    word.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const next = step && words[words.indexOf(word) + step];
      if (next) { event.preventDefault(); next.focus(); }
    });
    for (const event of ["mouseenter", "focus"]) word.addEventListener(event, () => show(word, own));
    for (const event of ["mouseleave", "blur"]) word.addEventListener(event, hide);
    return [before, word, after];
  }));
}
