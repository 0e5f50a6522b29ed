"""Prepare -> embed -> train -> align -> read -> evaluate: one function per stage, and the only file that knows every kind.

A stage's key is the hash of its options, the seed, its parents' keys and the data; a finished key is reused, so one trained
backbone is the parent of every method that is compared. Stages talk through folders (see :mod:`interlingua.artifact`).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from interlingua import artifact
from interlingua.artifact import Artifact
from interlingua.cascade import Cascade
from interlingua.config import to_toml
from interlingua.core import Aligner, Backbone, Joint, Queries, Ranker, Reader, ReaderInputs, Tables, Text
from interlingua.errors import ArtifactError, ConfigError
from interlingua.fit import FitLog, derive_seed, fit_best, seed_all, trainable_state
from interlingua.progress import duration, say
from interlingua.recipe import Component, EvaluateConfig, Recipe

ORDER = ("prepare", "embed", "train", "align", "read", "evaluate")


@dataclass(frozen=True)
class Planned:
    """One stage of a recipe before it is run."""

    kind: str
    name: str
    key: str
    parents: tuple[str, ...]
    options: dict[str, Any]

    @property
    def folder(self) -> str:
        """Folder name inside the runs folder."""
        return artifact.folder_name(self.kind, self.name, self.key)


@dataclass
class Session:
    """A recipe being run: its plan, and what has been loaded so far (data and models are read once)."""

    recipe: Recipe
    root: Path
    seed: int = 7
    device: str = "auto"
    done: dict[str, Artifact] = field(default_factory=dict)
    reused: set[str] = field(default_factory=set)

    @cached_property
    def plan(self) -> dict[str, Planned]:
        """The stages this recipe needs, in order, with their keys. Reads the source data's hash, runs nothing."""
        return make_plan(self.recipe, self.seed)

    @cached_property
    def data(self) -> Any:
        """The prepared dataset."""
        from interlingua.data.prepare import load

        return load(self.done["prepare"].path)

    @cached_property
    def text(self) -> Text | None:
        """The text source: a frozen table from the embed stage, or a trainable encoder."""
        if self.recipe.text is None:
            return None
        if "embed" in self.done:
            from interlingua.text.table import Table

            return Table({"items": load_file(self.done["embed"].path / "vectors.safetensors")["items"]})
        return make_text(self.recipe.text, self.data.catalogue)

    @cached_property
    def backbone(self) -> Backbone:
        """The trained backbone."""
        return load_backbone(self.done["train"], self.data.split.train)

    @cached_property
    def aligned(self) -> Tables:
        """Vectors exported by the align stage."""
        return load_tables(self.done["align"])

    @cached_property
    def reader(self) -> Reader:
        """The trained language-model reader."""
        reader = self.make_reader()
        reader.load_state_dict(load_file(self.done["read"].path / "weights.safetensors"), strict=False)
        return reader.eval()

    def make_reader(self) -> Reader:
        """A reader with fresh weights (seeded)."""
        assert self.recipe.llm is not None
        seed_all(derive_seed(self.seed, "read"))
        return self.recipe.llm.cls(self.recipe.llm.config, reader_inputs(self))

    def run_stage(self, kind: str, make: Callable[[Path, Path], dict[str, Any]]) -> Artifact:
        """Reuses or makes one stage; ``make(folder, partial)`` fills the folder and returns entries for the card."""
        stage = self.plan[kind]
        parents = {p: self.plan[p].folder for p in stage.parents}
        with artifact.locked(self.root, kind, stage.name, stage.key):
            found = artifact.find(self.root, kind, stage.name, stage.key)
            if found is not None:
                say(f"{kind} {stage.name}: reusing {found.path}")
                self.reused.add(kind)
            else:
                say(f"{kind} {stage.name}: running")
                partial = artifact.partial(self.root, kind, stage.name, stage.key)
                fields: dict[str, Any] = {"seed": self.seed, "device": self.device, "config": stage.options}
                started = time.perf_counter()
                with artifact.writing(self.root, kind, stage.name, stage.key, parents=parents, fields=fields) as folder:
                    fields |= make(folder, partial)
                    (folder / "config.toml").write_text(to_toml(self.recipe.resolved()), encoding="utf-8")
                say(f"{kind} {stage.name}: done in {duration(time.perf_counter() - started)}")
                found = artifact.find(self.root, kind, stage.name, stage.key)
                assert found is not None
        self.done[kind] = found
        return found


