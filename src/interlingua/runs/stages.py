"""Prepare -> embed -> train -> align -> rank -> evaluate: one function per stage.

A stage's key is the hash of its options, the seed, its parents' keys and the data; a finished key is reused, so one
trained backbone is the parent of every method. Each seeds *after* its inputs are loaded: draws follow the key alone.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from interlingua.config import FitConfig
from interlingua.contracts.aligner import Aligner
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Embeddings
from interlingua.contracts.component import Component
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Batches, Fitting
from interlingua.data.interactions import Interactions
from interlingua.errors import ConfigError, shown
from interlingua.evaluate.protocol import validation_metrics
from interlingua.evaluate.rules import asked_by, measured_under
from interlingua.progress import say, track
from interlingua.runs.calibrate import kept_where_it_fails
from interlingua.runs.facts import facts_of
from interlingua.runs.measuring import EvaluateConfig
from interlingua.runs.named_texts import own_words
from interlingua.runs.plan import check_present, parts_of
from interlingua.runs.preflight import check
from interlingua.runs.recipe import Recipe
from interlingua.runs.scorers import make_fusion, scorer_of
from interlingua.runs.section import Section
from interlingua.runs.session import Session, make_text, remeasured
from interlingua.storage.artifact import Artifact
from interlingua.training.checkpoint import trainable_state
from interlingua.training.deploy import aligner_for, deploy, deployed
from interlingua.training.joint import Joint
from interlingua.training.loop import derive_seed, fit_best, seed_all
from interlingua.vectors.rows import finish_rows
from interlingua.vectors.tables import save_tables, save_tensors, shapes

SEEDS = {"rank": "read"}
"""stage -> the word that its random numbers are drawn by, where the stage was once called otherwise"""


def run(
    recipe: Recipe | str | Path,
    *,
    out: Path | str = "runs",
    seed: int = 7,
    device: str = "auto",
    sets: Sequence[str] = (),
    data: Any = None,
    trust: bool = False,
) -> Session:
    """Runs every stage of a recipe that is not finished yet.

    Args:
        recipe: a resolved recipe, a shipped name or a path.
        out: the runs folder.
        seed: every random number follows from it.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        sets: ``section.key=value`` overrides.
        data: what replaces the recipe's dataset: a name, a path, a frame of events, a mapping with the frames
            ``interactions``, ``items`` and ``users``, or what ``interlingua.prepare`` returned. Tables in memory are
            stored below ``out``, so that the run can be continued and opened.
        trust: the recipe's file may import code and name servers and environment variables (docs/security.md).

    Returns:
        The session: ``session.metrics``, ``session.slices``, and ``session.path``, the run's folder.

    Raises:
        ConfigError: a recipe or data that cannot be used, or ``sets`` or ``data`` beside a resolved recipe.
    """
    if not isinstance(recipe, Recipe):
        from interlingua.data.memory import as_source
        from interlingua.runs.recipe import load

        if not isinstance(recipe, str | Path):
            raise ConfigError(f"recipe is {shown(recipe)}; give a shipped name, a path or a resolved recipe")
        recipe = load(recipe, sets, None if data is None else as_source(data, Path(out) / "frames"), trust=trust)
    elif data is not None or sets:
        raise ConfigError("data and sets change a recipe that is still to be read; this one is resolved: load it anew")
    session = Session(recipe, Path(out), seed, device)
    check([session])
    check_present(session.plan)
    run_stages(session)
    evaluate(session)
    return session


def run_stages(session: Session) -> None:
    """All stages but the measurement; the members of ``[fuse]``, one after the other, on the data prepared once."""
    functions = {"prepare": prepare, "train": train, "align": align, "rank": rank}
    for kind in session.plan:
        if kind == "prepare" and session.whole is not None:
            session.done[kind] = session.whole.done[kind]
        elif kind == "fuse":
            for number, member in enumerate(session.members, 1):
                run_stages(member)
                session.done |= {f"{number}.{stage}": made for stage, made in member.done.items()}
            fuse(session)
        elif kind.rsplit(".", 1)[-1] == "embed":
            embed(session, kind)
        elif kind != "evaluate":
            functions[kind](session)


def prepare(session: Session) -> Artifact:
    """Reads, filters and splits the dataset."""
    from interlingua.data.prepare import prepare_config, save

    for note in session.recipe.notes:
        say(note)

    def make(folder: Path, partial: Path) -> dict[str, Any]:
        prepared = prepare_config(session.recipe.data, session.seed)
        save(prepared, folder / "dataset")
        return {"data_fingerprint": prepared.fingerprint}

    return session.run_stage("prepare", make)


def embed(session: Session, kind: str = "embed") -> Artifact:
    """Fits a text encoder, where it learns, and encodes every item's (and user's) text once.

    ``kind``: ``NAME.embed`` for the section ``[texts.NAME]``.
    """
    ((section, part),) = parts_of(session.recipe, kind).items()

    def make(folder: Path, partial: Path) -> dict[str, Any]:
        with own_words(section):
            return _embedded(session, kind, part, folder, partial)

    return session.run_stage(kind, make)


def _embedded(session: Session, kind: str, part: Section, folder: Path, partial: Path) -> dict[str, Any]:
    from interlingua.vectors.health import notes_of

    config, train_events = part.config, session.data.split.train
    seed_all(derive_seed(session.seed, kind))
    encoder = make_text(part, session.data)
    entries = _fitted(session, kind, encoder, encoder, folder, partial) if isinstance(encoder, Component) else {}
    if entries:
        encoder.cpu().eval()
        save_tensors(trainable_state(encoder), folder / "weights.safetensors")
    users = encoder.rows("users").detach().float().cpu() if config.users == "texts" else None
    vectors = Embeddings(users, encoder.rows("items").detach().float().cpu())
    vectors = finish_rows(vectors, train_events, config, derive_seed(session.seed, kind))
    save_tables(folder, vectors, train_events)
    return entries | {"shapes": shapes(vectors), "texts": notes_of(encoder)}


def train(session: Session) -> Artifact:
    """Fits the backbone: in closed form, or by gradient with early stopping on the validation part."""

    def make(folder: Path, partial: Path) -> dict[str, Any]:
        part = session.recipe.backbone
        assert part is not None
        split, text = session.data.split, session.text if part.cls.needs_text else None
        seed_all(derive_seed(session.seed, "train"))
        backbone: Backbone = part.cls(part.config, split.train)
        joint = Joint(backbone, Aligner(Aligner.Config(), 0, 0))
        entries = _fitted(session, "train", backbone, joint, folder, partial, text=text)
        backbone.cpu().eval()
        entries["parameters"] = sum(p.numel() for p in backbone.parameters())
        save_tensors(trainable_state(backbone), folder / "weights.safetensors")
        if {"items", "users"} <= backbone.makes(part.config):  # neighbours and popularity have scores, but no vectors
            tables = _vectors(split.train, backbone)
            save_tables(folder, tables, split.train)
            entries["shapes"] = shapes(tables)
        return entries | backbone.write_extras(folder)

    return session.run_stage("train", make)


def _fitted(
    session: Session, stage: str, component: Any, module: Any, folder: Path, partial: Path, **given: Any
) -> dict[str, Any]:
    """Fits a component; its record is written, its length is returned.

    Args:
        session: the run.
        stage: its kind.
        component: what is fitted.
        module: what the loop trains: its ``forward(batch)`` gives the losses.
        folder: the stage's.
        partial: where an interrupted training goes on.
        given: further parts of :class:`interlingua.contracts.fitting.Fitting`.
    """
    split = session.data.split

    def loop(batches: Batches, config: FitConfig) -> FitLog:
        check = None
        if config.patience is not None and isinstance(module, Joint) and not len(split.valid):
            say(
                f"{stage}: the validation part is empty, so patience has no say: all {config.epochs} epochs are trained"
            )
        elif config.patience is not None and isinstance(module, Joint):

            def check() -> dict[str, float]:
                with deployed(module) as backbone:
                    return validation_metrics(backbone, split)

        log = fit_best(
            module, batches, config, seed=derive_seed(session.seed, SEEDS.get(stage, stage)), label=stage,
            validate=check, folder=partial, key=session.plan[stage].key, device=session.device,
        )  # fmt: skip
        if check is not None:
            say(f"{stage}: {log.in_words(config)}")
        return log

    held = {name: text for name, text in session.texts.items() if f"{name}.embed" in session.plan[stage].parents}
    log: FitLog = component.fit(Fitting(split.train, loop=loop, texts=held, **given))  # no more than its key holds
    return log.save(folder) | ({"samples": log.rows} if log.trained else {})


def align(session: Session) -> Artifact:
    """Joins the ID space with the text space and exports the vectors that later stages read."""

    def make(folder: Path, partial: Path) -> dict[str, Any]:
        part, source = session.recipe.align, session.recipe.backbone
        assert part is not None
        assert source is not None
        split, frozen = session.data.split, session.recipe.frozen_backbone
        text, finished = session.text, session.backbone if frozen else None
        seed_all(derive_seed(session.seed, "align"))
        backbone = source.cls(source.config, split.train) if finished is None else finished
        aligner = aligner_for(part.cls, part.config, backbone, text)
        joint = Joint(backbone, aligner, text, frozen_backbone=frozen)
        entries = _fitted(session, "align", aligner, joint, folder, partial, text=text, backbone=backbone)
        joint.cpu().eval()
        deploy(joint)
        save_tensors(trainable_state(joint), folder / "weights.safetensors")
        with torch.no_grad():
            own = Embeddings(None, backbone.item_embeddings().detach()) if frozen else _vectors(split.train, backbone)
            tables = aligner.export(own, text)
        save_tables(folder, tables, split.train)
        parameters = sum(p.numel() for p in joint.parameters() if p.requires_grad)
        return {"parameters": parameters, **entries, "shapes": shapes(tables)} | aligner.write_extras(folder)

    return session.run_stage("align", make)


def rank(session: Session) -> Artifact:
    """Fits the ranker: a language model, frozen or not, that reads vectors."""

    def make(folder: Path, partial: Path) -> dict[str, Any]:
        ranker = session.make_ranker()
        entries = _fitted(session, "rank", ranker, ranker, folder, partial)
        if len(session.data.split.valid):
            seed_all(derive_seed(session.seed, SEEDS["rank"], "calibrate"))  # a resumed run may just now train no epoch
            entries |= kept_where_it_fails(ranker, session.data.split)
        entries |= ranker.write_extras(folder)
        save_tensors(trainable_state(ranker), folder / "weights.safetensors")
        return entries | {"parameters": sum(p.numel() for p in ranker.parameters() if p.requires_grad)}

    return session.run_stage("rank", make)


def fuse(session: Session) -> Artifact:
    """Joins the members' scores; what the fusion learns, it learns on the validation part."""

    def make(folder: Path, partial: Path) -> dict[str, Any]:
        fusion = make_fusion(session)
        entries = _fitted(session, "fuse", fusion, fusion, folder, partial)
        if len(session.data.split.valid):
            entries |= kept_where_it_fails(fusion, session.data.split, "fuse")
        entries |= fusion.write_extras(folder)
        save_tensors(trainable_state(fusion), folder / "weights.safetensors")
        return entries | {"parameters": sum(buffer.numel() for buffer in fusion.buffers())}

    return session.run_stage("fuse", make)


