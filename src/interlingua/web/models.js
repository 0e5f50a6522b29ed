// What answers: what was measured, where it is weak, what it is made of, and the versions before it.

import { explained, get, post } from "./api.js";
import { counted, h, number, say } from "./dom.js";

const ORDER = ["unseen items", "cold items", "middle items", "warm items"];

/** A bar from 0 to 1 with its interval. */
function bar(value, low, high, most, words) {
  const scaled = (each) => Math.max(0, Math.min(100, (100 * each) / (most || 1)));
  const line = h("span", { class: "bar-line", role: "img", "aria-label": words });
  const filled = h("span", { class: "filled" });
  filled.style.width = `${scaled(value)}%`;
  line.append(filled);
  if (low !== undefined) {
    const spread = h("span", { class: "spread" });
    spread.style.left = `${scaled(low)}%`;
    spread.style.width = `${scaled(high) - scaled(low)}%`;
    line.append(spread);
  }
  return line;
}

function metrics(report) {
  const names = Object.keys(report.metrics);
  const most = Math.max(...names.map((name) => report.intervals[name]?.[1] ?? report.metrics[name] ?? 0), 0);
  return h("table", { class: "measured" }, h("caption", { class: "hidden" }, "Metrics with 95 % intervals"),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Metric"), h("th", { scope: "col" }, "Mean"), h("th", { scope: "col" }, "95 % interval"), h("th", { scope: "col" }, h("span", { class: "hidden" }, "Bar")))),
    h("tbody", {}, names.map((name) => {
      const value = report.metrics[name];
      const [low, high] = report.intervals[name] ?? [];
      const words = low === undefined ? "" : `${number(low, 3)} to ${number(high, 3)}`;
      return h("tr", {}, h("th", { scope: "row" }, name), h("td", { class: "number" }, number(value, 3)), h("td", { class: "muted number" }, words), h("td", { class: "wide" }, bar(value ?? 0, low, high, most, `${name} ${number(value, 3)} ${words}`)));
    })));
}

function slices(report) {
  const metric = ["ndcg@10", "hit@10", "recall@20"].find((name) => name in report.metrics) ?? Object.keys(report.metrics)[0];
  const names = Object.keys(report.slices).sort((a, b) => (ORDER.indexOf(a) + 1 || 9) - (ORDER.indexOf(b) + 1 || 9));
  if (!names.length) return "";
  const values = names.map((name) => report.slices[name].metrics?.[metric] ?? 0);
  const most = Math.max(...values, report.metrics[metric] ?? 0);
  return h("div", {}, h("h3", {}, `Cold and warm, ${metric}`), h("table", { class: "measured" },
    h("caption", { class: "hidden" }, `Slices by ${metric}`),
    h("tbody", {}, names.map((name, index) => h("tr", { class: ["unseen items", "cold items"].includes(name) ? "cold" : "" },
      h("th", { scope: "row" }, name, h("span", { class: "muted" }, ` ${report.slices[name].definition ?? ""}`)),
      h("td", { class: "number" }, number(values[index], 3)), h("td", { class: "muted number" }, number(report.slices[name].n_targets)),
      h("td", { class: "wide" }, bar(values[index], undefined, undefined, most, `${name} ${number(values[index], 3)}`)))))));
}

function warnings(given) {
  if (!given.length) return "";
  return h("details", {}, h("summary", {}, `To be known of these numbers (${given.length})`), given.map((each) => h("p", { class: "hint" }, each)));
}

function stages(model) {
  return h("table", { class: "measured" }, h("caption", { class: "hidden" }, "Stages of the run"),
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Stage"), h("th", { scope: "col" }, "Name"), h("th", { scope: "col" }, "Seconds"))),
    h("tbody", {}, model.stages.map((stage) => h("tr", {}, h("th", { scope: "row" }, stage.stage), h("td", {}, stage.name ?? ""), h("td", { class: "number" }, number(stage.seconds, 1))))));
}

