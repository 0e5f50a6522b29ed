"""What one column of a table reads from what the jobs gave."""

from __future__ import annotations

from collections.abc import Mapping

from interlingua.bench.jobs import Job
from interlingua.bench.running import Outcome
from interlingua.bench.spec import ColumnOptions
from interlingua.errors import ConfigError
from interlingua.evaluate.result import Report, at_slice


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
