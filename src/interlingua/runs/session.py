"""A recipe being run: its stages, their keys, and everything that has been loaded so far."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from interlingua.config import paths_in, to_toml
from interlingua.contracts.aligner import Aligner
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Embeddings
from interlingua.contracts.ranker import Ranker, RankerInputs
from interlingua.contracts.text import Text
from interlingua.data.anonymous import has_users
from interlingua.data.queries import Queries
from interlingua.errors import ArtifactError, ConfigError
from interlingua.progress import duration, say
from interlingua.runs.measuring import EvaluateConfig
from interlingua.runs.plan import Planned, is_trainable, make_plan, planned
from interlingua.runs.recipe import Recipe
from interlingua.runs.results import Measured
from interlingua.runs.section import Section
from interlingua.runtime.repeatable import repeatable
from interlingua.storage import artifact
from interlingua.storage.artifact import Artifact
from interlingua.training.checkpoint import load_trained
from interlingua.training.deploy import aligner_for
from interlingua.training.loop import accelerator, check_device, check_processes, derive_seed, seed_all
from interlingua.vectors.tables import load_tables

USER_SCALE = "user_scale"
"""entry of a rank stage that was saved without its users: see :class:`interlingua.contracts.ranker.RankerInputs`"""
SHAPES = "shapes"
"""entry of a stage's card: the shapes of its tables; a stage without it has none"""


