"""Two charts as SVG text, from plain numbers: bars and lines. No plotting library, no script, no font.

Every bar and dot carries its name and value in words, so nothing depends on colour. Inside a page the colours come from
the page (:data:`STYLE` once); with ``standalone`` the file carries them itself, for light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

STYLE = """
.chart { --ink: #1b1f27; --soft: #5b6472; --grid: #d9dde4; --plain: #9aa5b5; --main: #0b6bcb; --l1: #0b6bcb;
  --l2: #c2410c; --l3: #0f766e; --l4: #7c3aed; --l5: #a16207; --l6: #64748b; font: 13px system-ui, sans-serif }
@media (prefers-color-scheme: dark) { .chart { --ink: #e8ebf0; --soft: #a3acba; --grid: #39404c; --plain: #697586;
  --main: #63b3ff; --l1: #63b3ff; --l2: #fb923c; --l3: #2dd4bf; --l4: #c4a5ff; --l5: #facc15; --l6: #94a3b8 } }
.chart text { fill: var(--ink) } .chart .soft { fill: var(--soft) } .chart .strong { font-weight: 650 }
.chart .head { font-size: 15px; font-weight: 650 } .chart .grid { stroke: var(--grid); stroke-width: 1 }
.chart .bar { fill: var(--plain) } .chart .bar.main { fill: var(--main) }
.chart .whisker { stroke: var(--ink); stroke-width: 1.5; opacity: .7 }
.chart .range { stroke: var(--plain); stroke-width: 3; stroke-linecap: round }
.chart .range.main { stroke: var(--main) }
.chart .dot { fill: var(--plain) } .chart .dot.main { fill: var(--main) }
.chart .line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round }
"""
"""colours and type of all charts; a page that shows charts includes it once"""

LINE_COLOURS = 6
_WIDTH = 640
_DASHES = ("", "6 4", "2 4", "10 4 2 4", "1 3", "12 6")


@dataclass(frozen=True)
class Value:
    """A mean with its interval; ``value`` None: not measured."""

    value: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Line:
    """One curve."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def number(value: float | None) -> str:
    """Short text of a value: four decimals below 1 without the leading zero, three digits above."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if abs(value) < 1:
        return f"{value:.4f}".replace("0.", ".", 1)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _tick(value: float) -> str:
    """As :func:`number`, without trailing zeros."""
    text = number(value)
    return text.rstrip("0").rstrip(".") if "." in text else text


def bar_chart(
    title: str,
    groups: Sequence[tuple[str, Sequence[tuple[str, Value]]]],
    *,
    description: str = "",
    main: str | None = None,
    standalone: bool = False,
) -> str:
    """Horizontal bars in named groups, each with its value and interval.

    Args:
        title: shown above the chart and read out first.
        groups: (heading, [(bar's name, value), ...]) from top to bottom.
        description: read out after the title; made from the numbers where empty.
        main: name of the bars drawn in the accent colour.
        standalone: carry :data:`STYLE` in the file.
    """
    rows = [(name, value) for _, bars in groups for name, value in bars]
    names, top = _margin([name for name, _ in rows]), 40
    scale, ticks = _axis(0.0, max([v.high or v.value or 0.0 for _, v in rows], default=0.0), names, _WIDTH - 70)
    body, y = [], top
    for heading, bars in groups:
        if heading:
            body.append(_text(0, y + 13, heading, "soft strong"))
            y += 24
        for name, value in bars:
            body += _bar(name, value, y, names, scale, name == main)
            y += 24
        y += 10
    grid = [_vertical(scale(t), top - 6, y - 6, _tick(t)) for t in ticks]
    spoken = description or "; ".join(
        f"{g}: " + ", ".join(f"{n} {number(v.value)}" for n, v in bars) for g, bars in groups
    )
    return _svg(title, spoken, y + 18, [*grid, *body], standalone)


def _bar(name: str, value: Value, y: float, left: float, scale: Callable[[float], float], main: bool) -> list[str]:
    out = [_text(left - 8, y + 14, name, "strong" if main else "", "end")]
    if value.value is None:
        return [*out, _text(left + 4, y + 14, "not measured", "soft")]
    end = scale(value.value)
    out.append(
        f'<rect class="bar{" main" if main else ""}" x="{left:.1f}" y="{y + 2}" '
        f'width="{max(end - left, 1):.1f}" height="16" rx="2"/>'
    )
    if value.low is not None and value.high is not None:
        a, b = scale(value.low), scale(value.high)
        out.append(f'<path class="whisker" d="M{a:.1f} {y + 10}H{b:.1f}M{a:.1f} {y + 6}v8M{b:.1f} {y + 6}v8"/>')
        end = max(end, b)
    return [*out, _text(end + 6, y + 14, number(value.value), "strong" if main else "")]


def line_chart(
    title: str,
    lines: Sequence[Line],
    *,
    x_label: str,
    y_label: str,
    description: str = "",
    log_x: bool = False,
    log_y: bool = False,
    x_names: Callable[[float], str] | None = None,
    height: int = 320,
    standalone: bool = False,
) -> str:
    """Curves with a legend of colour and dash; points that are not finite (or not positive on a log axis) are left out.

    Args:
        title: see :func:`bar_chart`.
        lines: at most six keep colours of their own.
        x_label: under the axis.
        y_label: above the axis.
        description: see :func:`bar_chart`.
        log_x: logarithmic x.
        log_y: logarithmic y.
        x_names: position -> text below the x axis; None: the number.
        height: in pixels of a width of 640.
        standalone: see :func:`bar_chart`.
    """
    points = [(line.name, _points(line, log_x, log_y)) for line in lines]
    legend = 22 * math.ceil(len(points) / 3) if len(points) > 1 else 0
    left, top, bottom = 62, 58 + legend, height - 44
    xs = [x for _, p in points for x, _ in p] or [1.0]
    ys = [y for _, p in points for _, y in p] or [1.0]
    sx, tx = _axis(min(xs), max(xs), left, _WIDTH - 24, log_x)
    sy, ty = _axis(min(ys) if log_y else min(0.0, *ys), max(ys), bottom, top, log_y)
    out = [_text(0, top - 16, y_label, "soft"), _text(_WIDTH - 24, height - 6, x_label, "soft", "end")]
    for t in ty:
        out.append(f'<path class="grid" d="M{left} {sy(t):.1f}H{_WIDTH - 24}"/>')
        out.append(_text(left - 8, sy(t) + 4, _tick(t), "soft", "end"))
    out += [_text(sx(t), bottom + 18, (x_names or _tick)(t), "soft", "middle") for t in tx]
    for i, (name, path) in enumerate(points):
        style = f'style="stroke:var(--l{i % LINE_COLOURS + 1})" stroke-dasharray="{_DASHES[i % len(_DASHES)]}"'
        if len(path) == 1:
            x, y = sx(path[0][0]), sy(path[0][1])
            out.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" style="fill:var(--l{i % LINE_COLOURS + 1})"/>')
        elif path:
            d = "L".join(f"{sx(x):.1f} {sy(y):.1f}" for x, y in path)
            out.append(f'<path class="line" {style} d="M{d}"/>')
        if legend:
            at, row = 62 + 190 * (i % 3), 40 + 22 * (i // 3)
            out.append(f'<path class="line" {style} d="M{at} {row}h26"/>')
            out.append(_text(at + 32, row + 4, name))
    spoken = description or "; ".join(f"{n} from {number(p[0][1])} to {number(p[-1][1])}" for n, p in points if p)
    return _svg(title, spoken, height, out, standalone)


def _points(line: Line, log_x: bool, log_y: bool) -> list[tuple[float, float]]:
    found = []
    for x, y in zip(line.x, line.y, strict=True):
        usable = math.isfinite(x) and math.isfinite(y) and (x > 0 or not log_x) and (y > 0 or not log_y)
        if usable:
            found.append((float(x), float(y)))
    return found


def _axis(
    low: float, high: float, start: float, end: float, log: bool = False
) -> tuple[Callable[[float], float], list[float]]:
    """Value -> pixel, and round ticks inside the range."""
    if log:
        a = math.floor(math.log10(low))
        b = max(math.ceil(math.log10(high)), a + 1)
        powers = range(a, b + 1, math.ceil((b - a) / 5))
        return lambda v: start + (math.log10(v) - a) / (b - a) * (end - start), [10.0**e for e in powers]
    if high <= low:
        high = low + (abs(low) or 1.0)
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough)
    ticks = [i * step for i in range(math.floor(low / step), math.ceil(high / step) + 1)]
    first, last = ticks[0], ticks[-1]
    return lambda v: start + (v - first) / (last - first) * (end - start), ticks


def _margin(names: Sequence[str]) -> float:
    """Room for the longest name at about 7 pixels a letter."""
    return float(min(max((len(name) for name in names), default=0) * 7.2 + 16, 240))


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    shown = text if len(text) <= 60 else text[:59] + "…"
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{escape(shown)}</text>'


def _vertical(x: float, top: float, bottom: float, label: str) -> str:
    return f'<path class="grid" d="M{x:.1f} {top}V{bottom}"/>' + _text(x, bottom + 16, label, "soft", "middle")


def _svg(title: str, spoken: str, height: float, body: Sequence[str], standalone: bool) -> str:
    # role="img" with an own label is what screen readers announce everywhere; <title> is also the hover text
    style = f"<style>{STYLE}</style>" if standalone else ""
    label = escape(f"{title}. {spoken}", quote=True)
    return (
        f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" role="img" '
        f'aria-label="{label}"><title>{escape(title)}</title><desc>{escape(spoken)}</desc>{style}'
        f"{_text(0, 16, title, 'head')}{''.join(body)}</svg>"
    )
