"""How a stage makes its component, the same for all kinds: fit, calibrate, store, export by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial as partial_of
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from interlingua.config import FitConfig
from interlingua.contracts.component import Component
from interlingua.contracts.exported import exported
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Batches, Fitting, Validate
from interlingua.data.split import Split
from interlingua.evaluate.protocol import validation_metrics
from interlingua.progress import say
from interlingua.runs.calibrate import calibrate_or_warn
from interlingua.runs.session import Session
from interlingua.storage.artifact import Artifact
from interlingua.training.checkpoint import trainable_state
from interlingua.training.deploy import deployed
from interlingua.training.joint import Joint
from interlingua.training.loop import derive_seed, fit_best, seed_all
from interlingua.vectors.tables import save_tables, save_tensors, shapes

SEEDS = {"rank": "read"}
"""stage -> its former name, from which its random numbers are still drawn"""


@dataclass(frozen=True)
class Built:
    """What a stage has put together, with its inputs loaded and its seed set."""

    component: Any
    """what is fitted, and exports"""
    module: Any
    """what the loop trains: its ``forward(batch)`` gives the losses"""
    job: Fitting
    stored: nn.Module
    """whose weights are written"""
    stored_empty: bool = True
    """False: no file is written where there are no weights; only the stage's tables are read"""
    judged: Joint | None = None
    """what early stopping deploys and measures on the validation part; None: see ``check``"""
    check: Validate | None = None
    """what else measures it there; None, without ``judged``: patience has no meaning"""
    before: tuple[Component, ...] = ()
    """what was trained along: it exports tables too, which the component then finds in ``job.tables``"""
    calibrates: bool = False
    """whether it learns something from the validation part after the fit"""
    settle: Callable[[], Any] = lambda: None
    """moves what was trained to the module that is stored"""
    more: Callable[[], dict[str, Any]] = dict
    """further entries of the card"""


def job_of(session: Session, stage: str, **parts: Any) -> Fitting:
    """What a stage's component is fitted on: the training part, and those further texts that are in the stage's key."""
    held = {name: text for name, text in session.texts.items() if f"{name}.embed" in session.plan[stage].parents}
    seed, data = derive_seed(session.seed, stage), session.data
    return Fitting(data.split.train, texts=held, catalogue=data.catalogue, seed=seed, **parts)


def stage_of(session: Session, stage: str, build: Callable[[], Built]) -> Artifact:
    """Runs one stage, or reuses it."""

    def make(folder: Path, partial: Path) -> dict[str, Any]:
        built, split = build(), session.data.split
        entries = _fitted(session, stage, built, folder, partial)
        if built.calibrates and len(split.valid):
            seed_all(derive_seed(session.seed, SEEDS.get(stage, stage), "calibrate"))  # a resumed run trains no epoch
            entries |= calibrate_or_warn(built.component, split, stage)
        elif built.calibrates:
            say(f"warning: {stage}: the validation part is empty, so nothing can be learned on it after the fit")
        built.settle()
        tables = _exported(built, folder)
        extras = built.component.write_extras(folder)
        weights = trainable_state(built.stored)  # last: what extras made (a ranker's states of all items) is in them
        if weights or built.stored_empty:
            save_tensors(weights, folder / "weights.safetensors")
        return built.more() | entries | extras | tables

    return session.run_stage(stage, make)


def _exported(built: Built, folder: Path) -> dict[str, Any]:
    """Writes the named tables of a stage; returns the card's entry."""
    tables: dict[str, Tensor] = {}
    for component in (*built.before, built.component):
        job = replace(built.job, tables={**built.job.tables, **tables})
        tables |= exported(component, component.config, job)
    if not tables:  # neighbours and popularity have scores, but no vectors
        return {}
    tables = {name.removeprefix("text."): table for name, table in tables.items()}
    save_tables(folder, tables, built.job.train)
    return {"shapes": shapes(tables)}


def _fitted(session: Session, stage: str, built: Built, folder: Path, partial: Path) -> dict[str, Any]:
    """Fits the component and writes its log; returns entries for the card (``partial``: folder of the checkpoint)."""
    validate = _validation(built, session.data.split)
    seed = derive_seed(session.seed, SEEDS.get(stage, stage))

    def loop(batches: Batches, config: FitConfig, *, earlier: bool = False) -> FitLog:
        check = validate if config.patience is not None else None
        if check is not None and not len(session.data.split.valid):
            say(
                f"{stage}: the validation part is empty, so patience has no say: all {config.epochs} epochs are trained"
            )
            check = None
        log = fit_best(
            built.module, batches, config, seed=derive_seed(seed, "earlier") if earlier else seed,
            label=f"{stage}, first" if earlier else stage,
            validate=check, folder=_subfolder(partial, "earlier") if earlier else partial,
            key=session.plan[stage].key, device=session.device, keep=earlier,
        )  # fmt: skip
        if check is not None:
            say(f"{stage}: {log.in_words(config)}")
        return log

    job = replace(built.job, loop=loop, earlier=partial_of(loop, earlier=True))
    log: FitLog = built.component.fit(replace(job, validate=validate if len(session.data.split.valid) else None))
    return log.save(folder) | ({"samples": log.samples} if log.trained else {})


def _validation(built: Built, split: Split) -> Validate | None:
    """What measures the component on the validation part while it is fitted."""
    judged = built.judged
    if judged is None:
        return built.check

    def measured(max_users: int | None = None) -> dict[str, float]:
        with deployed(judged) as backbone:
            return validation_metrics(backbone, split, max_users=max_users)

    return measured


def _subfolder(folder: Path, name: str) -> Path:
    made = folder / name
    made.mkdir(parents=True, exist_ok=True)
    return made
