"""Runs the jobs of a comparison: what is finished is reused, what was killed goes on, what fails is named."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from interlingua.bench.again import asked_again
from interlingua.bench.budget import Choice
from interlingua.bench.jobs import Job, Request, recipe_of
from interlingua.bench.spec import Spec
from interlingua.data.prepared import Dataset
from interlingua.errors import ConfigError, InterlinguaError, first_line
from interlingua.evaluate.result import Report, load_report
from interlingua.progress import duration, say
from interlingua.runs import stages
from interlingua.runs.cross_domain import measure_across, other_data
from interlingua.runs.measuring import EvaluateConfig
from interlingua.runs.session import Session, remeasured

TRAINED = ("embed", "train", "align", "rank", "fuse")
"""stages whose seconds are the training's"""
LOADED = ("data", "text", "backbone", "aligned", "aligner", "ranker")
"""what a finished run has loaded and another measurement of it can use"""


@dataclass
class Outcome:
    """What one job gave."""

    reports: dict[str, Report] = field(default_factory=dict)
    """protocol -> report"""
    across: dict[str, Report] = field(default_factory=dict)
    """protocol -> report on the other dataset"""
    training_seconds: float = 0.0
    notes: tuple[str, ...] = ()
    run: str = ""
    """folder of the run"""


class Running:
    """The jobs of one comparison, one after the other."""

    def __init__(self, spec: Spec, data: Mapping[str, Path], request: Request) -> None:
        self.spec, self.data, self.request = spec, data, request
        self.done: dict[Job, Outcome] = {}
        self.failed: dict[str, str] = {}
        self.left_out: dict[str, str] = {}
        self._other: Dataset | None = None

    def all(self, choice: Choice, budget: float | None, after_each: Callable[[], None]) -> None:
        """Runs what was chosen while there is time; ``after_each`` is called after every job."""
        started = time.monotonic()
        for place, job in enumerate(choice.jobs, 1):
            spent, needs = time.monotonic() - started, choice.seconds[job]
            if budget is not None and needs > 0 and spent + needs > budget:
                self.left_out[str(job)] = f"needs about {duration(needs)}, {duration(max(budget - spent, 0))} left"
                say(f"\n{job} is left out: {self.left_out[str(job)]}")
                continue
            say(f"\n[{place}/{len(choice.jobs)}] {job}")
            try:
                self.done[job] = self.one(job)
            except InterlinguaError as error:
                self._break_off(job, str(error))
            except Exception as error:  # another library's, or a fault of ours: the other rows are not to be lost by it
                say(traceback.format_exc())
                self._break_off(job, f"{type(error).__name__}: {first_line(error)}")
            after_each()

    def _break_off(self, job: Job, why: str) -> None:
        say(f"{job} failed: {why}")
        self.failed[str(job)] = why

    def one(self, job: Job) -> Outcome:
        """Trains and measures one job.

        Raises:
            InterlinguaError: it cannot be made.
        """
        row = self.spec.methods[job.row]
        base = job if row.of is None else Job(row.of, job.setting, job.seed, job.protocols, job.across)
        first = base.protocols[:1] or job.across[:1]
        recipe = recipe_of(self.spec, base, self.data[job.setting], self.request, first)
        session = stages.run(recipe, out=self.request.out, seed=job.seed, device=self.request.device)
        out = Outcome(training_seconds=_training(session), run=str(session.path))
        if row.of is not None:
            out.reports = {name: asked_again(session, job.row, row, name) for name in job.protocols}
        elif base.protocols:
            out.reports = {name: self._report(session, name) for name in base.protocols}
        if job.across:
            out.across, out.notes = self._across(session, job)
        return out

    def _report(self, session: Session, protocol: str) -> Report:
        options: EvaluateConfig = session.recipe.evaluate
        if protocol in options.protocols:
            return load_report(session.path / "protocols" / protocol)
        again = remeasured(session, options.model_copy(update={"protocols": [protocol]}))
        again.__dict__.update({name: session.__dict__[name] for name in LOADED if name in session.__dict__})
        again.loaded = session.loaded
        return load_report(stages.evaluate(again).path / "protocols" / protocol)

    def _across(self, session: Session, job: Job) -> tuple[dict[str, Report], tuple[str, ...]]:
        if self.request.target is None:
            raise ConfigError("tables across domains need another dataset: --target NAME")
        if self._other is None:
            self._other = other_data(session, self.request.target)
        options = session.recipe.evaluate
        made = measure_across(
            session, self._other, job.across, max_users=options.max_users, seed=options.negatives_seed
        )
        return made.reports, made.notes


def _training(session: Session) -> float:
    return sum(float(made.card["seconds"]) for kind, made in session.done.items() if kind.rsplit(".", 1)[-1] in TRAINED)
