"""Leaderboards as text for a terminal and as markdown, and the words of their cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interlingua.evaluate.named import best
from interlingua.progress import duration
from interlingua.report.table import between, pipes, short
from interlingua.runs.leaderboard import Entry, Leaderboard

if TYPE_CHECKING:
    from rich.console import Group

MOST_WORDS = 6
"""options named per row of a terminal's table; the JSON has all"""


def value(entry: Entry, metric: str) -> str:
    """``.0712 [.0688, .0737]``, with the spread over seeds where there are several."""
    spread = f" ±{short(entry.spread[metric])}" if entry.seeds > 1 else ""
    return f"{short(entry.metrics[metric])}{spread}{between(entry.intervals.get(metric))}"


def cost(entry: Entry) -> str:
    """``2 min 3 s, 1.2M parameters``."""
    parts = [] if entry.seconds is None else [duration(entry.seconds)]
    return ", ".join([*parts, *([f"{count(entry.parameters)} parameters"] if entry.parameters else [])]) or "-"


def count(number: int) -> str:
    """``1.2M``, ``140.1k``, ``96``."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return str(number)


def options(entry: Entry, most: int | None = None) -> str:
    """The options that differ, at most ``most`` of them."""
    if most is None or len(entry.differs) <= most:
        return ", ".join(entry.differs)
    return f"{', '.join(entry.differs[:most])} and {len(entry.differs) - most} more"


def best_of(board: Leaderboard, metric: str) -> float:
    """The best value of a column."""
    return best(metric, (entry.metrics[metric] for entry in board.entries))


def heads(board: Leaderboard) -> list[str]:
    """Headings of the columns."""
    return ["", "method", *board.metrics, "seeds", "cost", "options that differ"]


def title(board: Leaderboard) -> str:
    """``movielens-small, full; split=...``."""
    return f"{board.data}, {board.n_users:,} users, {board.protocol}"


def to_rich(board: Leaderboard) -> Group:
    """A renderable for a terminal; nothing in it is read as markup."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    table = Table(title_justify="left")
    several = any(entry.seeds > 1 for entry in board.entries)
    for head in [head for head in heads(board) if several or head != "seeds"] + ["run"]:
        table.add_column(head, overflow="fold")
    for place, entry in enumerate(board.entries, 1):
        cells = [str(place), entry.name, *(value(entry, m) for m in board.metrics)]
        cells += [str(entry.seeds)] if several else []
        cells += [cost(entry), options(entry, MOST_WORDS), "\n".join(path.name for path in entry.runs)]
        table.add_row(*(Text(cell, style="bold" if place == 1 and n == 2 else "") for n, cell in enumerate(cells)))
    notes = [Text(f"warning: {warning}") for warning in board.warnings]
    return Group(Text(title(board)), Text(order_words(board)), table, *notes)


def order_words(board: Leaderboard) -> str:
    """Says what orders the rows, and how to test whether they differ."""
    return (
        f"ordered by {board.metrics[0]}; 95 % bootstrap intervals in brackets; which rows differ: interlingua compare"
    )


def to_markdown(board: Leaderboard) -> str:
    """A pipe table under a line with the protocol."""
    rows = [
        [str(place), e.name, *(value(e, m) for m in board.metrics), str(e.seeds), cost(e), options(e)]
        for place, e in enumerate(board.entries, 1)
    ]
    notes = [f"Warning: {warning}" for warning in board.warnings]
    heading = f"{board.data}, {board.n_users:,} users: `{board.protocol}`."
    return "\n\n".join([heading, pipes(heads(board), rows), *notes]) + "\n"
