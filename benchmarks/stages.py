"""The picture of the stages and of the vector spaces that they make; order and arrows are those of a recipe's plan."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from interlingua.report.svg import STYLE
from interlingua.runs import recipe as recipes
from interlingua.runs.plan import make_plan

RECIPE = "aligned-mixture"
"""a recipe with all six stages"""
WORDS = {
    "prepare": ("[data]", "reads, filters, splits", "", "events, texts, split"),
    "embed": ("[text]", "texts become vectors", "text space", "a vector per text"),
    "train": ("[backbone]", "learns who chose what", "collaborative space", "users and items"),
    "align": ("[align]", "makes the spaces one", "joint space", "items by events or text"),
    "rank": ("[ranker]", "a language model reads it", "language model's input", "vectors in place of tokens"),
    "evaluate": ("[evaluate]", "ranks what was held out", "", "metrics, intervals, tests"),
}
"""stage -> recipe section, what it does, the vector space that it makes ("": none), what lies there"""
WIDTH, BOX, TALL, GAP, ROW = 1120, 192, 62, 40, 160


def stages() -> str:
    """The picture as SVG text: a box for a stage, numbered as they run, and below it the space that it makes."""
    plan = {kind: stage.parents for kind, stage in make_plan(recipes.load(RECIPE, data="planted"), 7).items()}
    edges = [(parent, kind) for kind in plan for parent in direct(plan, kind)]
    column: dict[str, int] = {}
    for kind in plan:
        column[kind] = max((column[parent] + 1 for parent, child in edges if child == kind), default=0)
    place = {}
    for kind, at in column.items():
        beside = [other for other in plan if column[other] == at]
        top = 50 + ROW * (beside.index(kind) if len(beside) > 1 else 0.5)
        place[kind] = (at * (BOX + GAP), top)
    body = [_arrow(*place[parent], *place[child]) for parent, child in edges]
    body += [_stage(number, kind, *place[kind]) for number, kind in enumerate(plan, 1)]
    spoken = "; ".join(f"{n} {kind} {WORDS[kind][0]}: {WORDS[kind][1]}" for n, kind in enumerate(plan, 1))
    title = "The stages of a run and the vector spaces that they make"
    return (
        f'<svg class="chart" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {50 + 2 * ROW}" role="img" '
        f'aria-label="{escape(f"{title}. {spoken}", quote=True)}"><title>{escape(title)}</title>'
        f"<desc>{escape(spoken)}</desc><style>{STYLE}</style>"
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        f'<path class="dot" d="M0 0L8 4L0 8z"/></marker></defs>{_text(0, 18, title, "head")}{"".join(body)}</svg>'
    )


def direct(plan: Mapping[str, tuple[str, ...]], kind: str) -> list[str]:
    """The parents of a stage that are not reached through another of its parents."""

    def ancestors(stage: str) -> set[str]:
        return {found for parent in plan[stage] for found in (parent, *ancestors(parent))}

    return [p for p in plan[kind] if not any(p in ancestors(other) for other in plan[kind])]


def _stage(number: int, kind: str, x: float, y: float) -> str:
    section, does, space, holds = WORDS[kind]
    middle = x + BOX / 2
    out = (
        f'<rect x="{x}" y="{y}" width="{BOX}" height="{TALL}" rx="10" fill="none" class="whisker"/>'
        + _text(x + 12, y + 24, f"{number} {kind}", "strong")
        + _text(x + BOX - 12, y + 24, section, "soft", "end")
        + _text(x + 12, y + 46, does, "soft")
    )
    if space:
        out += (
            f'<path class="grid" d="M{middle} {y + TALL}v12"/>'
            f'<ellipse cx="{middle}" cy="{y + TALL + 42}" rx="{BOX / 2}" ry="30" '
            'style="fill:var(--main)" opacity=".14"/>'
        )
    return (
        out
        + _text(middle, y + TALL + 38, space, "strong", "middle") * bool(space)
        + _text(middle, y + TALL + (56 if space else 22), holds, "soft", "middle")
    )


def _arrow(x: float, y: float, to_x: float, to_y: float) -> str:
    """From the right edge of one box to the left edge of the next."""
    start, end, half = x + BOX, to_x - 2, TALL / 2
    bend = (start + end) / 2
    path = f"M{start} {y + half}C{bend} {y + half} {bend} {to_y + half} {end} {to_y + half}"
    return f'<path d="{path}" fill="none" class="whisker" marker-end="url(#tip)"/>'


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" class="{kind}" text-anchor="{anchor}">{escape(text)}</text>'
