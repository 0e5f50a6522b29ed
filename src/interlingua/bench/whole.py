"""One comparison from its name to its tables: says what it will run, runs it, writes what there is after each job."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from interlingua.bench.budget import Choice, Costs, choose
from interlingua.bench.jobs import Job, Request, jobs_of, missing, prepared
from interlingua.bench.running import Running
from interlingua.bench.spec import Spec, TableOptions
from interlingua.bench.tables import Made, make
from interlingua.data.prepared import load
from interlingua.errors import ConfigError, InterlinguaError
from interlingua.evaluate.drawn import drawn
from interlingua.evaluate.rules import parse_protocol
from interlingua.progress import duration, each_line_once, say
from interlingua.runs.measuring import EvaluateConfig
from interlingua.storage import durable
from interlingua.storage.environment import git_commit, versions
from interlingua.storage.staging import staging


@dataclass
class Bench:
    """A comparison, as far as it has come."""

    name: str
    spec: Spec
    request: Request
    tables: dict[str, TableOptions]
    skipped: dict[str, str] = field(default_factory=dict)
    """row -> why it cannot be made here"""
    choice: Choice = field(default_factory=Choice)
    running: Running | None = None
    data: dict[str, Path] = field(default_factory=dict)
    """setting -> the prepared data"""
    undivided: dict[str, str] = field(default_factory=dict)
    """setting -> why the data cannot be divided so"""
    candidates: dict[str, dict[str, str]] = field(default_factory=dict)
    """setting and protocol -> file and hash of the candidates that all methods rank"""

    @property
    def left_out(self) -> dict[str, str]:
        """Job -> why the budget had no room for it."""
        return self.choice.left_out | ({} if self.running is None else self.running.left_out)

    @property
    def failed(self) -> dict[str, str]:
        """Job -> why it could not be run, or broke off."""
        return self.choice.failed | ({} if self.running is None else self.running.failed)

    @property
    def missing(self) -> dict[str, str]:
        """Row or job -> why it was not run."""
        unable = {f"{row}, {name}": why for name, why in self.undivided.items() for row in self.spec.methods}
        return self.skipped | unable | self.left_out

    def made(self) -> list[Made]:
        """The tables."""
        done = {} if self.running is None else self.running.done
        return [
            make(self.spec, number, table, done, self.missing, self.failed) for number, table in self.tables.items()
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain values; of a plan that was not run there are no tables."""
        done = {} if self.running is None else self.running.done
        return {
            "bench": self.name,
            "about": self.spec.about,
            "commit": git_commit(),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {versions()['torch']}",
            "data": Path(self.request.data).name,
            "target": None if self.request.target is None else Path(self.request.target).name,
            "seeds": list(self.request.seeds),
            "max_users": self.request.max_users,
            "overrides": list(self.request.overrides),
            "source": self.spec.source,
            "differs": self.spec.differs,
            "tables": [] if self.running is None else [table.to_json() for table in self.made()],
            "planned_seconds": round(self.choice.total, 1),
            "planned": [str(job) for job in self.choice.jobs],
            "planned tables": {number: table.title for number, table in self.tables.items()},
            "references": dict(self.choice.references),
            "skipped": self.skipped,
            "settings that the data do not allow": self.undivided,
            "left_out": self.left_out,
            "failed": self.failed,
            "candidates": self.candidates,
            "runs": {str(job): Path(out.run).name for job, out in done.items()},
        }

    def plan(self) -> str:
        """What would run, into which tables, and what would not."""
        tables = [f"table {number}: {table.title}" for number, table in self.tables.items()]
        return "\n".join([*self.choice.lines(), *tables, *self._skipped()])

    def markdown(self) -> str:
        """All tables, and what is not in them."""
        parts = [
            f'{self.spec.about}. Columns "paper": {self.spec.source}; {self.spec.differs}.',
            *(table.markdown() for table in self.made()),
        ]
        lines = [f"left out by the budget: {name} ({why})" for name, why in self.left_out.items()]
        lines += [f"failed: {name} ({why.splitlines()[0]})" for name, why in self.failed.items()]
        lines = [f"* {line}" for line in (*self._skipped(), *lines)]
        return "\n\n".join([*parts, *(["Not measured:\n\n" + "\n".join(lines)] if lines else [])])

    def _skipped(self) -> list[str]:
        rows = [f"skipped: {name}, {why}" for name, why in self.skipped.items()]
        return rows + [f"left out: {line}" for line in settings_lines(self.undivided)]


def settings_lines(undivided: Mapping[str, str]) -> list[str]:
    """Each reason once, with all settings that it stops."""
    names: dict[str, list[str]] = {}
    for name, why in undivided.items():
        names.setdefault(why, []).append(name)
    return [
        f"the setting{'s' if len(each) > 1 else ''} {', '.join(each)}: {why.splitlines()[0]}"
        for why, each in names.items()
    ]


