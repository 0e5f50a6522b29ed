"""One self-contained HTML page of a run: opens offline, without scripts, in light and dark, on a phone.

The markup is in ``templates/`` (Jinja2). Every text is escaped, and the page's own content policy forbids scripts and
loading: titles are data of strangers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from interlingua.errors import ArtifactError
from interlingua.progress import duration
from interlingua.report import leaderboard_table
from interlingua.report.page import ReportPage, label
from interlingua.report.svg import STYLE, bar_chart, line_chart, number
from interlingua.report.table import p_value, short


@dataclass(frozen=True)
class Section:
    """One part of the page; ``templates/sections/<anchor>.html`` writes it."""

    anchor: str
    title: str


def write_report(path: Path | str, page: ReportPage) -> Path:
    """Writes the page as one HTML file.

    Raises:
        ArtifactError: the file cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(to_html(page), encoding="utf-8")
    except OSError as error:
        raise ArtifactError(f"cannot write the report {path}: {error.strerror or error}") from error
    return path


def to_html(page: ReportPage) -> str:
    """The page as text, without empty parts (the table of contents omits them too)."""
    known = [[m.values[i].value for m in page.methods] for i in range(len(page.columns))]
    return _templates().get_template("page.html").render(
        page=page,
        sections=_sections(page),
        charts=_charts(page),
        best=[max((v for v in column if v is not None), default=None) for column in known],
        chart_style=Markup(STYLE),
    )  # fmt: skip


def _templates() -> Environment:
    """Templates that escape every text; an unknown name is an error, not an empty string."""
    templates = Environment(
        loader=PackageLoader("interlingua.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "number": number,
        "short": short,
        "duration": duration,
        "memory": _memory,
        "p_value": p_value,
        "label": label,
        "where_measured": _where,
        "heads": leaderboard_table.heads,
        "best_of": leaderboard_table.best_of,
        "order_words": leaderboard_table.order_words,
        "cost": leaderboard_table.cost,
        "options": leaderboard_table.options,
    }
    return templates


def _sections(page: ReportPage) -> list[Section]:
    """The sections that have content, in the order of the page."""
    filled = {
        Section("results", "Results"): page.methods,
        Section("boards", "Leaderboards"): page.leaderboards,
        Section("cold", "Cold start"): page.cold_start,
        Section("people", "Recommendations and reasons"): page.people,
        Section("tests", "Paired tests"): page.comparisons,
        Section("doubts", "What would change this conclusion"): page.doubts,
        Section("learning", "Learning"): page.curves,
        Section("data", "Data"): page.data_card or page.popularity,
        Section("cost", "Cost"): page.costs,
        Section("repeat", "How to repeat it"): page.command or page.config or page.environment,
    }
    return [section for section, content in filled.items() if content]


def _charts(page: ReportPage) -> dict[str, Markup]:
    """Name -> SVG, which escapes its own texts."""
    charts = {}
    if page.cold_start:
        charts["cold_start"] = bar_chart(page.cold_start_title or "By slice", page.cold_start, main=page.main)
    if page.curves:
        x, y = page.curve_labels
        charts["curves"] = line_chart("Learning curves", page.curves, x_label=x, y_label=y)
    if page.popularity:
        charts["popularity"] = line_chart(
            "Popularity of items", page.popularity, x_label="item, most popular first", y_label="training events",
            log_x=True, log_y=True,
        )  # fmt: skip
    return {name: Markup(chart) for name, chart in charts.items()}


def _where(protocol: str) -> str:
    """``full; ...; slice=cold items`` -> ``full, cold items``."""
    parts = protocol.split("; ")
    return ", ".join([parts[0], *(p.removeprefix("slice=") for p in parts if p.startswith("slice="))])


def _memory(size: int | None) -> str:
    return "–" if size is None else f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
