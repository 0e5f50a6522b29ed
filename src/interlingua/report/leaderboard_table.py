"""Leaderboards as text for a terminal, as markdown, and as HTML for the report page."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from interlingua.progress import duration
from interlingua.report.table import pipes, short
from interlingua.runs.leaderboard import Entry, Leaderboard

if TYPE_CHECKING:
    from rich.console import Group

MOST_WORDS = 6
"""options named per row of a terminal's table; the JSON has all"""


def value(entry: Entry, metric: str) -> str:
    """``.0712 [.0688, .0737]``, with the spread over seeds where there are several."""
    low, high = entry.intervals[metric]
    spread = f" ±{short(entry.spread[metric])}" if entry.seeds > 1 else ""
    return f"{short(entry.metrics[metric])}{spread} [{short(low)}, {short(high)}]"


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
    """What differs, the first ``most`` of it."""
    if most is None or len(entry.differs) <= most:
        return ", ".join(entry.differs)
    return f"{', '.join(entry.differs[:most])} and {len(entry.differs) - most} more"


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
    heads = ["", "method", *board.metrics, *(["seeds"] if several else []), "cost", "options that differ", "run"]
    for head in heads:
        table.add_column(head, overflow="fold")
    for place, entry in enumerate(board.entries, 1):
        cells = [str(place), entry.name, *(value(entry, m) for m in board.metrics)]
        cells += [str(entry.seeds)] if several else []
        cells += [cost(entry), options(entry, MOST_WORDS), "\n".join(path.name for path in entry.runs)]
        table.add_row(*(Text(cell, style="bold" if place == 1 and n == 2 else "") for n, cell in enumerate(cells)))
    notes = [Text(f"warning: {warning}") for warning in board.warnings]
    return Group(Text(title(board)), Text(_words(board)), table, *notes)


def _words(board: Leaderboard) -> str:
    return (
        f"ordered by {board.metrics[0]}; 95 % bootstrap intervals in brackets; which rows differ: interlingua compare"
    )


def to_markdown(board: Leaderboard) -> str:
    """A pipe table under a line with the protocol."""
    heads = ["", "method", *board.metrics, "seeds", "cost", "options that differ"]
    rows = [
        [str(place), e.name, *(value(e, m) for m in board.metrics), str(e.seeds), cost(e), options(e)]
        for place, e in enumerate(board.entries, 1)
    ]
    notes = [f"Warning: {warning}" for warning in board.warnings]
    return (
        "\n\n".join([f"{board.data}, {board.n_users:,} users: `{board.protocol}`.", pipes(heads, rows), *notes]) + "\n"
    )


def to_html(boards: Sequence[Leaderboard]) -> str:
    """All boards for the report page; every text is escaped."""
    return "".join(_html(board) for board in boards)


def _html(board: Leaderboard) -> str:
    heads = ["", "method", *board.metrics, "seeds", "cost", "options that differ"]
    cells = "".join(f'<th scope="col">{escape(head)}</th>' for head in heads)
    rows = "".join(_row(place, entry, board) for place, entry in enumerate(board.entries, 1))
    notes = "".join(f"<li>{escape(warning)}</li>" for warning in board.warnings)
    return (
        f'<h3 class="gap">{escape(board.data)}, {escape(board.protocol.split("; ")[0])}</h3>'
        f'<p class="soft small">{board.n_users:,} users, {escape(_words(board))}. '
        f"<code>{escape(board.protocol)}</code></p>"
        f'<div class="wide" role="region" tabindex="0" aria-label="Leaderboard of {escape(board.data, quote=True)}">'
        f"<table><thead><tr>{cells}</tr></thead><tbody>{rows}</tbody></table></div>"
        + (f'<div class="box warn" role="note"><ul>{notes}</ul></div>' if notes else "")
    )


def _row(place: int, entry: Entry, board: Leaderboard) -> str:
    measured = ""
    for metric in board.metrics:
        low, high = entry.intervals[metric]
        best = "best" if entry.metrics[metric] == max(e.metrics[metric] for e in board.entries) else ""
        spread = f" ±{short(entry.spread[metric])}" if entry.seeds > 1 else ""
        measured += (
            f'<td class="{best}"><span class="v">{short(entry.metrics[metric])}{spread}</span>'
            f'<span class="ci">{short(low)} – {short(high)}</span></td>'
        )
    return (
        f'<tr><td>{place}</td><th scope="row">{escape(entry.name)}</th>{measured}<td>{entry.seeds}</td>'
        f'<td class="text">{escape(cost(entry))}</td><td class="text small">{escape(options(entry))}</td></tr>'
    )
