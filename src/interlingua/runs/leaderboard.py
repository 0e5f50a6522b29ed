"""Which run is best: one leaderboard per dataset and protocol, with intervals, what differs, and what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isnan
from pathlib import Path
from statistics import mean
from typing import Any

from interlingua.errors import ArtifactError, ConfigError, unknown
from interlingua.evaluate.compare import row_of
from interlingua.evaluate.named import lower_is_better, reads
from interlingua.evaluate.naming import differences, value_words
from interlingua.evaluate.result import Report, at_slice
from interlingua.runs.reports import Run, grouped, load_run
from interlingua.storage import artifact

MAIN = ("ndcg@10", "recall@20", "hit@1")
"""metrics that order a leaderboard by default: the first of them that was measured"""
MAIN_SAMPLED = ("hit@1", "ndcg@10")
"""the same among sampled candidates"""


@dataclass(frozen=True)
class Entry:
    """One method of a leaderboard, with all its training seeds."""

    name: str
    """the recipe's name, and what differs where several methods share it"""
    differs: tuple[str, ...]
    """``option=value`` for every option that differs between methods of the board"""
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    spread: dict[str, float]
    """standard deviation over seeds"""
    seeds: int
    seconds: float | None
    """of all stages, mean over seeds"""
    parameters: int | None
    """number of trained parameters"""
    runs: tuple[Path, ...]
    """one folder per seed"""


@dataclass(frozen=True)
class Leaderboard:
    """Methods measured on the same users and targets under the same protocol, best first."""

    data: str
    protocol: str
    n_users: int
    metrics: tuple[str, ...]
    """the metrics shown; the first orders the entries"""
    entries: tuple[Entry, ...]
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "data": self.data,
            "protocol": self.protocol,
            "n_users": self.n_users,
            "metrics": list(self.metrics),
            "entries": [
                {
                    **entry.__dict__,
                    "differs": list(entry.differs),
                    "intervals": {name: list(pair) for name, pair in entry.intervals.items()},
                    "runs": [str(path) for path in entry.runs],
                }
                for entry in self.entries
            ],
            "warnings": list(self.warnings),
        }


def leaderboards(
    paths: Sequence[Path | str],
    *,
    metrics: Sequence[str] = (),
    protocol: str | None = None,
    part: str | None = None,
) -> list[Leaderboard]:
    """One leaderboard per dataset and protocol, the one with most methods first.

    Args:
        paths: folders of runs, or folders that hold runs. A run that cannot be read is left out and named.
        metrics: those shown; the first orders. None: the protocol's usual one. Boards without the first are left out.
        protocol: only this one, by name (``full``).
        part: a slice's name, e.g. ``cold items``: only the targets in it.

    Raises:
        ConfigError: a metric, protocol or slice that no run has.
    """
    runs, lost = _readable(paths)
    boards: dict[tuple[str, str], list[tuple[Run, str]]] = {}
    for run in runs:
        for name, report in run.reports.items():
            if protocol in (None, name):
                boards.setdefault((report.population, report.protocol), []).append((run, name))
    if protocol is not None and runs and not boards:
        raise ConfigError(unknown("protocol", protocol, {name for run in runs for name in run.reports}, "the runs"))
    whole = [[(run, name, run.reports[name]) for run, name in found] for found in boards.values()]
    cut = [[(run, name, _sliced(r, part)) for run, name, r in found] for found in whole]
    usable = [[(run, name, r) for run, name, r in found if r is not None] for found in cut]
    if part is not None and whole and not any(usable):
        raise ConfigError(unknown("slice", part, {s for f in whole for _, _, r in f for s in r.slices}, "the runs"))
    measured = {m for found in usable for _, _, r in found for m in r.metrics}
    for name in metrics:
        if runs and name not in measured:
            raise ConfigError(unknown("metric", name, measured, "the runs"))
    made = [_board(found, metrics, lost) for found in usable if found]
    ordered = [board for board in made if board is not None]
    return sorted(ordered, key=lambda board: -len(board.entries))


def _sliced(report: Report, part: str | None) -> Report | None:
    if part is None:
        return report
    return at_slice(report, part) if part in report.masks else None


def _readable(paths: Sequence[Path | str]) -> tuple[list[Run], tuple[str, ...]]:
    """The runs below some folders, oldest first, and what could not be read."""
    folders: list[Path] = []
    for path in map(Path, paths):
        cards = sorted(path.glob(f"evaluate-*/{artifact.CARD}"), key=lambda card: card.stat().st_mtime)
        folders += [card.parent for card in cards] or [path]
    found, lost = [], []
    for folder in dict.fromkeys(folders):
        try:
            found.append(load_run(folder))
        except ArtifactError as error:
            if len(folders) == 1:
                raise
            lost.append(f"{folder.name} is left out: {error}")
    return found, tuple(lost)


def _board(
    found: Sequence[tuple[Run, str, Report]], metrics: Sequence[str], lost: tuple[str, ...]
) -> Leaderboard | None:
    """The leaderboard of runs with equal protocols and users; None where the metric was not measured."""
    name, first = found[0][1], found[0][2]
    shared = [m for m in first.metrics if all(m in r.metrics for _, _, r in found)]
    usual = MAIN_SAMPLED if "negatives=" in first.protocol else MAIN
    shown = tuple(m for m in metrics if m in shared) or tuple(m for m in (*usual, *shared) if m in shared)[:1]
    if not metrics:  # whoever had lists or labels measured wants to see it
        shown += tuple(m for m in shared if reads(m) in ("lists", "labels") and m not in shown)
    if not shown or (metrics and metrics[0] not in shared):
        return None
    reports = {id(run): report for run, _, report in found}
    board_runs = [Run(**{**vars(run), "reports": {name: reports[id(run)]}}) for run, _, _ in found]
    groups = grouped(board_runs)
    words = differences([group[0].resolved for group in groups.values()])
    entries = [
        _entry(label, group, name, differs) for (label, group), differs in zip(groups.items(), words, strict=True)
    ]
    data = dict.fromkeys(value_words(run.data.get("name", "data")) for run in board_runs)
    warnings = dict.fromkeys(w for run in board_runs for w in run.reports[name].warnings)
    return Leaderboard(
        " = ".join(data), first.protocol, first.n_users, shown,
        tuple(sorted(entries, key=lambda entry: (_order(shown[0], entry), entry.name))), (*lost, *warnings),
    )  # fmt: skip


def _order(metric: str, entry: Entry) -> float:
    value = entry.metrics[metric]
    return inf if isnan(value) else value if lower_is_better(metric) else -value


def _entry(label: str, group: Sequence[Run], name: str, differs: tuple[str, ...]) -> Entry:
    row = row_of(label, [run.reports[name] for run in group])
    seconds = [run.seconds for run in group if run.seconds is not None]
    return Entry(
        label, tuple(d for d in differs if not d.startswith("data.name=")), row.metrics, row.intervals, row.spread,
        row.seeds, round(mean(seconds), 3) if seconds else None, group[0].parameters, tuple(run.path for run in group),
    )  # fmt: skip
