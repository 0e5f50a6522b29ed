"""The tables of a comparison from what its jobs gave: values with intervals, tests, and the paper's numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from interlingua.bench.jobs import Job
from interlingua.bench.paired import corrected, one_test, seed_test
from interlingua.bench.running import Outcome
from interlingua.bench.spec import ColumnOptions, Spec, TableOptions
from interlingua.errors import ConfigError
from interlingua.evaluate.compare import row_of
from interlingua.evaluate.intervals import intervals
from interlingua.evaluate.result import Report, at_slice
from interlingua.report.table import between, p_value, pipes, short, signed

OTHER = "other data, other LM"
"""said of every column of a paper"""


@dataclass(frozen=True)
class Value:
    """One cell."""

    value: float
    low: float | None = None
    high: float | None = None
    """95 % interval over users and seeds"""
    spread: float | None = None
    """standard deviation over seeds"""
    seeds: int = 1
    users: int = 0


@dataclass
class Made:
    """One table."""

    number: str
    options: TableOptions
    cells: dict[str, dict[str, Value]] = field(default_factory=dict)
    """row -> column -> value; what was not measured is not there"""
    tests: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        shown = [
            {
                "method": row,
                **{column: {k: v for k, v in vars(value).items() if v is not None} for column, value in found.items()},
            }
            for row, found in self.cells.items()
        ]
        paper = {column: {"marked": OTHER, "rows": dict(values)} for column, values in self.options.paper.items()}
        return {
            "table": self.number, "title": self.options.title, "rows": shown, "tests": self.tests, "paper": paper,
            "notes": self.notes,
        }  # fmt: skip

    def markdown(self) -> str:
        """A heading, the values with the paper's in columns of their own, the tests, and what is to be known."""
        names = [column.name for column in self.options.columns]
        paper = self.options.paper
        heads = ["method", "seeds", *names, *(f"paper, {OTHER}: {column}" for column in paper)]
        lines = []
        for row in self.options.rows:
            found = self.cells.get(row, {})
            if not found and not any(row in values for values in paper.values()):
                continue
            seeds = max((value.seeds for value in found.values()), default=0)
            cells = [_shown(found.get(name)) for name in names]
            lines.append([row, str(seeds or "–"), *cells, *(_plain(values.get(row)) for values in paper.values())])
        parts = [f"### Table {self.number}: {self.options.title}", pipes(heads, lines)]
        if self.options.reading:
            parts.append(self.options.reading)
        if self.tests:
            parts.append(
                f"Against {self.options.against}: paired over users and seeds, and over seeds alone; Holm's correction "
                f"over the {len(self.tests)} tests of this table."
            )
            parts.append(pipes(TESTS, [_test_line(test) for test in self.tests]))
        return "\n\n".join([*parts, *(f"* {note}" for note in self.notes)])


TESTS = ("column", "method", "difference", "95 % interval", "p (Holm)", "by seed", "p over seeds")


def make(
    spec: Spec, number: str, options: TableOptions, done: Mapping[Job, Outcome], missing: Mapping[str, str]
) -> Made:
    """One table.

    Args:
        spec: the comparison.
        number: the table's.
        options: with the rows that were asked for.
        done: what the jobs gave.
        missing: row, or job, -> why it is not there.
    """
    made = Made(number, options)
    for row in options.rows:
        found = {}
        for column in options.columns:
            value = _value(column, outcomes_of(row, column.setting, done))
            if value is not None:
                found[column.name] = value
        if found:
            made.cells[row] = found
        if spec.methods[row].note and found:
            made.notes.append(f"{row}: {spec.methods[row].note}")
    if options.against is not None:
        made.tests = _tests(options, options.against, done)
    settings = {column.setting for column in options.columns}
    for name, why in missing.items():
        row, *rest = name.split(", ")
        if row in options.rows and (not rest or rest[0] in settings):
            made.notes.append(f"{name}: not measured, {why.splitlines()[0]}")
    if any(column.across for column in options.columns):
        whose = {*options.rows, options.against}
        notes = [f"{job.row}: {note}" for job, out in done.items() if job.row in whose for note in out.notes]
        made.notes += list(dict.fromkeys(notes))
    return made


def outcomes_of(row: str, setting: str, done: Mapping[Job, Outcome]) -> dict[int, Outcome]:
    """Seed -> what it gave."""
    return {job.seed: out for job, out in done.items() if (job.row, job.setting) == (row, setting)}


