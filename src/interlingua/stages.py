"""Prepare -> embed -> train -> align -> read -> evaluate: one function per stage.

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

from interlingua.artifact import Artifact
from interlingua.calibrate import kept_where_it_fails
from interlingua.cascade import Cascade, asked_by
from interlingua.checkpoint import trainable_state
from interlingua.core import Aligner, Backbone, Joint, Ranker, TableRanker, Tables
from interlingua.data.interactions import Interactions
from interlingua.deploy import aligner_for, deploy, deployed
from interlingua.errors import ConfigError, shown
from interlingua.fit import derive_seed, fit_best, seed_all
from interlingua.fit_log import FitLog
from interlingua.plan import check_present
from interlingua.preflight import check
from interlingua.progress import say, track
from interlingua.recipe import EvaluateConfig, Recipe
from interlingua.session import Session, known_items, make_text, remeasured
from interlingua.text.rows import finish_rows
from interlingua.vectors import save_tables, save_tensors, shapes


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
        from interlingua.recipe import load

        if not isinstance(recipe, str | Path):
            raise ConfigError(f"recipe is {shown(recipe)}; give a shipped name, a path or a resolved recipe")
        recipe = load(recipe, sets, None if data is None else as_source(data, Path(out) / "frames"), trust=trust)
    elif data is not None or sets:
        raise ConfigError("data and sets change a recipe that is still to be read; this one is resolved: load it anew")
    session = Session(recipe, Path(out), seed, device)
    check([session])
    check_present(session.plan)
    functions = {"prepare": prepare, "embed": embed, "train": train, "align": align, "read": read}
    for kind in session.plan:
        if kind != "evaluate":
            functions[kind](session)
    evaluate(session)
    return session


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


def embed(session: Session) -> Artifact:
    """Encodes every item's (and user's) text once."""
    from interlingua.text.health import notes_of

    def make(folder: Path, partial: Path) -> dict[str, Any]:
        assert session.recipe.text is not None
        config, train_events = session.recipe.text.config, session.data.split.train
        seed_all(derive_seed(session.seed, "embed"))
        encoder = make_text(session.recipe.text, session.data)
        users = encoder.rows("users").detach().float().cpu() if config.users == "texts" else None
        vectors = Tables(users, encoder.rows("items").detach().float().cpu())
        vectors = finish_rows(vectors, train_events, config, derive_seed(session.seed, "embed"))
        save_tables(folder, vectors, train_events)
        return {"shapes": shapes(vectors), "texts": notes_of(encoder)}

    return session.run_stage("embed", make)


def train(session: Session) -> Artifact:
    """Trains the backbone: in closed form, or by gradient with early stopping on the validation part."""

    def make(folder: Path, partial: Path) -> dict[str, Any]:
        part = session.recipe.backbone
        assert part is not None
        split, text = session.data.split, session.text if part.cls.needs_text else None
        seed_all(derive_seed(session.seed, "train"))
        backbone: Backbone = part.cls(part.config, split.train)
        length: dict[str, Any] = {}
        if backbone.sampling == "none":
            backbone.solve(split.train, text)
        else:
            options, joint = part.config.fit, Joint(backbone, Aligner(Aligner.Config(), 0, 0))
            log = _fit(session, "train", joint, backbone.batches(split.train, options), options, partial)
            length = log.save(folder)
        backbone.cpu().eval()
        save_tensors(trainable_state(backbone), folder / "weights.safetensors")
        length["parameters"] = sum(p.numel() for p in backbone.parameters())
        return length | _save_vectors(folder, session, backbone)

    return session.run_stage("train", make)


def _fit(session: Session, stage: str, module: Joint, batches: Any, config: Any, partial: Path | None) -> FitLog:
    from interlingua.evaluate.protocol import validation_metrics

    split = session.data.split
    check = None
    if config.patience is not None and not len(split.valid):
        say(f"{stage}: the validation part is empty, so patience has no say: all {config.epochs} epochs are trained")
    elif config.patience is not None:

        def check() -> dict[str, float]:
            with deployed(module) as backbone:
                return validation_metrics(backbone, split)

    log = fit_best(
        module, batches, config, seed=derive_seed(session.seed, stage), label=stage,
        validate=check, folder=partial, key=session.plan[stage].key, device=session.device,
    )  # fmt: skip
    if check is not None:
        say(f"{stage}: {log.in_words(config)}")
    return log


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
        aligner: Any = aligner_for(part.cls, part.config, backbone, text)
        joint = Joint(backbone, aligner, text, frozen_backbone=frozen)
        length: dict[str, Any] = {}
        if hasattr(aligner, "solve"):
            aligner.solve(backbone, text, split.train)
        else:
            options = part.config.fit or source.config.fit
            aligner.start(backbone, text)
            log = _fit(session, "align", joint, aligner.batches(backbone, split.train, options), options, partial)
            length = log.save(folder)
        joint.cpu().eval()
        deploy(joint)
        save_tensors(trainable_state(joint), folder / "weights.safetensors")
        with torch.no_grad():
            own = Tables(None, backbone.item_table().detach()) if frozen else _vectors(split.train, backbone)
            tables = aligner.export(own, text)
        save_tables(folder, tables, split.train)
        parameters = sum(p.numel() for p in joint.parameters() if p.requires_grad)
        return {"parameters": parameters, **length, "shapes": shapes(tables)}

    return session.run_stage("align", make)


def read(session: Session) -> Artifact:
    """Trains the language-model reader (the model itself stays frozen)."""

    def make(folder: Path, partial: Path) -> dict[str, Any]:
        assert session.recipe.llm is not None
        config = session.recipe.llm.config
        reader = session.make_reader()
        log = fit_best(
            reader, reader.batches, config.fit, seed=derive_seed(session.seed, "read"), label="read",
            folder=partial, key=session.plan["read"].key, device=session.device,
        )  # fmt: skip
        fields: dict[str, Any] = log.save(folder)
        calibrate = getattr(reader, "calibrate", None)
        if callable(calibrate) and len(session.data.split.valid):
            seed_all(derive_seed(session.seed, "read", "calibrate"))  # a resumed run may have trained no epoch just now
            fields |= kept_where_it_fails(reader, calibrate, session.data.split)
        keep = getattr(reader, "keep", None)  # what else belongs to the run: which samples were chosen
        fields |= keep(folder) if callable(keep) else {}
        save_tensors(trainable_state(reader), folder / "weights.safetensors")
        rows = sum(int(e["rows"]) for e in log.epochs)
        return fields | {"parameters": sum(p.numel() for p in reader.parameters() if p.requires_grad), "samples": rows}

    return session.run_stage("read", make)


def ranker_of(session: Session) -> Ranker:
    """What is measured, served and exported: the last stage that can score."""
    if "read" in session.done:
        reader = session.reader
        return reader if scores_catalogue(reader) else cascade_of(session, reader)
    return retriever_of(session)[1]


def retriever_of(session: Session) -> tuple[str, Ranker]:
    """(stage, ranker): what ranks the catalogue by itself, before any reader.

    The aligned vectors, where ``evaluate.retrieve_by`` asks for them or a run without a reader ends with an alignment
    into the space of a frozen backbone; else the backbone.
    """
    recipe, part = session.recipe, session.recipe.align
    last = "read" not in session.done and recipe.frozen_backbone
    if part is not None and (recipe.evaluate.retrieve_by == "aligned" or (last and part.cls.keeps_space)):
        return "align", aligned_ranker(session)
    return "train", session.backbone


def scores_catalogue(reader: Ranker | None) -> bool:
    """Whether a reader ranks every item by itself (a head over the catalogue), so that nothing need retrieve for it."""
    return bool(getattr(reader, "scores_catalogue", False))


def aligned_ranker(session: Session) -> TableRanker:
    """The backbone's users and items; items that it has not learned through their texts, decoded to its space.

    Raises:
        ConfigError: the backbone's score is no dot product of vectors, or the aligner makes no item vectors from texts.
    """
    if "dot_product" not in session.backbone.makes(session.backbone.config):
        name = "" if session.recipe.backbone is None else session.recipe.backbone.name
        raise ConfigError(
            f"the backbone {name!r} does not score by one dot product, so item vectors made from texts cannot stand in "
            "for its own; choose another backbone, or a reader ([llm]) that reads the texts"
        )
    aligner, known = session.aligner, known_items(session)
    if session.aligned.text_items is None:
        name = "" if session.recipe.align is None else session.recipe.align.name
        raise ConfigError(
            f"evaluate.retrieve_by = 'aligned': the aligner {name!r} makes no item vectors from texts alone; leave the "
            "option out, or choose the aligner contrastive, autoencoder or ridge"
        )
    cold = ~session.backbone.learned_items(session.data.split.train)
    with torch.no_grad():
        table, decoded = session.backbone.item_table().detach(), aligner.to_backbone(known)
    bias = session.backbone.item_bias()
    if bias is not None and bool(cold.any()) and not bool(cold.all()):
        bias = torch.where(cold, bias[~cold].mean(), bias)  # an item that was not learned has none
    return TableRanker(torch.where(cold[:, None], decoded, table), session.backbone.represent, bias)


def cascade_of(session: Session, reader: Ranker | None, retriever: Ranker | None = None) -> Cascade:
    """Something fast retrieves, the reader orders; a reader that ranks the whole catalogue does both.

    Args:
        session: a finished run.
        reader: None leaves the retriever's order.
        retriever: see :func:`retriever_of`, which is asked where None is given.
    """
    if reader is not None and scores_catalogue(reader):
        first, reader = reader, None
    else:
        first = retriever or retriever_of(session)[1]
    options, items = session.recipe.evaluate, session.data.split.train.num_items
    return Cascade(lambda q: first.score(q, None), reader, options.retrieve, items)


def evaluate(session: Session) -> Artifact:
    """Measures the run on the test part (or the validation part, to choose options) under the recipe's protocols."""
    from interlingua.evaluate.protocol import evaluate as measure

    options, part = session.recipe.evaluate, session.recipe.align

    def make(folder: Path, partial: Path) -> dict[str, Any]:
        ranker = ranker_of(session)
        if part is not None and session.recipe.frozen_backbone and ranker is session.backbone:
            say(
                f"note: nothing here reads the alignment {part.name!r}: the backbone alone is measured; add a reader "
                "([llm]), or set evaluate.retrieve_by = 'aligned' to reach items without events by their texts"
            )
        scoring = getattr(session.recipe.llm and session.recipe.llm.config, "scoring", "")
        if scoring in ("generate", "paper"):
            say(
                f"warning: llm.scoring = {scoring!r} orders only what was generated; all other candidates tie, and "
                "their places follow the catalogue's rows (sampled-20+expected shares them out evenly). Of 'generate' "
                "read Hit@k up to llm.beams; of 'paper' no k: the authors count a hit wherever the target is named"
            )
        summary: dict[str, Any] = {}
        for protocol in options.protocols:
            report = measure(
                asked_by(ranker, protocol), session.data.split, options.part, protocol=protocol,
                seed=options.negatives_seed, max_users=options.max_users,
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


def _save_vectors(folder: Path, session: Session, backbone: Backbone) -> dict[str, Any]:
    """User and item vectors where the backbone has them (sequence models: users from their train histories)."""
    rows = session.data.split.train
    try:
        tables = _vectors(rows, backbone)
    except NotImplementedError:  # neighbourhood models and popularity have scores but no vectors
        return {}
    save_tables(folder, tables, rows)
    return {"shapes": shapes(tables)}


@torch.no_grad()
def _vectors(rows: Interactions, backbone: Backbone) -> Tables:
    """Every user's and item's vector."""
    told = track(np.array_split(np.arange(rows.num_users), max(1, rows.num_users // 2048)), "user vectors")
    items = backbone.item_table().detach()
    return Tables(torch.cat([backbone.represent(rows.queries(block)) for block in told]), items)
