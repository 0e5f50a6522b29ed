// Counts of the service, read from /metrics every two seconds while they are looked at.

import { text } from "./api.js";
import { h, number, svg } from "./dom.js";

const EVERY_MS = 2000;
const SAMPLES = 60;
const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;

/** Lines of the Prometheus text format: [{name, labels, value}]. */
export function parsed(source) {
  return source.split("\n").filter((line) => line && !line.startsWith("#")).map((line) => {
    const found = LINE.exec(line);
    if (!found) return null;
    const labels = Object.fromEntries([...(found[2] ?? "").matchAll(LABEL)].map(([, name, value]) => [name, value.replace(/\\(.)/g, "$1")]));
    return { name: found[1], labels, value: Number(found[3].replace("+Inf", "Infinity")) };
  }).filter(Boolean);
}

/** The time below which a share of the requests stayed, from cumulated buckets [[seconds, count]]; null: none. */
export function quantile(buckets, part) {
  const total = buckets.at(-1)?.[1] ?? 0;
  if (!total) return null;
  let [low, before] = [0, 0];
  for (const [limit, count] of buckets) {
    if (count >= part * total) return Number.isFinite(limit) ? low + ((limit - low) * (part * total - before)) / (count - before || 1) : low;
    [low, before] = [limit, count];
  }
  return low;
}

function summed(lines) {
  const routes = new Map();
  const of = (name) => routes.get(name) ?? routes.set(name, { count: 0, failed: 0, buckets: new Map() }).get(name);
  for (const { name, labels, value } of lines) {
    if (name === "interlingua_requests_total") {
      of(labels.route).count += value;
      if (Number(labels.status) >= 400) of(labels.route).failed += value;
    } else if (name === "interlingua_request_seconds_bucket") {
      const { buckets } = of(labels.route);
      const limit = Number(labels.le.replace("+Inf", "Infinity"));
      buckets.set(limit, (buckets.get(limit) ?? 0) + value);
    }
  }
  return routes;
}

const sorted = (buckets) => [...buckets].sort((a, b) => a[0] - b[0]);
const milliseconds = (seconds) => (seconds === null ? "–" : `${number(1000 * seconds, seconds < 0.01 ? 1 : 0)} ms`);

function spark(values) {
  const most = Math.max(...values, 1);
  const path = values.map((value, at) => `${at ? "L" : "M"}${(at * 300) / (SAMPLES - 1)} ${58 - (54 * value) / most}`).join("");
  return svg("svg", { viewBox: "0 0 300 60", class: "spark", role: "img", "aria-label": `requests per second, at most ${number(most, 1)}`, preserveAspectRatio: "none" },
    svg("path", { d: path, fill: "none", stroke: "currentColor", "stroke-width": 2, "vector-effect": "non-scaling-stroke" }));
}

export function live(place, page) {
  const tiles = h("div", { class: "tiles" });
  const rate = h("div", { class: "panel" });
  const body = h("tbody", {});
  const rates = [];
  let before = null;
  let timer = 0;
  let turn = 0; // of looking: what an earlier one asked for is not shown, and asks no more

  const tile = (words, value, more = "") => h("div", { class: "tile" }, h("span", { class: "muted" }, words), h("b", {}, value), h("span", { class: "muted" }, more));

  async function look(mine) {
    try {
      const routes = summed(parsed(await text("/metrics")));
      if (mine !== turn) return;
      const now = performance.now();
      let [count, failed] = [0, 0];
      for (const each of routes.values()) { count += each.count; failed += each.failed; }
      if (before) rates.push(Math.max(0, (1000 * (count - before.count)) / (now - before.now)));
      while (rates.length > SAMPLES) rates.shift();
      before = { count, now };
      const lists = routes.get("/v1/recommend") ?? routes.get("/v1/page/list");
      const times = lists ? sorted(lists.buckets) : [];
      tiles.replaceChildren(
        tile("answered", number(count), "requests since the start"),
        tile("refused or failed", number(failed), count ? `${number((100 * failed) / count, 1)} %` : ""),
        tile("half of the lists within", milliseconds(quantile(times, 0.5)), "p50"),
        tile("99 of 100 within", milliseconds(quantile(times, 0.99)), "p99"));
      rate.replaceChildren(h("h2", {}, "Requests per second"), rates.length ? h("p", { class: "muted" }, `${number(rates.at(-1), 1)} now`) : h("p", { class: "muted" }, "in two seconds"), spark(rates.length ? rates : [0]));
      body.replaceChildren(...[...routes].sort((a, b) => b[1].count - a[1].count).map(([name, each]) => h("tr", {},
        h("th", { scope: "row" }, name), h("td", { class: "number" }, number(each.count)), h("td", { class: "number" }, number(each.failed)),
        h("td", { class: "number" }, milliseconds(quantile(sorted(each.buckets), 0.5))), h("td", { class: "number" }, milliseconds(quantile(sorted(each.buckets), 0.99))))));
      timer = setTimeout(look, EVERY_MS, mine);
    } catch (error) {
      if (mine !== turn) return;
      page.failed(error);
      timer = setTimeout(look, 5 * EVERY_MS, mine);
    }
  }

  place.append(h("h1", { id: "live-title", class: "hidden" }, "Live counts"), tiles, rate, h("div", { class: "panel" }, h("h2", {}, "By route"),
    h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Counts by route" }, h("table", { class: "measured" }, h("caption", { class: "hidden" }, "Counts by route"),
      h("thead", {}, h("tr", {}, ["Route", "Answered", "Failed", "p50", "p99"].map((name) => h("th", { scope: "col" }, name)))), body))));
  return {
    enter: () => { clearTimeout(timer); turn += 1; look(turn); },
    leave: () => { clearTimeout(timer); turn += 1; before = null; },
  };
}
