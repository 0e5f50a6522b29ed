"""History-length, popularity and time plots of a prepared dataset, as SVG files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from interlingua.data.prepared import Dataset
from interlingua.errors import DataError
from interlingua.report.page import popularity_line
from interlingua.report.svg import Line, line_chart

TAIL = 0.35
"""fraction of the items that is drawn as the least popular ones"""
TIME_BINS = 60
FEW_DAYS = 150
"""over fewer than these the time axis names days, over more it names months"""


def write_plots(prepared: Dataset, folder: Path | str) -> list[Path]:
    """Writes ``history-length.svg``, ``popularity.svg`` and, where times are known, ``time.svg``.

    Raises:
        DataError: the folder cannot be written.
    """
    folder = Path(folder)
    drawings: dict[str, Callable[[Dataset], str]] = {"history-length": history_length, "popularity": popularity}
    if prepared.card["time"]["kind"] == "seconds":
        drawings["time"] = events_over_time
    written = [folder / f"{name}.svg" for name in drawings]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, draw in zip(written, drawings.values(), strict=True):
            path.write_text(draw(prepared), encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write plots to {folder}: {error}; choose a writable folder") from error
    return written


def history_length(prepared: Dataset) -> str:
    """Histogram of the number of events per user, in bins that grow with the length."""
    counts = prepared.interactions.user_counts
    edges = growing_edges(int(counts.max()) if len(counts) else 1)
    height, _ = np.histogram(counts, bins=edges)
    title = f"{prepared.card['name']}: history length, median {np.median(counts) if len(counts) else 0:g}"
    return line_chart(
        title, [_steps("users", edges, height)], x_label="events of a user", y_label="users", log_x=True,
        standalone=True,
    )  # fmt: skip


def popularity(prepared: Dataset) -> str:
    """Events of the items, most popular first, on logarithmic axes; the least popular ones form a separate line."""
    counts = np.sort(prepared.interactions.item_counts)[::-1]
    first_of_tail = int(np.ceil((1 - TAIL) * len(counts)))
    whole = popularity_line(counts)
    ranks, events = np.asarray(whole.x), np.asarray(whole.y)
    head, tail = ranks <= first_of_tail, ranks >= first_of_tail
    lines = [
        Line("the other items", ranks[head].tolist(), events[head].tolist()),
        Line(f"least popular {TAIL:.0%}", ranks[tail].tolist(), events[tail].tolist()),
    ]
    return line_chart(
        f"{prepared.card['name']}: popularity", lines, x_label="rank of the item", y_label="events of the item",
        log_x=True, log_y=True, standalone=True,
    )  # fmt: skip


def events_over_time(prepared: Dataset) -> str:
    """Events of each part of the split in equal stretches of time."""
    days = prepared.interactions.times / 86_400
    edges = np.linspace(days.min(), days.max() + 1, TIME_BINS + 1)
    unit = "D" if edges[-1] - edges[0] < FEW_DAYS else "M"
    lines = [
        _steps(part, edges, np.histogram(days[prepared.parts == code], bins=edges)[0])
        for code, part in enumerate(("train", "valid", "test"))
    ]
    return line_chart(
        f"{prepared.card['name']}: events over time", lines, x_label="time of the event", y_label="events",
        x_names=lambda day: str(np.datetime64(int(day), "D").astype(f"datetime64[{unit}]")), standalone=True,
    )  # fmt: skip


def _steps(name: str, edges: Any, height: Any) -> Line:
    """A histogram's outline."""
    x: Sequence[float] = np.repeat(edges, 2)[1:-1].tolist()
    return Line(name, x, np.repeat(height, 2).tolist())


def growing_edges(most: int) -> Any:
    """Edges of bins of whole numbers up to ``most`` that grow by about a sixth, at least one apart."""
    edges = [1.0]
    while edges[-1] <= most:
        edges.append(max(edges[-1] + 1, np.floor(edges[-1] * 1.18)))
    return np.array(edges) - 0.5
