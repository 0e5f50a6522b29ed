"""The tests of a table: row against row, or a row against itself under another question; one family of Holm's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from interlingua.bench.columns import outcomes_of, reports_of
from interlingua.bench.jobs import Job
from interlingua.bench.paired import corrected, one_test, seed_test
from interlingua.bench.running import Outcome
from interlingua.bench.spec import ColumnOptions, TableOptions
from interlingua.errors import InterlinguaError
from interlingua.evaluate.result import Report
from interlingua.evaluate.variants import is_question

LEAST_USERS = 20
"""from so many on, the bootstrap's interval is at most a tenth narrower than Student's"""
OVER_SEEDS = "p over seeds"


class NotTestedError(Exception):
    """Why two rows are not tested."""


def paired_tests(options: TableOptions, done: Mapping[Job, Outcome]) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """The tests of a table, and column -> why it has none.

    A row is tested against the table's reference in the same column. A column with a ``baseline`` asks something of the
    method itself, e.g. what it loses by shuffled histories: there a row is tested against itself in that other column,
    over the same users. All of them are one family of Holm's correction.
    """
    tests: list[dict[str, Any]] = []
    untested = {}
    for column in options.columns:
        why, found = _no_question(column, options), []
        for row in () if why else options.rows:
            if row == options.against and column.baseline is None:
                continue
            try:
                found.append(_one(row, column, options, done))
            except NotTestedError as error:
                why = str(error)
        tests += found
        if not found:
            untested[column.name] = why or f"no row beside {options.against} was asked for"
    return corrected(corrected(tests), OVER_SEEDS, f"{OVER_SEEDS} (Holm)"), untested


def _no_question(column: ColumnOptions, options: TableOptions) -> str:
    """Why a column has no tests, whatever was measured; empty: it has."""
    if column.measure == "changed":
        return "a fraction of users with its interval, not a difference"
    if column.measure != "metric":
        return "a cost, which no user has a part in"
    if not column.tested:
        return "shown beside the columns that answer the table's question"
    if column.baseline is None and is_question(column.protocol):
        return "asks something of each method itself, and names no column as its baseline"
    if column.baseline is None and options.against is None:
        return "the table holds no row against the others"
    return ""


def _one(row: str, column: ColumnOptions, options: TableOptions, done: Mapping[Job, Outcome]) -> dict[str, Any]:
    """The test of one row.

    Raises:
        NotTestedError: there is nothing to test, or not enough.
    """
    if column.baseline is None:
        assert options.against is not None
        against, second = options.against, _measured(options.against, column, done)
    else:
        other = next(each for each in options.columns if each.name == column.baseline)
        against, second = f"itself, {other.name}", _measured(row, other, done)
    first = _measured(row, column, done)
    seeds = sorted(first.keys() & second.keys())
    if not seeds:
        raise NotTestedError(f"{row} and {against} have no training seed in common")
    ours, theirs = [first[seed] for seed in seeds], [second[seed] for seed in seeds]
    users = ours[0].n_users
    if users < LEAST_USERS:
        raise NotTestedError(f"{users} users, and a test wants {LEAST_USERS}")
    if column.metric not in ours[0].per_user:
        raise NotTestedError(f"{column.metric} is one number for all users together")
    if column.baseline is not None:  # another question, but of the same users and targets, which is checked
        theirs = [replace(each, protocol=ours[0].protocol) for each in theirs]
    return {"column": column.name} | _tested((row, against), ours, theirs, column.metric)


def _tested(names: tuple[str, str], ours: Sequence[Report], theirs: Sequence[Report], metric: str) -> dict[str, Any]:
    try:
        test = one_test(names, ours, theirs, metric)
    except InterlinguaError as error:
        raise NotTestedError(str(error).splitlines()[0]) from None
    differences = [a.metrics[metric] - b.metrics[metric] for a, b in zip(ours, theirs, strict=True)]
    return seed_test(differences) | test


def _measured(row: str, column: ColumnOptions, done: Mapping[Job, Outcome]) -> dict[int, Report]:
    found = reports_of(column, outcomes_of(row, column.setting, done))
    if not any(column.metric in report.metrics for report in found.values()):
        raise NotTestedError(f"{row} has no value in {column.name!r}")
    return found
