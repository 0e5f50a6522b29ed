"""One comparison from its name to its tables: says what it will run, runs it, writes what there is after each job."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Sequence
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
from interlingua.progress import duration, say
from interlingua.runs.measuring import EvaluateConfig
from interlingua.storage.environment import git_commit, versions


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
    def missing(self) -> dict[str, str]:
        """Row or job -> why it is in no table."""
        own = {} if self.running is None else self.running.left_out | self.running.failed
        unable = {f"{row}, {name}": why for name, why in self.undivided.items() for row in self.spec.methods}
        return self.skipped | unable | self.choice.left_out | self.choice.failed | own

    def made(self) -> list[Made]:
        """The tables."""
        done = {} if self.running is None else self.running.done
        return [make(self.spec, number, table, done, self.missing) for number, table in self.tables.items()]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        running = self.running
        done = {} if running is None else running.done
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
            "tables": [table.to_json() for table in self.made()],
            "planned_seconds": round(self.choice.total, 1),
            "planned": [str(job) for job in self.choice.jobs],
            "skipped": self.skipped,
            "settings that the data do not allow": self.undivided,
            "left_out": self.choice.left_out | ({} if running is None else running.left_out),
            "failed": self.choice.failed | ({} if running is None else running.failed),
            "candidates": self.candidates,
            "runs": {str(job): Path(out.run).name for job, out in done.items()},
        }

    def markdown(self) -> str:
        """All tables, and what is not in them."""
        out = self.running.left_out if self.running is not None else {}
        parts = [
            f'{self.spec.about}. Columns "paper": {self.spec.source}; {self.spec.differs}.',
            *(table.markdown() for table in self.made()),
        ]
        lines = [f"* {name}: skipped, {why}" for name, why in self.skipped.items()]
        lines += [f"* {name}: left out by the budget, {why}" for name, why in (self.choice.left_out | out).items()]
        failed = self.choice.failed | ({} if self.running is None else self.running.failed)
        lines += [f"* {name}: failed, {why.splitlines()[0]}" for name, why in failed.items()]
        lines += [f"* the setting {name}: {why.splitlines()[0]}" for name, why in self.undivided.items()]
        return "\n\n".join([*parts, *(["Not measured:\n\n" + "\n".join(lines)] if lines else [])])


def plan_of(
    name: str, spec: Spec, request: Request, *, tables: Sequence[str] = (), methods: Sequence[str] = (),
    budget: float | None = None,
) -> Bench:  # fmt: skip
    """What would run: the data of every setting are prepared, and every job is estimated.

    Args:
        name: of the comparison.
        spec: its rows and tables.
        request: data, seeds and overrides.
        tables: ids (none: all).
        methods: rows (none: all).
        budget: seconds; None: everything is run.

    Raises:
        ConfigError: unknown tables or rows, or nothing that could be run.
    """
    made = Bench(name, spec, request, spec.chosen(tables, methods))
    jobs = jobs_of(made.tables, request.seeds)
    gone = {row: missing(_recipe_row(spec, row)) for row in dict.fromkeys(job.row for job in jobs)}
    made.skipped = {row: why for row, why in gone.items() if why}
    jobs = [job for job in jobs if job.row not in made.skipped]
    if request.target is None:
        jobs = [_without_target(job, made) for job in jobs]
        jobs = [job for job in jobs if job.protocols or job.across]
    for setting in dict.fromkeys(job.setting for job in jobs):
        try:
            made.data[setting] = prepared(spec, setting, request)
        except InterlinguaError as error:
            say(f"the setting {setting} is left out: {error}")
            made.undivided[setting] = str(error)
    jobs = [job for job in jobs if job.setting in made.data]
    if not jobs:
        why = {**made.skipped, **made.undivided}
        raise ConfigError("nothing can be run: " + "; ".join(f"{each}: {text}" for each, text in why.items()))
    made.choice = choose(jobs, Costs(spec, made.data, request), budget)
    return made


def run(bench: Bench, *, budget: float | None = None, save: Path | None = None) -> Bench:
    """Runs what was planned; ``save``: the file that is rewritten after each job."""
    say("\n".join(bench.choice.lines()))
    if budget is not None:
        say(f"budget {duration(budget)}; what was finished before costs nothing")
    bench.running = Running(bench.spec, bench.data, bench.request)
    bench.candidates = _candidates(bench)

    def write() -> None:
        if save is not None:
            save.parent.mkdir(parents=True, exist_ok=True)
            save.write_text(json.dumps(bench.to_json(), indent=1) + "\n", encoding="utf-8")

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
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    frame.write_parquet(temporary)
    temporary.replace(path)
