"""The report page of several runs: leaderboards, tests of the best against the others, and costs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from interlingua.errors import ConfigError
from interlingua.evaluate.compare import Comparison, compare
from interlingua.evaluate.named import lower_is_better
from interlingua.evaluate.result import Report
from interlingua.report.page import ReportPage, label
from interlingua.report.table import short
from interlingua.runs.leaderboard import Leaderboard, leaderboards
from interlingua.runs.reports import load_run

DOUBTS = (
    "The best of many is flattered by having been chosen: its own interval says nothing of that, and the paired tests "
    "correct for the number of tests only.",
    "Methods differ in how long they were tuned and trained: the table of options says what differs, not whether the "
    "others were given the same care.",
)


def page_of(
    paths: Sequence[Path | str],
    *,
    metrics: Sequence[str] = (),
    protocol: str | None = None,
    reference: str | None = None,
    title: str = "Runs",
) -> ReportPage:
    """The page of the runs in some folders.

    Args:
        paths: folders of runs, or folders that hold runs.
        metrics: the metrics shown; the first orders the rows and is tested.
        protocol: only this one.
        reference: the row that all others are tested against; None: the best of each board.
        title: of the page.

    Raises:
        ConfigError: the folders hold no evaluation, or no board has the reference.
    """
    boards = leaderboards(paths, metrics=metrics, protocol=protocol)
    if not boards:
        raise ConfigError(f"no finished run in {', '.join(map(str, paths))}; interlingua run makes one")
    names = {entry.name for board in boards for entry in board.entries}
    if reference is not None and reference not in names:
        raise ConfigError(f"no row is called {reference!r}; there are: {', '.join(sorted(names))}")
    tests = [comparison for board in boards if (comparison := _tests(board, reference)) is not None]
    runs = {path for board in boards for entry in board.entries for path in entry.runs}
    command = ["interlingua", "report", *map(str, paths)]
    command += [word for metric in metrics for word in ("--metric", metric)]
    command += ["--protocol", protocol] if protocol else []
    command += ["--reference", reference] if reference else []
    return ReportPage(
        title,
        tuple(_sentence(board, tests) for board in boards),
        facts={"runs": str(len(runs)), "leaderboards": str(len(boards)), "methods": str(len(names))},
        leaderboards=tuple(boards),
        comparisons=tuple(tests),
        doubts=DOUBTS,
        command=shlex.join(command),
    )


def _reports(board: Leaderboard) -> dict[str, list[Report]]:
    """Row -> its reports under the board's protocol."""
    return {
        entry.name: [r for path in entry.runs for r in load_run(path).reports.values() if r.protocol == board.protocol]
        for entry in board.entries
    }


def _tests(board: Leaderboard, reference: str | None) -> Comparison | None:
    """Tests of every row against the reference or the best; None if there is nothing to compare."""
    names = [entry.name for entry in board.entries]
    against = reference if reference in names else names[0]
    if len(names) < 2:
        return None
    return compare(_reports(board), metrics=[board.metrics[0]], reference=against)


def _sentence(board: Leaderboard, tests: Sequence[Comparison]) -> str:
    """Names the highest row, and the rows from which it differs according to the tests."""
    best, metric = board.entries[0], board.metrics[0]
    word = "lowest" if lower_is_better(metric) else "highest"
    where = f"{board.data}, {board.protocol.split('; ')[0]}"
    text = f"{where}: {best.name} has the {word} {label(metric)}, {short(best.metrics[metric])}"
    if metric in best.intervals:
        text += " (95 % interval {} to {})".format(*map(short, best.intervals[metric]))
    if len(board.entries) == 1:
        return f"{text}; nothing else was measured so."
    own = [t for c in tests if c.protocol == board.protocol for t in c.tests if best.name in (t.first, t.second)]
    apart = [t for t in own if t.winner == best.name]
    return f"{text}; it is shown to be better than {len(apart)} of the {len(own)} rows that it was tested against."