def plan_of(
    name: str, spec: Spec, request: Request, *, tables: Sequence[str] = (), methods: Sequence[str] = (),
    budget: float | None = None, estimated: bool = True,
) -> Bench:  # fmt: skip
    """What would run: the data of every setting are prepared, and every job is estimated.

    Args:
        name: of the comparison.
        spec: its rows and tables.
        request: data, seeds and overrides.
        tables: ids (none: all).
        methods: rows (none: all).
        budget: seconds; None: everything is run.
        estimated: False: nothing is estimated, which takes up to minutes for a row with a language model.

    Raises:
        ConfigError: unknown tables or rows, or nothing that could be run.
        DataError: the data can be used in no setting.
    """
    made = Bench(name, spec, request, spec.chosen(tables, methods))
    with each_line_once():  # every setting reads the same data
        jobs = _possible(made)
        made.choice = choose(jobs, Costs(spec, made.data, request) if estimated else None, budget)
    made.choice.references = _references(made.tables)
    return made


def _possible(made: Bench) -> list[Job]:
    """The jobs whose recipes are here and whose settings the data allow; these are prepared.

    Raises:
        ConfigError: there is none.
        DataError: the data can be used in no setting.
    """
    spec, request = made.spec, made.request
    jobs = jobs_of(made.tables, request.seeds)
    gone = {row: missing(_recipe_row(spec, row)) for row in dict.fromkeys(job.row for job in jobs)}
    made.skipped = {row: why for row, why in gone.items() if why}
    jobs = [job for job in jobs if job.row not in made.skipped]
    if request.target is None:
        jobs = [_without_target(job, made) for job in jobs]
        jobs = [job for job in jobs if job.protocols or job.across]
    problems: dict[str, InterlinguaError] = {}
    for setting in dict.fromkeys(job.setting for job in jobs):
        try:
            made.data[setting] = prepared(spec, setting, request)
        except InterlinguaError as error:
            problems[setting] = error
    if not made.data and len({str(error) for error in problems.values()}) == 1:
        raise next(iter(problems.values()))  # it is the data, not how they are divided
    made.undivided |= {setting: str(error) for setting, error in problems.items()}
    for line in settings_lines(made.undivided):
        say(f"left out: {line}")
    jobs = [job for job in jobs if job.setting in made.data]
    if not jobs:
        lines = [f"{each}: {why}" for each, why in made.skipped.items()] + settings_lines(made.undivided)
        raise ConfigError("nothing can be run: " + "; ".join(lines))
    return jobs


def _references(tables: Mapping[str, TableOptions]) -> dict[str, str]:
    """Row against which others are tested -> of which tables."""
    found: dict[str, list[str]] = {}
    for number, table in tables.items():
        if table.against is not None:
            found.setdefault(table.against, []).append(number)
    return {
        row: f"others are tested against it in table{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}"
        for row, numbers in found.items()
    }


def run(
    bench: Bench, *, budget: float | None = None, save: Path | None = None, after_each: Callable[[], None] | None = None
) -> Bench:
    """Runs what was planned; ``save``: the file that is rewritten after each job, ``after_each``: called then too."""
    say(bench.plan())
    if budget is not None:
        say(f"budget {duration(budget)}; what was finished before costs nothing")
    bench.running = Running(bench.spec, bench.data, bench.request)
    bench.candidates = _candidates(bench)

    def write() -> None:
        if save is not None:
            save.parent.mkdir(parents=True, exist_ok=True)
            save.write_text(json.dumps(bench.to_json(), indent=1) + "\n", encoding="utf-8")
        if after_each is not None:
            after_each()

    bench.running.all(bench.choice, budget, write)
    write()
    return bench


def _recipe_row(spec: Spec, row: str) -> Any:
    own = spec.methods[row]
    return own if own.of is None else spec.methods[own.of]


def _without_target(job: Job, made: Bench) -> Job:
    if job.across:
        made.undivided.setdefault("another domain", "needs --target DATASET")
    return Job(job.row, job.setting, job.seed, job.protocols)


def _candidates(bench: Bench) -> dict[str, dict[str, str]]:
    """The draws that every method of a setting ranks, as files that others can rank too."""
    protocols_of: dict[str, dict[str, None]] = {setting: {} for setting in bench.data}
    for job in bench.choice.jobs:
        protocols_of[job.setting].update(dict.fromkeys(job.protocols))
    out: dict[str, dict[str, str]] = {}
    seed = EvaluateConfig().negatives_seed
    for setting, protocols in protocols_of.items():
        drawing = {name.partition("+")[0] for name in protocols if parse_protocol(name).candidates is not None}
        split = load(bench.data[setting]).split if drawing else None
        for name in sorted(drawing):
            assert split is not None
            folder = bench.request.out / "candidates"
            folder.mkdir(parents=True, exist_ok=True)
            frame = drawn(split, protocol=name, seed=seed, max_users=bench.request.max_users)
            digest = hashlib.sha256(frame.write_json().encode()).hexdigest()
            path = folder / f"{name}-{digest[:12]}.parquet"
            if not path.is_file():
                _whole(frame, path)
            out[f"{setting}, {name}"] = {"file": path.name, "sha256": digest}
    return out


def _whole(frame: pl.DataFrame, path: Path) -> None:
    """Writes a table that is there whole or not at all."""
    with staging(path.parent, path.name) as temporary:
        frame.write_parquet(temporary / path.name)
        durable.replace(temporary / path.name, path)