@dataclass
class Session(Measured):
    """A recipe being run: its plan, and what has been loaded so far (data and models are read once)."""

    recipe: Recipe
    root: Path
    seed: int = 7
    device: str = "auto"
    done: dict[str, Artifact] = field(default_factory=dict)
    reused: set[str] = field(default_factory=set)
    loaded: dict[str, Any] = field(default_factory=dict)
    """objects that other modules made from this run and keep here"""
    whole: Session | None = None
    """for a member of ``[fuse]``: the run that joins it, whose data it shares"""

    @property
    def num_added(self) -> int:
        """Number of items at the end of the catalogue that came after training (:mod:`interlingua.runs.grown`)."""
        return 0

    @property
    def keeps_texts(self) -> bool:
        """Whether it keeps what it knew of items whose texts changed since."""
        return False

    @property
    def silent(self) -> tuple[str, ...]:
        """Ids of such items whose texts say nothing."""
        return ()

    @property
    def places(self) -> bool:
        """Whether texts tell the run where such an item stands."""
        return False

    @property
    def before_growth(self) -> tuple[Session, Any, Any]:
        """The run as it was trained, and the lines of a catalogue with which it grew: none."""
        return self, self.data.catalogue.items[:0], None

    def __repr__(self) -> str:
        """Name, folder, finished stages, and the first number, if there is one."""
        place, number = self.root, ""
        if "evaluate" in self.done:
            place = self.path
            with suppress(ArtifactError, OSError):  # the folder may be gone by now
                found = ((p, m, v) for p, each in self.metrics.items() for m, v in each.items() if v is not None)
                number = "".join(f"; {protocol} {metric} {value:.4f}" for protocol, metric, value in [*found][:1])
        return f"Session({self.recipe.name!r}, {str(place)!r}, done: {', '.join(self.done) or 'nothing'}{number})"

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise ConfigError(f"seed must be at least 0, got {self.seed}")
        check_processes()
        check_device(self.device)

    @cached_property
    def plan(self) -> dict[str, Planned]:
        """The stages this recipe needs, in order, with their keys. Reads the source data's hash, runs nothing."""
        return make_plan(self.recipe, self.seed, None if self.whole is None else self.whole.plan["prepare"].fingerprint)

    @cached_property
    def members(self) -> list[Session]:
        """A session for each member of ``[fuse]``; their finished stages are in ``done`` under ``NUMBER.STAGE``."""
        found = [Session(each, self.root, self.seed, self.device, whole=self) for each in self.recipe.members]
        for number, member in enumerate(found, 1):
            prefix = f"{number}."
            member.done = {n.removeprefix(prefix): self.done[n] for n in self.done if n.startswith(prefix)}
        return found

    @cached_property
    def data(self) -> Any:
        """The prepared dataset."""
        if self.whole is not None:
            return self.whole.data
        from interlingua.data.prepare import load

        return load(self.done["prepare"].path / "dataset")

    @cached_property
    def text(self) -> Text | None:
        """The text source: a frozen table from the embed stage, or a trainable encoder."""
        if self.recipe.text is None:
            return None
        if "embed" in self.done:
            from interlingua.vectors.frozen import FrozenRows

            tables = self.exported("embed")
            return FrozenRows(tables["items"], tables.get("users"))
        return make_text(self.recipe.text, self.data)

    @property
    def texts(self) -> dict[str, Text]:
        """Name -> vectors of the section ``[texts.NAME]``, where its stage is finished."""
        from interlingua.vectors.frozen import FrozenRows

        found: dict[str, Text] = self.loaded.setdefault("texts", {})
        for name in self.recipe.texts:
            if name not in found and f"{name}.embed" in self.done:
                tables = self.exported(f"{name}.embed")
                found[name] = FrozenRows(tables["items"], tables.get("users"))
        return found

    @cached_property
    def backbone(self) -> Backbone:
        """The trained backbone."""
        part = self.recipe.backbone
        assert part is not None
        backbone: Backbone = part.cls(part.config, self.data.split.train)
        if "train" in self.done:
            # of a finished run the weights stay in the file, which the processes that open it share in memory
            weights = load_file(self.done["train"].path / "weights.safetensors")
            backbone.load_state_dict(weights, assign="evaluate" in self.done)
            return backbone.eval()
        # trained jointly with the texts: its weights lie in the align stage
        state = load_file(self.done["align"].path / "weights.safetensors")
        own = {k.removeprefix("backbone."): v for k, v in state.items() if k.startswith("backbone.")}
        backbone.load_state_dict(own)
        return backbone.eval()

    @cached_property
    def aligned(self) -> Embeddings:
        """Vectors exported by the align stage."""
        return Embeddings.of(self.exported("align"))

    def exported(self, stage: str) -> dict[str, Tensor]:
        """The tables of a finished stage, by name; empty if it made none. Stages read nothing else from each other."""
        made = self.done[stage]
        return load_tables(made.path).named() if SHAPES in made.card else {}

    @cached_property
    def aligner(self) -> Aligner:
        """The trained aligner.

        Raises:
            ConfigError: the recipe has no [align] section.
        """
        part = self.recipe.align
        if part is None or "align" not in self.done:
            raise ConfigError("evaluate.candidate_source = 'aligned' needs an [align] section")
        aligner = aligner_for(part.cls, part.config, self.backbone, self.text)
        state = load_file(self.done["align"].path / "weights.safetensors")
        own = {k.removeprefix("aligner."): v for k, v in state.items() if k.startswith("aligner.")}
        aligner.load_state_dict(own)
        return aligner.eval()

    @cached_property
    def ranker(self) -> Ranker:
        """The trained language-model ranker."""
        ranker = self.make_ranker()
        path = self.done["rank"].path / "weights.safetensors"
        load_trained(ranker, load_file(path), str(path))
        return ranker.eval()

    def make_ranker(self) -> Ranker:
        """A ranker with fresh weights (seeded)."""
        assert self.recipe.ranker is not None
        inputs = ranker_inputs(self)  # building what an earlier process trained draws random numbers: before the seed
        seed_all(derive_seed(self.seed, "read"))  # the stage's word when seeds were first drawn by it
        return self.recipe.ranker.cls(self.recipe.ranker.config, inputs)

    def run_stage(self, kind: str, make: Callable[[Path, Path], dict[str, Any]]) -> Artifact:
        """Reuses or makes one stage; ``make(folder, partial)`` fills the folder and returns entries for the card."""
        stage = self.plan[kind]
        parents = {p: self.done[p] for p in stage.parents}
        with artifact.locked(self.root, stage.kind, stage.name, stage.key):
            found = artifact.find(self.root, stage.kind, stage.name, stage.key)
            if found is not None:
                for parent, made in parents.items():
                    found.check_parent(parent, made)
                say(f"{kind} {stage.name}: reusing {found.path}")
                self.reused.add(kind)
            else:
                closing = kind == "evaluate" and not self.recipe.evaluate.protocols
                say(f"{kind} {stage.name}: {'no protocols, so nothing is measured' if closing else 'running'}")
                partial = artifact.partial(self.root, stage.kind, stage.name, stage.key)
                fields: dict[str, Any] = {"seed": self.seed, "device": self.device, "config": stage.options}
                fields["fingerprint"] = stage.fingerprint
                started = time.perf_counter()
                try:
                    with artifact.writing(
                        self.root, stage.kind, stage.name, stage.key, parents=parents, fields=fields
                    ) as folder:
                        with repeatable(accelerator(self.device).device.type == "cpu"):
                            fields |= make(folder, partial)
                        (folder / "config.toml").write_text(to_toml(self.recipe.resolved()), encoding="utf-8")
                finally:
                    with suppress(OSError):  # gone, or it holds what a later run goes on from
                        partial.rmdir()
                say(f"{kind} {stage.name}: done in {duration(time.perf_counter() - started)}")
                found = artifact.find(self.root, stage.kind, stage.name, stage.key)
                assert found is not None
        self.done[kind] = found
        return found


