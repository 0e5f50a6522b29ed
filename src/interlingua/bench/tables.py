"""The tables of a comparison from what its jobs gave: values with intervals, tests, and the paper's numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from interlingua.bench.column_tests import OVER_SEEDS, paired_tests
from interlingua.bench.columns import outcomes_of, reports_of
from interlingua.bench.jobs import Job
from interlingua.bench.running import Outcome
from interlingua.bench.spec import ColumnOptions, Spec, TableOptions
from interlingua.evaluate.compare import row_of
from interlingua.evaluate.intervals import intervals
from interlingua.evaluate.result import Report
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
    failed: dict[str, dict[str, str]] = field(default_factory=dict)
    """row -> column without a value -> why its run failed"""
    tests: list[dict[str, Any]] = field(default_factory=list)
    untested: dict[str, str] = field(default_factory=dict)
    """column -> why it has no tests"""
    notes: list[str] = field(default_factory=list)

    def users(self, column: str) -> tuple[int, ...]:
        """How many users a column's values are of; several numbers where rows have values of several."""
        counts = {found[column].users for found in self.cells.values() if column in found}
        return tuple(sorted(counts - {0}))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        shown = [
            {
                "method": row,
                **{c: {k: v for k, v in vars(value).items() if v is not None} for c, value in found.items()},
                **({"failed": self.failed[row]} if row in self.failed else {}),
            }
            for row, found in ((row, self.cells.get(row, {})) for row in self.options.rows)
            if found or row in self.failed
        ]
        paper = {column: {"marked": OTHER, "rows": dict(values)} for column, values in self.options.paper.items()}
        columns = [
            {"name": each.name, "users": list(self.users(each.name)), "not tested": self.untested.get(each.name)}
            for each in self.options.columns
        ]
        return {
            "table": self.number, "title": self.options.title, "columns": columns, "rows": shown, "tests": self.tests,
            "paper": paper, "notes": self.notes,
        }  # fmt: skip

    def markdown(self) -> str:
        """A heading, the values with the paper's in columns of their own, the tests, and what is to be known."""
        names = [column.name for column in self.options.columns]
        paper = self.options.paper
        heads = ["method", "seeds", *names, *(f"paper, {OTHER}: {column}" for column in paper)]
        lines = []
        if self.cells:
            counts = ["–".join(map(str, dict.fromkeys((n[0], n[-1])))) if n else "–" for n in map(self.users, names)]
            lines.append(["users", "", *counts, *("" for _ in paper)])
        for row in self.options.rows:
            found, failed = self.cells.get(row, {}), self.failed.get(row, {})
            if not found and not failed and not any(row in values for values in paper.values()):
                continue
            seeds = max((value.seeds for value in found.values()), default=0)
            cells = ["failed" if name in failed else _shown(found.get(name)) for name in names]
            lines.append([row, str(seeds or "–"), *cells, *(_plain(values.get(row)) for values in paper.values())])
        parts = [f"### Table {self.number}: {self.options.title}", pipes(heads, lines)]
        if self.options.reading:
            parts.append(self.options.reading)
        if self.tests:
            parts.append(
                "Tests: paired over the same users and seeds, and over seeds alone; Holm's correction over the "
                f"{len(self.tests)} tests of this table."
            )
            parts.append(pipes(TESTS, [_test_line(test) for test in self.tests]))
        untested = [f"* {name}: not tested, {why}" for name, why in self.untested.items()] if self.cells else []
        return "\n\n".join([*parts, *untested, *(f"* {note}" for note in self.notes)])


TESTS = ("column", "method", "against", "difference", "95 % interval", "p (Holm)", "by seed", "p over seeds (Holm)")


def make(
    spec: Spec, number: str, options: TableOptions, done: Mapping[Job, Outcome], missing: Mapping[str, str],
    failed: Mapping[str, str],
) -> Made:  # fmt: skip
    """One table.

    Args:
        spec: the comparison.
        number: the table's.
        options: with the rows that were asked for.
        done: what the jobs gave.
        missing: row, or job, -> why it was not run.
        failed: job -> why it broke off.
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
        broken = {_setting(name, row): why for name, why in failed.items() if _setting(name, row) is not None}
        without = [each for each in options.columns if each.name not in found and each.setting in broken]
        if without:
            made.failed[row] = {each.name: broken[each.setting].splitlines()[0] for each in without}
        if spec.methods[row].note and found:
            made.notes.append(f"{row}: {spec.methods[row].note}")
    made.tests, made.untested = paired_tests(options, done)
    made.notes += _absent(options, missing, "not measured")
    made.notes += _absent(options, failed, "failed")
    if any(column.across for column in options.columns):
        whose = {*options.rows, options.against}
        notes = [f"{job.row}: {note}" for job, out in done.items() if job.row in whose for note in out.notes]
        made.notes += list(dict.fromkeys(notes))
    return made


def _absent(options: TableOptions, missing: Mapping[str, str], what: str) -> list[str]:
    """Notes of rows of a table, and of the row against which they are tested."""
    settings = {"", *(column.setting for column in options.columns)}
    whose = [*options.rows, *([options.against] if options.against else [])]
    return [
        f"{name}: {what}, {why.splitlines()[0]}"
        for name, why in missing.items()
        if any(_setting(name, row) in settings for row in whose)
    ]


def _setting(name: str, row: str) -> str | None:
    """The setting of a row, of one in a setting, or of a job by its name; empty: any. None: another row's."""
    if name == row:
        return ""
    if not name.startswith(f"{row}, "):
        return None
    return name.removeprefix(f"{row}, ").partition(", seed ")[0]


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
        return _of_seeds([1000 * report.seconds / report.n_users for report in reports.values()], some.n_users)
    if column.measure == "changed":
        return _changed(column, outcomes, reports)
    if column.metric not in some.metrics:
        return None
    row = row_of("row", list(reports.values()), [column.metric])
    low, high = row.intervals.get(column.metric, (None, None))
    spread = row.spread[column.metric] if len(reports) > 1 else None
    return Value(row.metrics[column.metric], low, high, spread, len(reports), some.n_users)


def _of_seeds(values: Sequence[float], users: int = 0) -> Value:
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Value(float(np.mean(values)), spread=spread, seeds=len(values), users=users)


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
    seeds = "–" if test[OVER_SEEDS] is None else p_value(test[f"{OVER_SEEDS} (Holm)"])
    return [
        test["column"], test["method"], test["against"], signed(test["difference"]),
        f"[{signed(low)}, {signed(high)}]", p_value(test["p_holm"]), test["by seed"], seeds,
    ]  # fmt: skip
