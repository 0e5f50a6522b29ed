"""Comparisons as text: a rich table for people, markdown for pages. Both carry the protocol id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from interlingua.evaluate.compare import Comparison, PairedTest, Row
from interlingua.evaluate.named import best

if TYPE_CHECKING:
    from rich.console import Group


def cell(row: Row, metric: str) -> str:
    """``.0712 [.0688, .0737]``, with the spread over seeds where there are several."""
    spread = f" ±{short(row.spread[metric])}" if row.seeds > 1 else ""
    return f"{short(row.metrics[metric])}{spread}{between(row.intervals.get(metric))}"


def between(interval: tuple[float, float] | None) -> str:
    """`` [.0688, .0737]``; empty where a metric has no interval."""
    return "" if interval is None else f" [{short(interval[0])}, {short(interval[1])}]"


def short(value: float) -> str:
    """Four decimals without the leading zero: ``.0712``, ``-.0031``, ``1.0000``; a dash for NaN."""
    if value != value:
        return "–"
    text = f"{value:.4f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 and not text.lstrip("-").startswith("1") else text


def signed(value: float) -> str:
    """Like :func:`short`, with a plus sign above 0."""
    return f"{'+' if value > 0 else ''}{short(value)}"


def p_value(p: float) -> str:
    """Three decimals, or ``<.001``."""
    return "<.001" if p < 0.001 else f"{p:.3f}".replace("0.", ".", 1)


def _tests(tests: Sequence[PairedTest]) -> list[tuple[str, ...]]:
    return [
        (
            each.metric,
            f"{each.first} - {each.second}",
            signed(each.difference),
            f"[{signed(each.interval[0])}, {signed(each.interval[1])}]",
            p_value(each.p_holm),
            f"{each.better}/{each.equal}/{each.worse}",
            each.verdict,
        )
        for each in tests
    ]


TEST_COLUMNS = ("metric", "difference", "mean", "95 % interval", "p (Holm)", "users +/=/-", "at the 5 % level")


def to_markdown(comparison: Comparison) -> str:
    """Two pipe tables under a line with the protocol."""
    metrics = list(comparison.rows[0].metrics)
    rows = [[row.name, *(cell(row, m) for m in metrics)] for row in comparison.rows]
    parts = [
        f"Protocol: `{comparison.protocol}`, {comparison.n_users} users, 95 % bootstrap intervals in brackets.",
        pipes(["run", *metrics], rows),
        f"Paired tests ({comparison.test}, Holm-corrected over {len(comparison.tests)} tests):",
        pipes(TEST_COLUMNS, _tests(comparison.tests)),
        *(f"Warning: {warning}" for warning in comparison.warnings),
    ]
    return "\n\n".join(parts) + "\n"


def pipes(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in line) + " |" for line in lines)


def to_rich(comparison: Comparison) -> Group:
    """A renderable for a terminal: one row per run and metric, so that it stays readable at 80 columns."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    scores = Table(title=f"{comparison.n_users} users, 95 % bootstrap intervals", title_justify="left")
    scores.add_column("metric", no_wrap=True)
    for row in comparison.rows:
        scores.add_column(Text(row.name))
    for metric in comparison.rows[0].metrics:
        top = best(metric, (row.metrics[metric] for row in comparison.rows))
        cells = [Text(cell(row, metric), style="bold" if row.metrics[metric] == top else "") for row in comparison.rows]
        scores.add_row(metric, *cells)
    tests = Table(title=f"paired {comparison.test} tests, Holm-corrected over all", title_justify="left")
    tests.add_column("metric", no_wrap=True)
    tests.add_column("runs")
    tests.add_column("difference [95 % interval]", no_wrap=True)
    tests.add_column("p", no_wrap=True)
    tests.add_column("better")
    for each in comparison.tests:
        low, high = each.interval
        change = f"{signed(each.difference)} [{signed(low)}, {signed(high)}]"
        runs = f"{each.first} - {each.second}"
        tests.add_row(
            *(Text(t) for t in (each.metric, runs, change, p_value(each.p_holm), each.winner or "none shown"))
        )
    notes = [Text(f"warning: {warning}") for warning in comparison.warnings]
    return Group(Text(f"protocol: {comparison.protocol}"), scores, tests, *notes)
