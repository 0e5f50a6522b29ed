"""The test part is sealed: other test items leave every trained file as it was, bit for bit, in every stage."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interlingua.data.prepare import save
from interlingua.data.prepared import Dataset, fingerprint
from interlingua.data.sources.planted import generate
from interlingua.data.splitting import PARTS
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.session import Session

FIT: dict[str, Any] = {"epochs": 3, "batch_size": 64}
STOPPED = FIT | {"epochs": 4, "evaluate_every": 1, "patience": 1}
MF: dict[str, Any] = {"name": "mf", "embedding_dim": 8, "fit": STOPPED}
SASREC: dict[str, Any] = {"name": "sasrec", "embedding_dim": 8, "max_history": 8, "num_blocks": 1, "fit": STOPPED}
LIGHTGCN: dict[str, Any] = {"name": "lightgcn", "embedding_dim": 8, "num_layers": 1, "fit": STOPPED}
LSA: dict[str, Any] = {"name": "lsa", "dim": 8}
LATENT: dict[str, Any] = {"name": "autoencoder", "latent_dim": 8, "frozen": ["backbone"], "fit": FIT | {"epochs": 2}}
READ: dict[str, Any] = {"history_length": 3, "fit": {"epochs": 2, "steps_per_epoch": 2, "batch_size": 4}}
RECIPES: dict[str, dict[str, Any]] = {
    "closed form": {"backbone": {"name": "ease"}},
    "neighbours in texts": {"text": LSA, "backbone": {"name": "textknn"}},
    "stopped early": {"backbone": MF},
    "a map in closed form": {"text": LSA, "backbone": SASREC, "align": {"name": "ridge"}},
    "trained along with texts": {
        "text": LSA | {"users": "items"}, "backbone": LIGHTGCN,
        "align": {"name": "contrastive", "contrast_anchors": 16},
    },
    "a head over sequences, mixed": {
        "text": LSA, "backbone": SASREC, "align": LATENT,
        "ranker": READ | {"name": "soft-prompt", "template": "sequence", "scoring": "head",
        "head_weight": 1.0, "fuse_scores": True},
    },
    "prompts of titles": {
        "text": LSA, "backbone": SASREC, "align": LATENT,
        "ranker": READ | {"name": "soft-prompt", "num_candidates": 4, "max_title_tokens": 6},
    },
    "keys and values": {"text": LSA, "backbone": SASREC, "ranker": READ | {"name": "kv-prompt"}},
}  # fmt: skip
ALWAYS_OTHER = {"card.json", "config.toml"}
"""they name the data, which is another one"""


def with_other_test_items(world: Dataset, seed: int) -> Dataset:
    """The same events but for the test part, whose items are drawn anew among those that the user never had."""
    events, random = world.interactions, np.random.default_rng(seed)
    items = events.items.copy()
    for place in np.flatnonzero(world.parts == PARTS.index("test")):
        own = events.items[events.users == events.users[place]]
        items[place] = random.choice(np.setdiff1d(np.arange(events.num_items), own))
    changed = replace(events, items=items)
    card = world.card | {"fingerprint": fingerprint(changed, world.catalogue, world.parts, world.split.protocol)}
    return replace(world, interactions=changed, card=card)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two prepared datasets that differ in their test items alone."""
    world = generate(num_users=60, num_items=50, seed=5, history=8)
    folder = tmp_path_factory.mktemp("sealed")
    return [save(made, folder / str(at)) for at, made in enumerate((world, with_other_test_items(world, 1)))]


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    pytest.importorskip("transformers")
    from interlingua.testing.tiny_models import build, tokenizer_of

    folder = tmp_path_factory.mktemp("lm")
    build("smollm2").save_pretrained(folder)
    tokenizer_of(False).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def run(language_model: str, tmp_path: Path) -> Callable[[dict[str, Any], Path], Session]:
    def make(parts: dict[str, Any], data: Path) -> Session:
        values = {"data": {"name": str(data)}, "evaluate": {"retrieve": 4, "max_users": 20}} | parts
        if "ranker" in values:
            values["ranker"] = values["ranker"] | {"model": language_model}
        return stages.run(recipes.resolve(values, "sealed"), out=tmp_path / "runs", seed=3, device="cpu")

    return make


def trained(session: Session, kind: str) -> dict[str, str]:
    """File -> hash of what a stage made, without what only says where it came from or how long it took."""
    lines = {name: value for name, value in session.done[kind].card["files"].items() if name not in ALWAYS_OTHER}
    lines.pop("log.jsonl", None)  # has seconds
    return lines


@pytest.mark.parametrize("name", RECIPES)
def test_other_test_items_leave_every_trained_file_bitwise_equal(name: str, folders: list[Path], run: Any) -> None:
    one, other = (run(RECIPES[name], folder) for folder in folders)
    assert one.done["prepare"].key != other.done["prepare"].key
    assert not np.array_equal(one.data.split.test.items, other.data.split.test.items)
    made = [kind for kind in one.done if kind not in ("prepare", "evaluate")]
    assert made
    for kind in made:
        files = trained(one, kind)
        assert files
        assert files == trained(other, kind), kind
    full = [s.done["evaluate"].path / "metrics.json" for s in (one, other)]
    assert full[0].read_text() != full[1].read_text()  # they were measured on different answers


def test_each_kind_of_stage_is_sealed_by_some_recipe() -> None:
    sections = {section for parts in RECIPES.values() for section in parts}
    assert sections == {"text", "backbone", "align", "ranker"}