def make_plan(recipe: Recipe, seed: int) -> dict[str, Planned]:
    """Stage -> plan, with every key (see module docstring)."""
    from interlingua.data.prepare import source_fingerprint

    planned: dict[str, Planned] = {}

    def add(kind: str, name: str, options: dict[str, Any], parents: tuple[str, ...], extra: Any = None) -> None:
        parts = {"kind": kind, "options": options, "seed": seed, "extra": extra}
        parts["parents"] = [planned[p].key for p in parents]
        planned[kind] = Planned(kind, name, artifact.content_key(parts), parents, options)

    data = recipe.data.model_dump(mode="json")
    add("prepare", Path(str(recipe.data.name)).stem, data, (), source_fingerprint(recipe.data))
    if recipe.text is not None and not _trainable(recipe.text):
        add("embed", recipe.text.name, recipe.text.options(), ("prepare",))
    backbone = recipe.backbone
    assert backbone is not None
    joint = recipe.align is not None and not recipe.frozen_backbone
    if not joint:
        needs = ("prepare", "embed") if backbone.cls.needs_text else ("prepare",)
        if backbone.cls.needs_text and "embed" not in planned:
            raise ConfigError(f"backbone {backbone.name!r} needs a frozen text table: add a [text] section")
        add("train", backbone.name, backbone.options(), needs)
    if recipe.align is not None:
        options = recipe.align.options() | {"frozen_backbone": recipe.frozen_backbone}
        options["text"] = None if recipe.text is None else recipe.text.options()
        if joint:
            options["backbone"] = backbone.options()
        parents = ("prepare", *(p for p in ("embed", "train") if p in planned))
        add("align", recipe.align.name, options, parents)
    if recipe.llm is not None:
        add("read", recipe.llm.name, recipe.llm.options(), tuple(planned))
    options = recipe.evaluate.model_dump(mode="json")
    add("evaluate", recipe.name, options, tuple(planned))
    return planned


def _trainable(text: Component) -> bool:
    return bool(getattr(text.config, "trainable", False))


def run(
    recipe: Recipe | str,
    *,
    out: Path | str = "runs",
    seed: int = 7,
    device: str = "auto",
    sets: tuple[str, ...] = (),
    data: str | None = None,
) -> Session:
    """Runs every stage of a recipe that is not finished yet.

    Args:
        recipe: a resolved recipe, a shipped name or a path.
        out: the runs folder.
        seed: every random number follows from it.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        sets: ``section.key=value`` overrides.
        data: dataset name or folder that replaces the recipe's.

    Returns:
        The session; ``session.done["evaluate"]`` is the run's folder.
    """
    if isinstance(recipe, str):
        from interlingua.recipe import load

        recipe = load(recipe, sets, data)
    session = Session(recipe, Path(out), seed, device)
    functions = {"prepare": prepare, "embed": embed, "train": train, "align": align, "read": read}
    for kind in session.plan:
        if kind != "evaluate":
            functions[kind](session)
    evaluate(session)
    return session


def prepare(session: Session) -> Artifact:
    """Reads, filters and splits the dataset."""
    from interlingua.data.prepare import prepare as prepare_data
    from interlingua.data.prepare import save

    def make(folder: Path, partial: Path) -> dict[str, Any]:
        prepared = prepare_data(session.recipe.data, seed=session.seed)
        save(prepared, folder)
        card = dict(prepared.card)
        (folder / "card.json").replace(folder / "dataset.json")  # the stage's own card takes that name
        return {"dataset": card, "data_fingerprint": card["fingerprint"]}

    return session.run_stage("prepare", make)


def make_text(text: Component, catalogue: Any) -> Any:
    """The text source of a recipe over a catalogue."""
    from interlingua.text.fields import texts_of

    return text.cls(text.config, texts_of(catalogue, text.config))


def embed(session: Session) -> Artifact:
    """Encodes every item's text once."""

    def make(folder: Path, partial: Path) -> dict[str, Any]:
        assert session.recipe.text is not None
        encoder = make_text(session.recipe.text, session.data.catalogue)
        vectors = encoder.rows("items").detach().float().cpu()
        _save_tables(folder, session, Tables(None, vectors))
        return {"shapes": {"items": list(vectors.shape)}}

    return session.run_stage("embed", make)