def evaluate(session: Session) -> Artifact:
    """Measures the run on the test part (or the validation part, to choose options) under the recipe's protocols."""
    from interlingua.evaluate.protocol import evaluate as measure

    options, part = session.recipe.evaluate, session.recipe.align

    def make(folder: Path, partial: Path) -> dict[str, Any]:
        scorer = scorer_of(session)
        if part is not None and session.recipe.frozen_backbone and scorer is session.backbone:
            say(
                f"note: nothing here reads the alignment {part.name!r}: the backbone alone is measured; add a ranker "
                "([ranker]), or set evaluate.candidate_source = 'aligned' to reach items without events by their texts"
            )
        for caveat in session.recipe.ranker.cls.caveats(session.recipe.ranker.config) if session.recipe.ranker else ():
            say(f"warning: {caveat}")
        summary: dict[str, Any] = {}
        facts = facts_of(session, options)
        for protocol in options.protocols:
            names, unread = measured_under(protocol, options.metrics)
            if unread:
                say(f"note: the protocol {protocol} judges nothing that {', '.join(unread)} could read")
            report = measure(
                asked_by(scorer, protocol), session.data.split, options.part, protocol=protocol, metrics=names,
                seed=options.negatives_seed, max_users=options.max_users, facts=facts,
            )  # fmt: skip
            target = folder / "protocols" / protocol
            target.mkdir(parents=True)
            report.save(target)
            summary[protocol] = report.to_json()
        (folder / "metrics.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
        return {"recipe": session.recipe.resolved()}

    return session.run_stage("evaluate", make)


def reevaluate(session: Session, options: EvaluateConfig) -> Artifact:
    """Measures a finished run under other protocols: a new evaluate stage beside the old one."""
    return evaluate(remeasured(session, options))


@torch.no_grad()
def _vectors(rows: Interactions, backbone: Backbone) -> Embeddings:
    """Every user's and item's vector."""
    blocks = track(np.array_split(np.arange(rows.num_users), max(1, rows.num_users // 2048)), "user vectors")
    items = backbone.item_embeddings().detach()
    return Embeddings(torch.cat([backbone.user_embeddings(rows.queries(block)) for block in blocks]), items)
