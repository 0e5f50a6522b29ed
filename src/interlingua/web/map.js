// Points on a canvas: colours by category, size by events; the chosen one and what is like it are named.

import { h } from "./dom.js";

const COLOURS = 8;

export function drawing(choose) {
  const canvas = h("canvas", { role: "img", "aria-label": "Map of the items; the table below has the same points" });
  const tip = h("p", { class: "tip", hidden: true });
  const legend = h("div", { class: "legend", role: "group", "aria-label": "Categories" });
  const probe = h("span", { hidden: true });
  const element = h("div", { class: "canvas" }, canvas, tip, legend, probe);
  let points = [];
  let colours = new Map();
  let chosen = null;
  let near = [];
  let only = null;
  let at = [];
  const here = new AbortController(); // ends what listens outside of the element

  function place() {
    const size = { wide: canvas.clientWidth, high: canvas.clientHeight };
    const xs = points.map((each) => each.x);
    const ys = points.map((each) => each.y);
    const low = [Math.min(...xs), Math.min(...ys)];
    const high = [Math.max(...xs), Math.max(...ys)];
    const edge = 18;
    const spread = (value, from, to, length) => edge + ((value - from) / (to - from || 1)) * (length - 2 * edge);
    return (x, y) => [spread(x, low[0], high[0], size.wide), size.high - spread(y, low[1], high[1], size.high)];
  }

  function draw() {
    if (!canvas.clientWidth || !points.length) return;
    const scale = window.devicePixelRatio || 1;
    canvas.width = canvas.clientWidth * scale;
    canvas.height = canvas.clientHeight * scale;
    const pen = canvas.getContext("2d");
    pen.scale(scale, scale);
    const colour = (name) => {  // a variable may hold light-dark(), which only a property resolves
      probe.style.color = `var(${name})`;
      return getComputedStyle(probe).color;
    };
    const shades = [...Array(COLOURS).keys()].map((number) => colour(`--c${number}`));
    const where = place();
    at = points.map((each) => where(each.x, each.y));
    points.forEach((each, index) => {
      const own = each.categories.find((name) => colours.has(name));
      const shown = !only || each.categories.includes(only);
      pen.globalAlpha = shown ? 0.75 : 0.08;
      pen.fillStyle = own === undefined ? colour("--c-rest") : shades[colours.get(only && shown && colours.has(only) ? only : own)];
      circle(pen, at[index], 1.8 + Math.log1p(each.events) * 0.55, "fill");
    });
    pen.globalAlpha = 1;
    pen.strokeStyle = colour("--accent");
    pen.lineWidth = 2;
    points.forEach((each, index) => { if (each.new) circle(pen, at[index], 7, "stroke"); });
    if (chosen) named(pen, where, colour);
  }

  function named(pen, where, colour) {
    const [x, y] = where(chosen.x, chosen.y);
    pen.strokeStyle = colour("--accent");
    pen.fillStyle = colour("--ink");
    pen.lineWidth = 1;
    for (const id of near) {
      const index = points.findIndex((each) => each.item_id === id);
      if (index < 0) continue;
      pen.globalAlpha = 0.5;
      pen.beginPath();
      pen.moveTo(x, y);
      pen.lineTo(...at[index]);
      pen.stroke();
      pen.globalAlpha = 1;
    }
    pen.lineWidth = 2.5;
    circle(pen, [x, y], 9, "stroke");
    circle(pen, [x, y], 2.5, "fill");
    pen.font = "600 13px system-ui, sans-serif";
    const words = chosen.title.length > 40 ? `${chosen.title.slice(0, 39)}…` : chosen.title;
    const wide = pen.measureText(words).width;
    const left = Math.max(6, Math.min(x + 14, canvas.clientWidth - wide - 8));
    const base = y < 26 ? y + 24 : y - 12;
    pen.fillStyle = colour("--panel");
    pen.globalAlpha = 0.85;
    pen.fillRect(left - 4, base - 13, wide + 8, 18);
    pen.globalAlpha = 1;
    pen.fillStyle = colour("--ink");
    pen.fillText(words, left, base);
  }

  function circle(pen, [x, y], radius, how) {
    pen.beginPath();
    pen.arc(x, y, radius, 0, 2 * Math.PI);
    pen[how]();
  }

  function nearest(event) {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let best = -1;
    let least = 18;
    at.forEach(([px, py], index) => {
      const away = Math.hypot(px - x, py - y);
      if (away < least && (!only || points[index].categories.includes(only))) { least = away; best = index; }
    });
    return best;
  }

  canvas.addEventListener("mousemove", (event) => {
    const index = nearest(event);
    tip.hidden = index < 0;
    canvas.classList.toggle("over", index >= 0);
    if (index < 0) return;
    tip.textContent = points[index].title;
    tip.style.left = `${Math.min(at[index][0] + 12, canvas.clientWidth - tip.offsetWidth - 4)}px`;
    tip.style.top = `${Math.max(at[index][1] - 30, 2)}px`;
  });
  canvas.addEventListener("mouseleave", () => { tip.hidden = true; });
  canvas.addEventListener("click", (event) => {
    const index = nearest(event);
    if (index >= 0) choose(points[index]);
  });
  window.addEventListener("resize", draw, { signal: here.signal });
  document.addEventListener("themechange", draw, { signal: here.signal });

  return {
    element,
    draw,
    gone: () => here.abort(),
    points(found) {
      points = found;
      const counts = new Map();
      for (const each of found) for (const name of each.categories) counts.set(name, (counts.get(name) ?? 0) + 1);
      const most = [...counts].sort((a, b) => b[1] - a[1] || a[0].localeCompare(b[0])).slice(0, COLOURS).map(([name]) => name);
      colours = new Map(most.map((name, index) => [name, index]));
      legend.replaceChildren(...most.map((name, index) => h("button", {
        type: "button", "aria-pressed": "false", on: { click: (event) => {
          only = only === name ? null : name;
          for (const each of legend.children) each.setAttribute("aria-pressed", String(only !== null && each === event.currentTarget));
          draw();
        } },
      }, h("span", { class: `dot c${index}` }), name)));
      draw();
    },
    select(item, point, alike = []) {
      chosen = item && point ? { ...item, x: point[0], y: point[1] } : null;
      near = alike;
      draw();
    },
  };
}