def train(session: Session) -> Artifact:
    """Trains the backbone: in closed form, or by gradient with early stopping on the validation part."""

    def make(folder: Path, partial: Path) -> dict[str, Any]:
        part = session.recipe.backbone
        assert part is not None
        split = session.data.split
        seed_all(derive_seed(session.seed, "train"))
        backbone: Backbone = part.cls(part.config, split.train)
        if backbone.sampling == "none":
            backbone.solve(split.train, session.text if part.cls.needs_text else None)
        else:
            joint = Joint(backbone, Aligner(Aligner.Config(), 0, 0))
            log = _fit(
                session, "train", joint, backbone.batches(split.train, part.config.fit), part.config.fit, partial
            )
            _save_log(folder, log)
        backbone.cpu().eval()
        save_file(_contiguous(trainable_state(backbone)), folder / "weights.safetensors")
        return {"parameters": sum(p.numel() for p in backbone.parameters()), **_save_vectors(folder, session, backbone)}

    return session.run_stage("train", make)


def _fit(session: Session, stage: str, module: Joint, batches: Any, config: Any, partial: Path | None) -> FitLog:
    from interlingua.evaluate.protocol import validation_metrics

    split = session.data.split
    check = None
    if config.patience is not None and len(split.valid):

        def check() -> dict[str, float]:
            return validation_metrics(module.backbone, split)

    return fit_best(
        module, batches, config, seed=derive_seed(session.seed, stage), label=stage,
        validate=check, folder=partial, device=session.device,
    )  # fmt: skip


def align(session: Session) -> Artifact:
    """Joins the ID space with the text space and exports the vectors that later stages read."""

    def make(folder: Path, partial: Path) -> dict[str, Any]:
        part, source = session.recipe.align, session.recipe.backbone
        assert part is not None
        assert source is not None
        split, frozen = session.data.split, session.recipe.frozen_backbone
        seed_all(derive_seed(session.seed, "align"))
        backbone = session.backbone if frozen else source.cls(source.config, split.train)
        text = session.text
        text_dim = 0 if text is None else text.dim
        aligner = part.cls(part.config, int(backbone.item_table().shape[1]), text_dim)
        joint = Joint(backbone, aligner, text, frozen_backbone=frozen)
        fields: dict[str, Any] = {}
        if hasattr(aligner, "solve"):
            aligner.solve(backbone, text, split.train)
        else:
            batches = aligner.batches(backbone, split.train, part.config.fit)
            log = _fit(session, "align", joint, batches, part.config.fit, partial)
            _save_log(folder, log)
        joint.cpu().eval()
        save_file(_contiguous(trainable_state(joint)), folder / "weights.safetensors")
        with torch.no_grad():
            tables = aligner.export(Tables(None, backbone.item_table().detach()), text)
        _save_tables(folder, session, tables)
        return fields | {"parameters": sum(p.numel() for p in joint.parameters() if p.requires_grad)}

    return session.run_stage("align", make)


def reader_inputs(session: Session) -> ReaderInputs:
    """The tables and functions that a language-model reader sees."""
    train_events = session.data.split.train
    cold = train_events.item_counts == 0
    backbone = session.backbone
    tables = session.aligned if "align" in session.done else Tables(None, backbone.item_table().detach())
    items = tables.items.clone()
    if tables.text_items is not None:
        items[torch.as_tensor(cold)] = tables.text_items[torch.as_tensor(cold)]
    represent: Callable[[Queries], Tensor] | None = None
    user_dim = 0
    try:
        user_dim = int(backbone.represent(train_events.queries(np.zeros(1, np.int64))).shape[1])
        represent = backbone.represent
    except NotImplementedError:  # a backbone without user vectors: no user slot
        pass
    return ReaderInputs(
        titles=session.data.catalogue.titles,
        domain=session.data.catalogue.domain,
        train=train_events,
        items=items,
        text_items=tables.text_items,
        represent=represent,
        user_dim=user_dim,
        base_score=backbone.score,
        cold_items=cold,
    )


def read(session: Session) -> Artifact:
    """Trains the language-model reader (the model itself stays frozen)."""

    def make(folder: Path, partial: Path) -> dict[str, Any]:
        assert session.recipe.llm is not None
        config = session.recipe.llm.config
        reader = session.make_reader()
        log = fit_best(
            reader, reader.batches, config.fit, seed=derive_seed(session.seed, "read"), label="read",
            folder=partial, device=session.device,
        )  # fmt: skip
        _save_log(folder, log)
        save_file(_contiguous(trainable_state(reader)), folder / "weights.safetensors")
        rows = sum(int(e["rows"]) for e in log.epochs)
        return {"parameters": sum(p.numel() for p in reader.parameters() if p.requires_grad), "samples": rows}

    return session.run_stage("read", make)


def ranker_of(session: Session) -> Ranker:
    """What evaluation and serving see: the last stage that can score."""
    if "read" not in session.done:
        return session.backbone
    return cascade_of(session, session.reader)