def reports_of(column: ColumnOptions, outcomes: Mapping[int, Outcome]) -> dict[int, Report]:
    """Seed -> the report that a column reads; seeds without the slice are left out."""
    name = column.protocol if not column.across or "+expected" in column.protocol else f"{column.protocol}+expected"
    found = {}
    for seed, out in outcomes.items():
        report = (out.across if column.across else out.reports).get(name)
        if report is None:
            continue
        if column.part is not None:
            try:
                report = at_slice(report, column.part)
            except ConfigError:
                continue  # nobody of that kind
        found[seed] = report
    return found


def _value(column: ColumnOptions, outcomes: Mapping[int, Outcome]) -> Value | None:
    if not outcomes:
        return None
    if column.measure == "training seconds":
        return _of_seeds([out.training_seconds for out in outcomes.values()])
    reports = reports_of(column, outcomes)
    if not reports:
        return None
    some = next(iter(reports.values()))
    if column.measure == "milliseconds a user":
        return _of_seeds([1000 * report.seconds / report.n_users for report in reports.values()])
    if column.measure == "changed":
        return _changed(column, outcomes, reports)
    if column.metric not in some.metrics:
        return None
    row = row_of("row", list(reports.values()), [column.metric])
    low, high = row.intervals.get(column.metric, (None, None))
    spread = row.spread[column.metric] if len(reports) > 1 else None
    return Value(row.metrics[column.metric], low, high, spread, len(reports), some.n_users)


def _of_seeds(values: Sequence[float]) -> Value:
    return Value(float(np.mean(values)), spread=float(np.std(values, ddof=1)) if len(values) > 1 else None,
                 seeds=len(values))  # fmt: skip


def _changed(column: ColumnOptions, outcomes: Mapping[int, Outcome], reports: Mapping[int, Report]) -> Value | None:
    """The fraction of users with a target at another rank than under the other protocol."""
    other = reports_of(column.model_copy(update={"protocol": column.than}), outcomes)
    moved = []
    for seed, report in reports.items():
        if seed in other and report.ranks is not None and other[seed].ranks is not None:
            differs = report.ranks.first != other[seed].ranks.first  # type: ignore[union-attr]
            moved.append(np.bincount(report.ranks.owners[differs], minlength=len(report.ranks)) > 0)
    if not moved:
        return None
    by_user = np.mean(moved, axis=0)
    low, high = intervals({"changed": by_user})["changed"]
    return Value(float(by_user.mean()), low, high, seeds=len(moved), users=len(by_user))


def _tests(options: TableOptions, against: str, done: Mapping[Job, Outcome]) -> list[dict[str, Any]]:
    """Every row against one, in every tested column."""
    out = []
    for column in options.columns:
        if not column.tested or column.measure != "metric":
            continue
        theirs = reports_of(column, outcomes_of(against, column.setting, done))
        for row in options.rows:
            ours = reports_of(column, outcomes_of(row, column.setting, done))
            seeds = sorted(ours.keys() & theirs.keys())
            if row == against or not seeds or column.metric not in ours[seeds[0]].per_user:
                continue
            pair = [[reports[seed] for seed in seeds] for reports in (ours, theirs)]
            test = one_test((row, against), pair[0], pair[1], column.metric)
            differences = [a.metrics[column.metric] - b.metrics[column.metric] for a, b in zip(*pair, strict=True)]
            out.append({"column": column.name} | seed_test(differences) | test)
    return corrected(out)


def _shown(value: Value | None) -> str:
    if value is None:
        return "–"
    if value.low is None or value.high is None:
        return f"{value.value:.3g}" if value.value < 100 else f"{value.value:.0f}"
    spread = "" if value.spread is None else f" ±{short(value.spread)}"
    return f"{short(value.value)}{spread}{between((value.low, value.high))}"


def _plain(value: float | None) -> str:
    if value is None:
        return "–"
    return short(value) if abs(value) < 1 else f"{value:g}"


def _test_line(test: Mapping[str, Any]) -> list[str]:
    low, high = test["interval"]
    seeds = "–" if test["p over seeds"] is None else p_value(test["p over seeds"])
    return [
        test["column"], test["method"], signed(test["difference"]), f"[{signed(low)}, {signed(high)}]",
        p_value(test["p_holm"]), test["by seed"], seeds,
    ]  # fmt: skip
