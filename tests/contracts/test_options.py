"""Every option of every component does something: another value gives other losses, weights, vectors or scores.

The registry is walked, so a new option joins by itself. One that only shows beside other options has an entry in
``BESIDE``; one that cannot be tried here (a path, a precision) names in ``ELSEWHERE`` the tests that would fail
without it.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from interlingua import registry
from interlingua.config import Config, FitConfig, build
from interlingua.contracts.aligner import Aligner
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Embeddings
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.ranker import RankerInputs
from interlingua.data.prepared import Dataset
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError
from interlingua.rankers.title_sequence import OF_A_HEAD
from interlingua.testing.test_rankers import TINY, inputs, model_folder
from interlingua.training.deploy import aligner_for, deploy
from interlingua.training.joint import Joint
from interlingua.training.loop import fit, seed_all
from interlingua.vectors.fields import item_texts, user_texts
from interlingua.vectors.rows import finish_rows

__all__ = ["inputs", "model_folder"]  # fixtures

FIT: dict[str, Any] = {"epochs": 2, "steps_per_epoch": 2, "batch_size": 16, "patience": None}
START: dict[str, Any] = {
    "embedding_dim": 8, "latent_dim": 8, "max_history": 5, "dropout": 0.0, "dim": 8, "history_length": 3,
    "num_candidates": 4, "trainable": False, "num_seeds": 10, "num_heads": 2, "num_intents": 4,
}  # fmt: skip
"""small values to start from, where a component has the option"""
OTHER: dict[str, Any] = {
    "embedding_dim": 16, "num_heads": 4, "max_history": 2, "history_length": 1, "contrast_anchors": 3,
    "half_life": 2.0, "hidden_dim": 12, "ncf.layers": [16, 8], "dropout": 0.5, "keep_rate": 0.5, "penalty": 5.0,
    "similarity": "cosine", "last_share": 0.2, "neighbours": 2, "mask_every": 1, "max_title_tokens": 2,
    "prompted_layers": [0], "readout": 4, "max_title_words": 1, "fraction": 0.5, "text_below": 10_000, "head_items":
    5, "num_layers": 1, "fields": ["title"], "num_interests": 2, "reduce": 4, "min_texts":
    4, "max_share": 0.2, "min_similarity": 0.9, "sgl.contrast": "batch", "simgcl.contrast": "all", "dim": 4,
    "soft_epochs": 1, "pooling": "mean", "kv-prompt.user_template": "none", "kv-prompt.item_template": "none",
    "soft-prompt.template": "next-item-vectors",  "slots": {"user": "none"}, "sample_rate": 0.9, "keep": 0.5,
    "llara.template": "llara-2", "llara.second_template": "llara", "llara.third_template": "llara", "samples": 3,
    "title-sequence.slots": {"user": "backbone"}, "weights": {"text": 3.0}, "floor": 1.0, "null_dim": 2, "max_nodes": 3,
    "queue_size": 3,
    "attribute_tokens": 2, "max_words": 5, "low-rank-ease.rank": 2, "low-rank-additive-ease.rank": 2,  "cross_heads": 4,
    "sub_dim": 4, "mmrec.layers": [8], "history_titles": 1, "dilations": [2],
    "first_epochs": 1, "first_learning_rate": 0.5, "hard_step": 1.0, "quantiser": {"levels": 2}, "tiger.beams": 1,
    "rq-vae.same_codes": 0, "lc-rec.tasks": ["next"], "block_share": 0.0,
}  # fmt: skip
"""by option, or component.option: another value than one that follows from the type"""
HEAD: dict[str, Any] = {"head_weight": 1.0, "scoring": "head", "template": "next-item-vectors"}
BESIDE: dict[str, dict[str, Any]] = {
    "bpr_penalty": {"loss": "bpr-max"}, "gradient_steps": {"batch_of": "sessions"}, "resets": {"batch_of": "sessions"},
    "scores": {"loss": "top1-max"}, "caser.num_negatives": {},
    "num_negatives": {"loss": "sampled-ce"},
    **{f"{name}.num_negatives": {"loss": "softmax"} for name in ("dccf", "gccf", "lightgcn", "sgl", "simgcl")},
    **{f"{name}.num_negatives": {} for name in ("mf", "ncf")},
    "maps": {"extraction": "dr"},
    "textknn.neighbours": {"variant": "item"},
    "style": {"max_share": 1.0},
    "min_similarity": {"filter": "similarity"},
    "rank": {"maps": "low-rank"}, "low-rank-ease.rank": {}, "low-rank-additive-ease.rank": {},
    "popularity_correction": {"loss": "softmax"},
    "kv-prompt.cold_weight": {"fuse_scores": True},
    "kv-prompt.unseen_floor": {"fuse_scores": True},
    "injection": {"align_weight": 0.0},
    "beams": {"scoring": "generate"},
    **dict.fromkeys(("lm_weight", "distill_weight", "cold_dropout", "head_items", "text_below"), HEAD),
    "distill_temperature": HEAD | {"distill_weight": 1.0},
    "fuse_scores": HEAD,
    "cold_weight": HEAD | {"fuse_scores": True},
    "unseen_floor": HEAD | {"fuse_scores": True},
    "sequence-head.batch_by": {}, "title-sequence.batch_by": {},
    **{f"title-sequence.{o}": {} for o in OF_A_HEAD},
    **{f"title-sequence.{o}": {} for o in ("cold_dropout", "text_below")},
    "gru4rec.batch_by": {}, "sasrec.batch_by": {},
    "soft-prompt.template": {},
    "softmax_temperature": {"loss": "softmax"},
    "k1": {"weighting": "bm25"},
    "b": {"weighting": "bm25"},
    "routing_iterations": {"extraction": "dr"},
    "node_drop": {"augmentation": "node-drop"},
    "map_dropout": {"hidden_layers": 1},
}  # fmt: skip
"""by option, or component.option: what else must be set for the option to show"""
MODELS = ("revision", "precision")
ELSEWHERE: dict[str, str] = {
    **{f"pretrained.{name}": "test_pretrained.py" for name in ("items", "item_ids", "users", "user_ids")},
    "learn_weights": "test_linear_with_texts.py", "ncf.pretrain_epochs": "test_ncf.py",
    **{f"lm-states.{o}": "test_lm_states.py"
       for o in ("model", "layer", "pool", "prompt", "ending", "max_tokens", "lm_weights")},
    **{f"recformer.{o}": "test_recformer.py" for o in ("checkpoint", "mlm_weight")},
    **{f"unisrec.{o}": "test_unisrec.py" for o in ("temperature", "sequence_weight", "item_drop", "equal_targets")},
    "irllrec.intent": "test_irllrec.py", "mmrec.texts": "test_mmrec.py",
    "llmemb.teacher": "test_llmemb.py", "precision": "test_language_models.py", "revision": "test_keys.py",
    "llm-only.template": "test_chat.py", "title-sequence.template": "test_title_sequence.py",
    "characters": "test_health.py",
    "user_fields": "test_joint_runs.py", "profiles": "test_profiles_in_recipes.py",
    **{f"{n}.{o}": "test_adapters.py"
       for n in ("soft-prompt", "sequence-head", "title-sequence", "kv-prompt") for o in ("lora", "adapters")},
    **{f"{n}.model": "test_language_models.py"
       for n in ("kv-prompt", "soft-prompt", "sequence-head", "title-sequence", "llm-only")},
    **{f"{n}.{o}": "test_word_rankers.py" for n in ("tallrec", "llara") for o in ("model", "lora", "adapters")},
    **{f"tallrec.{o}": "test_tallrec.py" for o in ("template", "labels")},
    **{f"llm-srec.{o}": "test_llm_srec.py"
       for o in ("model", "user_template", "item_template", "date_format", "max_tokens")},
    **{f"token-rec.{o}": "test_token_rec.py" for o in ("model", "lora")},
    **{f"lc-rec.{o}": "test_lc_rec.py" for o in ("model", "lora", "profiles", "beams", "max_text_tokens")},
    **{f"e4srec.{o}": "test_e4srec.py" for o in ("model", "template", "lora")},
    **{f"llmgr.{o}": "test_llmgr.py" for o in ("model", "template", "node_template", "lora")},
    **{f"gal-rec.{o}": "test_gal_rec.py" for o in ("model", "template", "node_template", "lora")},
    **{f"mixrec.{o}": "test_mixrec.py" for o in ("model", "template", "lora", "trials", "trial_users")},
    **{f"{n}.{o}": "test_collm_binllm.py" for n in ("collm", "binllm") for o in ("model", "template", "lora")},
    **{f"rec-icl.{o}": "test_rec_icl.py"
       for o in ("model", "lora", "template", "demonstrations", "demonstration_labels", "window", "max_title_words")},
    **{f"{n}.{o}": f"test_{n}.py"
       for n in ("chat", "drdt") for o in registry.find("ranker", n).Config.model_fields if o not in MODELS},
}  # fmt: skip
"""options that need other files or models than are at hand here: the tests that hold them"""


def options_of(kind: str) -> list[tuple[str, str]]:
    """(component, option) of a kind, without ``fit`` (tests/training/test_fit.py)."""
    found = []
    for name in registry.names(kind):
        fields = registry.find(kind, name).Config.model_fields
        found += [(name, o) for o in fields if o != "fit" and o not in ELSEWHERE and f"{name}.{o}" not in ELSEWHERE]
    return found


def named(table: dict[str, Any], name: str, option: str, default: Any) -> Any:
    """An entry for the component's option, else for the option of any component."""
    return table.get(f"{name}.{option}", table.get(option, default))


