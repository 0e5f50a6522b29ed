"""Which jobs a budget of time allows, by what their unfinished stages should take; shared stages count once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from interlingua.bench.again import again_key
from interlingua.bench.jobs import Job, Request, recipe_of
from interlingua.bench.spec import RowOptions, Spec
from interlingua.errors import InterlinguaError
from interlingua.progress import duration, say
from interlingua.runs.plan import Planned
from interlingua.runs.planner import describe
from interlingua.runs.session import Session
from interlingua.storage import artifact


@dataclass
class Choice:
    """What will be run, and what will not."""

    jobs: list[Job] = field(default_factory=list)
    seconds: dict[Job, float] = field(default_factory=dict)
    """what each is expected to take beyond what those before it have made; NaN: not known"""
    left_out: dict[str, str] = field(default_factory=dict)
    """job -> why the budget has no room for it"""
    failed: dict[str, str] = field(default_factory=dict)
    """job -> why it cannot run"""
    references: Mapping[str, str] = field(default_factory=dict)
    """row -> of which tables it is the row that others are tested against"""
    estimated: bool = True
    """False: everything is run, whatever it takes"""

    @property
    def total(self) -> float:
        """Expected seconds of all jobs."""
        return sum(each for each in self.seconds.values() if math.isfinite(each))

    def lines(self) -> list[str]:
        """What people are told before anything runs."""
        about = f", about {duration(self.total)} in all:" if self.estimated else " (--dry-run estimates them):"
        out = [f"will run {len(self.jobs)} jobs{about}"]
        for job in self.jobs:
            expected = f": {_expected(self.seconds[job])}" if self.estimated else ""
            out.append(f"  {job}{expected}{self._role(job.row)}")
        out += [f"left out by the budget: {name} ({why})" for name, why in self.left_out.items()]
        return out + [f"cannot run: {name} ({why})" for name, why in self.failed.items()]

    def _role(self, row: str) -> str:
        return f" (the reference: {self.references[row]})" if row in self.references else ""


def _expected(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "time not known"
    return "finished before" if seconds == 0 else f"about {duration(seconds)}"


class Costs:
    """Expected seconds of stages, measured with the first seed of a row and taken for the others."""

    def __init__(self, spec: Spec, data: Mapping[str, Path], request: Request) -> None:
        self.spec, self.data, self.request = spec, data, request
        self.known: dict[tuple[str, str], dict[str, float]] = {}
        self.counted: set[str] = set()
        """keys of stages that a chosen job makes"""

    def of(self, job: Job) -> tuple[float, set[str]]:
        """Seconds of the stages that neither are finished nor are made by a job before, and their keys.

        Raises:
            InterlinguaError: the job cannot run.
        """
        row = self.spec.methods[job.row]
        base = job if row.of is None else Job(row.of, job.setting, job.seed, job.protocols)
        recipe = recipe_of(self.spec, base, self.data[job.setting], self.request, job.protocols or job.across[:1])
        session = Session(recipe, self.request.out, job.seed, self.request.device)
        open_stages = {kind: stage for kind, stage in session.plan.items() if not self._made(session, stage)}
        if set(open_stages) <= {"evaluate"} and self._measured(base):
            open_stages = {}
        if open_stages and (base.row, job.setting) not in self.known:
            self.known[base.row, job.setting] = _seconds(session)
        seconds = self.known.get((base.row, job.setting), {})
        found = {stage.key: seconds.get(kind, math.nan) for kind, stage in open_stages.items()}
        if row.of is not None:
            found |= self._asked_again(session, row, job, seconds)
        new = {key: value for key, value in found.items() if key not in self.counted}
        return sum(new.values()), set(new)

    def _asked_again(
        self, session: Session, row: RowOptions, job: Job, seconds: Mapping[str, float]
    ) -> dict[str, float]:
        """Key -> seconds of the measurements of a ranker that is asked in another way, as long as the run's own."""
        first = recipe_of(
            self.spec, replace(job, row=str(row.of)), self.data[job.setting], self.request, job.protocols[:1]
        )
        evaluated = Session(first, session.root, job.seed, session.device).plan["evaluate"]
        keys = [again_key(evaluated.key, row, protocol, first.evaluate) for protocol in job.protocols]
        gone = [key for key in keys if artifact.find(session.root, "asked", first.name, key) is None]
        if gone and "evaluate" not in seconds:
            seconds = self.known[str(row.of), job.setting] = _seconds(session)
        return {key: seconds.get("evaluate", math.nan) / len(keys) for key in gone}

    def _made(self, session: Session, stage: Planned) -> bool:
        return artifact.find(session.root, stage.kind, stage.name, stage.key) is not None

    def _measured(self, job: Job) -> bool:
        """Whether every protocol of the job was measured before."""
        for protocol in job.protocols:
            recipe = recipe_of(self.spec, job, self.data[job.setting], self.request, [protocol])
            session = Session(recipe, self.request.out, job.seed, self.request.device)
            if not self._made(session, session.plan["evaluate"]):
                return False
        return True


def _seconds(session: Session) -> dict[str, float]:
    """Stage -> what it took, or is expected to take."""
    out = {}
    for line in describe(session):
        kind, seconds = str(line["stage"]), line["seconds"]
        stage = session.plan.get(kind)
        found = None if stage is None else artifact.find(session.root, stage.kind, stage.name, stage.key)
        if found is not None:
            out[kind] = float(found.card["seconds"])
        elif seconds is not None:
            out[kind] = float(seconds[1])
    joined = [value for kind, value in out.items() if kind[0].isdigit()]  # members of [fuse]: made with it
    if "fuse" in out and joined:
        out["fuse"] += sum(joined)
    return out


def choose(jobs: Sequence[Job], costs: Costs | None, budget: float | None) -> Choice:
    """The jobs that fit, in their order: one that does not is passed over, and those after it may still fit.

    Args:
        jobs: in the order of what matters most.
        costs: of the jobs; None: all of them are run, and nothing is estimated.
        budget: seconds; None: all of them.
    """
    if costs is None:
        return Choice(list(jobs), dict.fromkeys(jobs, math.nan), estimated=False)
    made, spent = Choice(), 0.0
    for place, job in enumerate(jobs, 1):
        say(f"estimating {place} of {len(jobs)}: {job}")
        try:
            seconds, keys = costs.of(job)
        except InterlinguaError as error:
            made.failed[str(job)] = str(error).splitlines()[0]
            continue
        if budget is not None and not spent + seconds <= budget:
            known = f"about {duration(seconds)}" if math.isfinite(seconds) else "a time that is not known"
            made.left_out[str(job)] = f"needs {known}, {duration(max(budget - spent, 0))} left"
            continue
        costs.counted |= keys
        spent += seconds if math.isfinite(seconds) else 0.0
        made.jobs.append(job)
        made.seconds[job] = seconds
    return made
