"""History-length and popularity plots of a prepared dataset, as PNG and SVG (extra ``report``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from interlingua.data.prepared import Dataset
from interlingua.errors import DataError, MissingExtraError

INK, ACCENT, MUTED = "#222222", "#1f6f8b", "#b4441f"


def write_plots(prepared: Dataset, folder: Path | str) -> list[Path]:
    """Writes ``history-length`` and ``popularity`` as ``.png`` and ``.svg`` and, where times are known, ``time``.

    Raises:
        MissingExtraError: matplotlib is not installed.
        DataError: the folder cannot be written.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("matplotlib", "report", "plotting a dataset") from None
    folder = Path(folder)
    drawings = {"history-length": _history_length, "popularity": _popularity}
    if prepared.card["time"]["kind"] == "seconds":
        drawings["time"] = _time
    written = []
    # a fixed salt and no date: the same data give the same files
    with matplotlib.rc_context(
        {"svg.hashsalt": "interlingua", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False}
    ):
        for name, draw in drawings.items():
            figure = Figure(figsize=(6.4, 3.8), layout="constrained")
            axes = figure.add_subplot()
            draw(axes, prepared)
            try:
                folder.mkdir(parents=True, exist_ok=True)
                for kind in ("png", "svg"):
                    path = folder / f"{name}.{kind}"
                    figure.savefig(path, dpi=150, metadata={"Date": None} if kind == "svg" else None)
                    written.append(path)
            except OSError as error:
                raise DataError(f"cannot write plots to {folder}: {error}; choose a writable folder") from error
    return written


def _history_length(axes: Any, prepared: Dataset) -> None:
    counts = prepared.interactions.user_counts
    edges = _edges(int(counts.max()) if len(counts) else 1)
    axes.hist(counts, bins=edges, color=ACCENT, edgecolor="white", linewidth=0.4)
    median = float(np.median(counts))
    axes.axvline(median, color=MUTED, linewidth=1.2)
    axes.annotate(f"median {median:g}", (median, 0.95), xycoords=("data", "axes fraction"), xytext=(4, 0),
                  textcoords="offset points", color=MUTED)  # fmt: skip
    axes.set_xscale("log")
    axes.set_xlabel("events of a user")
    axes.set_ylabel("users")
    axes.set_title(f"{prepared.card['name']}: history length", loc="left", color=INK)


def _popularity(axes: Any, prepared: Dataset) -> None:
    ordered = np.sort(prepared.interactions.item_counts)[::-1]
    rank = np.arange(1, len(ordered) + 1)
    axes.plot(rank, np.maximum(ordered, 0.5), color=ACCENT, linewidth=1.6)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("rank of the item")
    axes.set_ylabel("events of the item")
    axes.set_title(f"{prepared.card['name']}: popularity", loc="left", color=INK)
    tail = int(np.ceil(0.65 * len(ordered)))
    axes.axvspan(tail, len(ordered), color=MUTED, alpha=0.12, linewidth=0)
    axes.annotate("least popular 35 %", (tail, 0.95), xycoords=("data", "axes fraction"), ha="right", xytext=(-4, 0),
                  textcoords="offset points", color=MUTED)  # fmt: skip


def _time(axes: Any, prepared: Dataset) -> None:
    times, parts = prepared.interactions.times, prepared.parts
    days = times.astype("datetime64[s]").astype("datetime64[D]").astype(float)
    edges = np.linspace(days.min(), days.max() + 1, 61)
    bottom = np.zeros(60)
    for code, (name, colour) in enumerate((("train", ACCENT), ("valid", "#d9a441"), ("test", MUTED))):
        height, _ = np.histogram(days[parts == code], bins=edges)
        axes.bar(edges[:-1], height, np.diff(edges), bottom, align="edge", color=colour, label=name, linewidth=0)
        bottom += height
    ticks = np.linspace(edges[0], edges[-1], 5)
    axes.set_xticks(ticks, [str(np.datetime64(int(t), "D"))[:7] for t in ticks])
    axes.set_ylabel("events")
    axes.legend(frameon=False)
    axes.set_title(f"{prepared.card['name']}: events over time", loc="left", color=INK)


def _edges(most: int) -> Any:
    """Bin edges that grow by about a sixth, at least one apart."""
    edges = [1.0]
    while edges[-1] <= most:
        edges.append(max(edges[-1] + 1, np.floor(edges[-1] * 1.18)))
    return np.array(edges) - 0.5