def cascade_of(session: Session, reader: Ranker | None) -> Cascade:
    """The backbone retrieves, the reader orders."""
    options: EvaluateConfig = session.recipe.evaluate
    retrieve = session.backbone.score
    return Cascade(lambda q: retrieve(q, None), reader, options.retrieve, session.data.split.train.num_items)


def evaluate(session: Session) -> Artifact:
    """Measures the run on the test part (or the validation part, to choose options) under the recipe's protocols."""
    from interlingua.evaluate.protocol import evaluate as measure

    options = session.recipe.evaluate

    def make(folder: Path, partial: Path) -> dict[str, Any]:
        ranker = ranker_of(session)
        summary: dict[str, Any] = {}
        for protocol in options.protocols:
            report = measure(
                ranker, session.data.split, options.part, protocol=protocol,
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
    parents = tuple(session.done["evaluate"].parents)
    dumped = options.model_dump(mode="json")
    parts = {"kind": "evaluate", "options": dumped, "seed": session.seed, "extra": None}
    key = artifact.content_key(parts | {"parents": [session.done[p].key for p in parents]})
    stages = {p: Planned(p, str(d.card["name"]), d.key, tuple(d.parents), {}) for p, d in session.done.items()}
    stages["evaluate"] = Planned("evaluate", session.recipe.name, key, parents, dumped)
    again = Session(replace(session.recipe, evaluate=options), session.root, session.seed, session.device)
    again.done = {p: d for p, d in session.done.items() if p != "evaluate"}
    again.__dict__["plan"] = stages
    return evaluate(again)


def load_backbone(source: Artifact, train_events: Any) -> Backbone:
    """A trained backbone from its folder."""
    from interlingua import registry
    from interlingua.config import build

    options = dict(source.card["config"])
    cls = registry.find("backbone", options.pop("name"))
    backbone: Backbone = cls(build(cls.Config, options, str(source.path)), train_events)
    backbone.load_state_dict(load_file(source.path / "weights.safetensors"))
    return backbone.eval()


def load_tables(source: Artifact) -> Tables:
    """The vectors of a stage."""
    tensors = load_file(source.path / "vectors.safetensors")
    return Tables(tensors.get("users"), tensors["items"], tensors.get("text_items"))


def open_session(path: Path | str, device: str = "auto") -> Session:
    """A finished run, from the folder of its evaluate stage, with all its parents verified.

    Raises:
        ArtifactError: not a finished run, or a parent is missing, damaged or edited.
    """
    from interlingua.recipe import resolve

    found = artifact.load(path)
    if found.kind != "evaluate":
        raise ArtifactError(f"{path} is a {found.kind!r} stage; a run is the folder that starts with 'evaluate-'")
    recipe = resolve(_without_none(found.card["recipe"]), str(found.card["name"]), str(path))
    session = Session(recipe, found.path.parent, int(found.card["seed"]), device)
    session.done = {stage: found.parent(stage) for stage in found.parents} | {"evaluate": found}
    return session


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _without_none(v) if isinstance(v, Mapping) else v for k, v in values.items()}


def _contiguous(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}


def _save_log(folder: Path, log: FitLog) -> None:
    lines = [json.dumps(record) for record in log.epochs]
    lines.append(json.dumps({"best_epoch": log.best_epoch, "best": log.best if log.best_epoch else None}))
    (folder / "log.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _save_vectors(folder: Path, session: Session, backbone: Backbone) -> dict[str, Any]:
    """User and item vectors where the backbone has them (sequence models: users from their train histories)."""
    try:
        items = backbone.item_table().detach()
        users = torch.cat([
            backbone.represent(session.data.split.train.queries(block)).detach()
            for block in np.array_split(np.arange(session.data.split.train.num_users), max(1, session.data.split.train.num_users // 2048))
        ])  # fmt: skip
    except NotImplementedError:
        return {}
    _save_tables(folder, session, Tables(users, items))
    return {"shapes": {"users": list(users.shape), "items": list(items.shape)}}


def _save_tables(folder: Path, session: Session, tables: Tables) -> None:
    import polars as pl

    named = {"users": tables.users, "items": tables.items, "text_items": tables.text_items}
    save_file(_contiguous({k: v.float() for k, v in named.items() if v is not None}), folder / "vectors.safetensors")
    split = session.data.split.train
    ids = [("users", split.user_ids)] if tables.users is not None else []
    ids.append(("items", split.item_ids))
    pl.concat(
        [
            pl.DataFrame({"side": [side] * len(names), "row": np.arange(len(names)), "id": [str(n) for n in names]})
            for side, names in ids
        ]
    ).write_parquet(folder / "ids.parquet")