export function models(place, page) {
  const body = h("div", { class: "models" });
  const past = h("div", { class: "panel", "aria-labelledby": "versions-title" });
  place.append(h("h1", { id: "models-title", class: "hidden" }, "Models"), body);

  async function load() {
    try {
      const model = await get("/v1/page/model");
      const parts = Object.entries(model.protocols);
      body.replaceChildren(
        h("div", { class: "panel" }, h("h2", {}, "What answers"),
          h("dl", { class: "facts" }, ...[["Recipe", model.name], ["Version", model.model_version], ["Data", model.dataset], ["Run", model.folder]].flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
          h("details", {}, h("summary", {}, `Made in ${counted(model.stages.length, "stage")}`), stages(model))),
        ...parts.map(([name, report]) => h("div", { class: "panel" }, h("h2", {}, `Measured: ${name}`),
          h("p", { class: "muted" }, `${counted(report.n_users, "user")}, ${counted(report.n_targets, "target")} · ${report.protocol}`),
          metrics(report), slices(report), warnings(report.warnings ?? []))),
        past);
      await versions();
    } catch (error) { page.failed(error); }
  }

  async function versions() {
    const title = h("h2", { id: "versions-title" }, "Versions and drift");
    const one = () => past.replaceChildren(title, h("p", { class: "hint" }, `This service has no store, so it has one version: ${page.about.model_version}.`));
    if (!page.about.versions) { one(); return; }
    try {
      show(title, await get("/v1/models"));
    } catch (error) {
      past.replaceChildren(title, h("p", { class: "hint" }, explained(error)));
    }
  }

  function show(title, found) {
    const metric = Object.keys(found.models[0]?.metrics ?? {}).find((name) => name.endsWith("ndcg@10")) ?? Object.keys(found.models[0]?.metrics ?? {})[0];
    const when = (seconds) => (seconds ? new Date(1000 * seconds).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" }) : "–");
    past.replaceChildren(title,
      found.problem ? h("p", { class: "hint" }, found.problem) : "",
      h("table", { class: "measured" }, h("caption", { class: "hidden" }, "Versions of the store, newest first"),
        h("thead", {}, h("tr", {}, ["Version", metric ?? "Metric", "Promoted", ""].map((name) => h("th", { scope: "col" }, name || h("span", { class: "hidden" }, "What to do"))))),
        h("tbody", {}, found.models.map((each) => h("tr", {},
          h("th", { scope: "row" }, each.version, each.version === found.serving ? h("span", { class: "badge" }, "answers") : "", h("span", { class: "muted" }, ` ${each.note}`)),
          h("td", { class: "number" }, metric in each.metrics ? number(each.metrics[metric], 3) : "–"),
          h("td", { class: "muted" }, when(each.promoted.at(-1))),
          h("td", {}, each.version === found.serving ? "" : h("div", { class: "acts" },
            h("button", { type: "button", on: { click: () => drift(each.version) } }, "Drift"), h("button", { type: "button", on: { click: () => letServe(each) } }, "Let it serve"))))))),
      h("div", { class: "drift", "aria-live": "polite" }, h("p", { class: "hint" }, found.models.length > 1 ? "Drift compares a version with the one that answers." : "")));
  }

  async function drift(version) {
    const place = past.querySelector(".drift");
    place.replaceChildren(h("p", { class: "muted" }, `Comparing ${version} with what answers …`));
    try {
      const { report } = await post("/v1/page/drift", { version });
      const share = (value) => (value === null ? "–" : `${number(100 * value)} %`);
      const facts = [
        ["Decision", report.decision], ["Why", report.reason], ["Lists that users get, overlap", `${number(report.lists, 3)} (${counted(report.users, "user")})`],
        ["Nearest items that are the same", share(report.neighbours)], ["Vectors differ by", `${number(report.difference, 3)}, after a rotation ${number(report.difference_rotated, 3)}`],
        ["Items", `${number(report.items)} in both, ${number(report.items_new)} new, ${number(report.items_gone)} gone`],
      ];
      place.replaceChildren(h("h3", {}, `Drift from ${version} to ${report.new}`), h("dl", { class: "facts" }, facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
    } catch (error) { place.replaceChildren(); page.failed(error); }
  }

  async function letServe(version) {
    try {
      await post(`/v1/models/${encodeURIComponent(version.version)}/promote`, {});
      say(`${version.version} serves within seconds`);
      page.soon();
    } catch (error) { page.failed(error); }
  }

  load();
  return {};
}