def remeasured(session: Session, options: EvaluateConfig) -> Session:
    """A finished run with another planned evaluation: a new evaluate stage, which does not replace the old one."""
    if not has_users(session.data):
        raise ConfigError("this model was saved without users and events, so there is nothing to measure it on")
    if options.candidate_source == "aligned" and session.recipe.align is None:
        raise ConfigError("evaluate.candidate_source = 'aligned' needs an [align] section, and this run has none")
    parents = {stage: session.done[stage] for stage in session.done["evaluate"].parents}
    again = Session(replace(session.recipe, evaluate=options), session.root, session.seed, session.device)
    again.done = {stage: found for stage, found in session.done.items() if stage != "evaluate"}  # members' stages too
    plan = {p: Planned(p, str(d.card["name"]), d.key, tuple(d.parents), {}) for p, d in parents.items()}
    keys = {stage: found.key for stage, found in parents.items()}
    dumped = options.model_dump(mode="json")
    again.__dict__["plan"] = plan | {"evaluate": planned("evaluate", session.recipe.name, session.seed, dumped, keys)}
    return again


def make_text(text: Section, prepared: Any) -> Any:
    """The text source of a recipe over a prepared dataset's catalogue, or over profiles of its items and users.

    Raises:
        ConfigError: options that do not go together.
        DataError: profiles of other data, or that read interactions which this split holds out.
    """
    from interlingua.profiles.store import joined_texts, load
    from interlingua.vectors.fields import item_texts, user_texts

    catalogue, train = prepared.catalogue, prepared.split.train
    if is_trainable(text) and (text.config.reduce, text.config.control, text.config.users) != (None, "none", "none"):
        raise ConfigError("text.users, text.reduce and text.control need frozen vectors: set text.trainable = false")
    ids = [str(item) for item in catalogue.items["item_id"].to_list()]
    user_ids = [str(user) for user in train.user_ids]
    if text.config.brings_users:
        return text.cls(text.config, item_texts(catalogue, text.config), item_ids=ids, user_ids=user_ids)
    if not text.config.profiles:
        items, users = item_texts(catalogue, text.config), user_texts(catalogue, text.config)
    else:
        stored = [load(folder) for folder in paths_in(text.config.profiles)]
        for each in stored:
            each.check(prepared)
        items = joined_texts(stored, "items", ids)
        users = joined_texts(stored, "users", user_ids) if text.config.users == "texts" else None
    return text.cls(text.config, items, item_ids=ids, user_texts=users)


def ranker_inputs(session: Session) -> RankerInputs:
    """The tables and functions that a language-model ranker gets."""
    from interlingua.profiles.store import written_profiles

    train_events = session.data.split.train
    backbone = session.backbone
    aligned = "align" in session.done
    tables = session.aligned if aligned else Embeddings.of({"items": own_items(backbone)} | session.exported("train"))
    part = session.recipe.ranker
    folder = None if part is None or "rank" in session.done else part.cls.reads_profiles(part.config)
    user_embeddings: Callable[[Queries], Tensor] | None = None
    base_items = None
    user_dim = 0
    if "users" in backbone.makes(backbone.config):  # else there is no user slot
        user_dim = int(backbone.user_embeddings(train_events.queries(np.zeros(1, np.int64))).shape[1])
        user_embeddings = backbone.user_embeddings
        if "dot_product" in backbone.makes(backbone.config):
            base_items = backbone.item_embeddings().detach(), backbone.item_bias()
    return RankerInputs(
        titles=session.data.catalogue.titles,
        domain=session.data.catalogue.domain,
        train=train_events,
        items=known_items(session) if aligned else tables.items,
        items_from_text=tables.items_from_text,
        user_embeddings=user_embeddings,
        user_dim=user_dim,
        base_score=backbone.score,
        base_items=base_items,
        cold_items=~backbone.learned_items(train_events).numpy(),
        texts=session.exported("embed")["items"] if "embed" in session.done else None,
        named_texts={name: text.rows("items") for name, text in session.texts.items()},
        categories=session.data.catalogue.items["categories"].to_list(),
        columns=session.data.catalogue.properties,
        descriptions=session.data.catalogue.items["description"].to_list(),
        profiles=None if folder is None else written_profiles(folder, session.data),
        item_codes=tables.item_codes,
        added=session.num_added,
        user_scale=session.done["rank"].card.get(USER_SCALE) if "rank" in session.done else None,
        has_times=session.data.has_times,
    )


def own_items(backbone: Backbone) -> Tensor:
    """(I, D) the backbone's item vectors; (I, 0) where it has none."""
    has = "items" in backbone.makes(backbone.config)
    return backbone.item_embeddings().detach() if has else torch.zeros(backbone.num_items, 0)


def known_items(session: Session) -> Tensor:
    """(I, D) aligned item vectors; items that the backbone has not learned come from their texts, where possible."""
    tables = session.aligned
    if tables.items_from_text is None:
        return tables.items
    cold = ~session.backbone.learned_items(session.data.split.train)
    return torch.where(cold[:, None], tables.items_from_text, tables.items)