def other_value(name: str, option: str, annotation: Any, value: Any) -> Any:
    """A value that is not ``value``: by name, else by type."""
    chosen = named(OTHER, name, option, value)
    if chosen != value:
        return chosen
    if typing.get_origin(annotation) is Literal:
        return next(word for word in typing.get_args(annotation) if word != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value * 0.5 if value > 0 else 0.5
    pytest.fail(f"no other value for {option} = {value!r}: give it one in OTHER, or name its test in ELSEWHERE")


def pair(cls: Any, name: str, option: str, supplied: dict[str, Any]) -> tuple[Config, Config]:
    """Small options, and the same with another value of one.

    Raises:
        ConfigError: the component refuses the other value in words that name the option: it says that it has no use.
    """
    fields = cls.Config.model_fields
    values = {k: v for k, v in START.items() if k in fields}
    values |= {k: v for k, v in supplied.items() if k in fields and fields[k].annotation in (str, int)}
    values |= {k: v for k, v in named(BESIDE, name, option, {}).items() if k in fields}
    if "fit" in fields:
        values["fit"] = FIT
    first = build(cls.Config, values, cls.__name__)
    changed = other_value(name, option, fields[option].annotation, getattr(first, option))
    return first, build(cls.Config, values | {option: changed}, cls.__name__)


def differs(one: list[Any], other: list[Any]) -> bool:
    return [v.shape for v in one] != [v.shape for v in other] or any(
        not np.array_equal(a, b) for a, b in zip(one, other, strict=True)
    )


def assert_effect(cls: Any, name: str, option: str, supplied: dict[str, Any], made: Callable[[Any], list[Any]]) -> None:
    """Another value gives other results, or is refused because the component has no use for the option."""
    try:
        first, second = pair(cls, name, option, supplied)
    except ConfigError as error:
        if not re.search(rf"\b{option}\b.*leave", str(error)):
            raise
        return
    assert differs(made(first), made(second)), f"{name}.{option} changes nothing"


@pytest.mark.parametrize(("name", "option"), options_of("backbone"))
def test_options_of_backbones(
    name: str, option: str, world: Dataset, table: Any, queries: Queries, supplied: dict[str, str]
) -> None:
    cls: Any = registry.find("backbone", name)

    def made(config: Config) -> list[Any]:
        seed_all(5)
        backbone: Backbone = cls(config, world.split.train)
        losses: list[Any] = []
        if cls.sampling == "none":
            backbone.fit(Fitting(world.split.train, table if cls.needs_text else None))
        else:
            backbone.read_catalogue(world.catalogue)
            backbone.start(world.split.train, table if cls.needs_text else None)
            joint = Joint(backbone, Aligner(Aligner.Config(), 0, 0))
            batches = backbone.batches(world.split.train, config.fit)
            losses = [list(e.losses.values()) for e in fit(joint, batches, config.fit, seed=1, device="cpu")]
        return [np.array(losses), backbone.eval().score(queries)]

    assert_effect(cls, name, option, supplied, made)


@pytest.mark.parametrize(("name", "option"), options_of("align"))
def test_options_of_aligners(name: str, option: str, world: Dataset, table: Any, supplied: dict[str, str]) -> None:
    cls: Any = registry.find("align", name)
    source: Any = registry.find("backbone", "sasrec" if name == "autoencoder" else "mf")
    values = {k: v for k, v in START.items() if k in source.Config.model_fields}

    def made(config: Config) -> list[Any]:
        seed_all(5)
        backbone: Backbone = source(build(source.Config, values | {"fit": FIT}), world.split.train)
        aligner: Any = aligner_for(cls, config, backbone, table)
        joint = Joint(backbone, aligner, table, frozen_backbone=name == "autoencoder")
        losses: list[Any] = []
        if "fit" in cls.Config.model_fields:
            options = build(FitConfig, FIT)
            aligner.start(backbone, table)
            batches = aligner.batches(backbone, world.split.train, options)
            losses = [list(e.losses.values()) for e in fit(joint, batches, options, seed=1, device="cpu")]
        elif cls.closed_form:
            aligner.fit(Fitting(world.split.train, table, backbone))
        joint.eval()
        deploy(joint)
        tables = {"items": backbone.item_embeddings().detach()}
        vectors = Embeddings.of(aligner.export(Fitting(world.split.train, table, tables=tables)))
        made = [vectors.items, vectors.items_from_text, vectors.item_codes]
        return [np.array(losses), *(table.detach().numpy() for table in made if table is not None)]

    assert_effect(cls, name, option, supplied, made)


@pytest.mark.parametrize(("name", "option"), [(n, o) for n, o in options_of("text") if n == "lsa"])
def test_options_of_texts(name: str, option: str, world: Dataset, supplied: dict[str, str]) -> None:
    """Those that all text sources share, and those of the source that needs no model."""
    cls: Any = registry.find("text", name)

    def made(config: Any) -> list[Any]:
        users = user_texts(world.catalogue, config) if config.users == "texts" else None
        encoder = cls(config, item_texts(world.catalogue, config), user_texts=users)
        tables = Embeddings(None if users is None else encoder.rows("users"), encoder.rows("items"))
        tables, _ = finish_rows(tables, world.split.train, config, 3)
        return [tables.items.numpy(), *([] if tables.users is None else [tables.users.numpy()])]

    assert_effect(cls, name, option, supplied, made)


@pytest.mark.parametrize(("name", "option"), options_of("ranker"))
def test_options_of_readers(
    name: str, option: str, world: Dataset, queries: Queries, inputs: RankerInputs, model_folder: str, table: Any
) -> None:
    cls: Any = registry.find("ranker", name)
    valid = world.split.queries("valid").slice(0, 40)
    inputs = replace(inputs, texts=table.items, categories=world.catalogue.items["categories"].to_list())

    def made(config: Any) -> list[Any]:
        seed_all(5)
        ranker = cls(config, inputs)
        losses: list[float] = []

        def loop(batches: Any, options: FitConfig) -> FitLog:
            epochs = fit(ranker, batches, options, seed=1, device="cpu")
            losses.extend(value for epoch in epochs for value in epoch.losses.values())
            return FitLog()

        ranker.fit(Fitting(world.split.train, loop=loop))
        ranker.calibrate(valid, world.split.valid.items[:40])
        candidates = np.random.default_rng(0).integers(0, world.split.train.num_items, (len(queries), 4))
        return [np.array(losses), ranker.eval().score(queries, candidates)]

    assert_effect(cls, name, option, {"model": model_folder} | TINY, made)


def test_options_that_are_tried_elsewhere_are_named_there() -> None:
    for option, file in ELSEWHERE.items():
        (path,) = Path(__file__).parents[1].rglob(file)
        text = path.read_text(encoding="utf-8")
        assert re.search(rf"\b{option.split('.')[-1]}\b", text), f"{file} says nothing of {option}"
