"""Small methods of every kind, their runs saved and taken away from home: what the tests of saved models share."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import interlingua
from interlingua.data.memory import as_source
from interlingua.data.sources.planted import generate
from interlingua.lm.template import FOLDER
from interlingua.recommender import Recommender
from interlingua.runs import recipe as recipes
from interlingua.runs import stages

WORLD = generate(num_users=50, num_items=40, seed=5)
USER, TIME = "customer-{}-zebra", 987_650_000
EVENTS = pl.DataFrame(
    {
        "user_id": [USER.format(u) for u in WORLD.interactions.users],
        "item_id": [f"i{i}" for i in WORLD.interactions.items],
        "timestamp": WORLD.interactions.times + TIME,
    }
)
ITEMS = WORLD.catalogue.items.with_columns(pl.Series("item_id", [f"i{i}" for i in range(40)]))
FIT = {"epochs": 1, "patience": None}
MF = {"name": "mf", "embedding_dim": 6, "fit": FIT}
LSA = {"name": "lsa", "dim": 8}
SASREC = {"name": "sasrec", "embedding_dim": 8, "max_history": 6, "num_blocks": 1, "fit": FIT}
STEPS = FIT | {"steps_per_epoch": 2, "batch_size": 8}
SOFT = {
    "name": "soft-prompt",
    "model": "LM",
    "history_length": 3,
    "num_candidates": 4,
    "max_title_tokens": 4,
    "fit": STEPS,
}
KV = {"name": "kv-prompt", "model": "LM", "history_length": 3, "fraction": 1.0, "fit": STEPS}
RIDGE = {"text": LSA, "align": {"name": "ridge", "frozen": ["backbone"]}}
METHODS: dict[str, dict[str, Any]] = {
    "pop": {"backbone": {"name": "pop"}},
    "itemknn": {"backbone": {"name": "itemknn"}},
    "ease": {"backbone": {"name": "ease"}},
    "mf": {"backbone": MF},
    "lightgcn": {"backbone": {"name": "lightgcn", "embedding_dim": 6, "fit": FIT}},
    "sasrec": {"backbone": SASREC},
    "textknn": {"backbone": {"name": "textknn"}, "text": LSA},
    "given": {"backbone": {"name": "pretrained", "items": "VECTORS", "users": "USERS"}},
    "aligned": {"backbone": MF, **RIDGE, "evaluate": {"candidate_source": "aligned", "protocols": ["full"]}},
    "joint": {"backbone": MF, "text": LSA | {"users": "items"}, "align": {"name": "contrastive", "frozen": []}},
    "texts": {
        "backbone": {"name": "l3ae", "weights": {"more": 0.5}},
        "text": LSA,
        "texts": {"more": LSA | {"dim": 4}},
    },
    "logit": {"fuse": {"name": "logit", "members": [{"backbone": {"name": "itemknn"}}, {"backbone": MF}]}},
    "soft": {"backbone": MF, **RIDGE, "ranker": SOFT | {"template": "TEMPLATE"}},
    "lora": {"backbone": SASREC, **RIDGE, "ranker": SOFT | {"tune": "lora"}},
    "kv": {"backbone": MF, "ranker": KV},
    "fused": {"fuse": {"name": "sum", "members": [{"backbone": {"name": "itemknn"}}, {"backbone": MF}]}},
}
HISTORY = ["i3", "i8", "i21"]


@dataclass
class Saved:
    """A model away from home, and what the run answered at home."""

    folder: Path
    options: dict[str, Any]
    answers: Any


def answers(recommender: Recommender) -> Any:
    return (
        recommender.recommend(history=HISTORY, k=8),
        recommender.recommend(histories={"a": HISTORY, "b": ["i1"]}, k=5).to_dicts(),
        recommender.recommend(history=[], k=3),
        recommender.similar_items("i3", k=12),
        recommender.session.metrics,
        recommender.session.intervals,
    )


def values_of(name: str, given: dict[str, str]) -> dict[str, Any]:
    values = {"evaluate": {"protocols": ["full"], "retrieve": 8}, "data": {"name": given["DATA"]}} | METHODS[name]
    text = json.dumps(values)
    for word, place in given.items():
        text = text.replace(f'"{word}"', json.dumps(place))
    return json.loads(text)


def made_at_home(home: Path) -> dict[str, str]:
    """The raw data and everything else that lies on the customer's machine."""
    from interlingua.testing.tiny_models import build, tokenizer_of

    build("smollm2").save_pretrained(home / "small-lm")
    tokenizer_of(False).save_pretrained(home / "small-lm")
    rows = np.random.default_rng(0)
    for side, ids in (("items", ITEMS["item_id"]), ("users", EVENTS["user_id"].unique(maintain_order=True))):
        vectors = rows.normal(size=(len(ids), 5)).astype(np.float32)
        pl.DataFrame({"id": ids, "vector": vectors.tolist()}).write_parquet(home / f"{side}.parquet")
    shutil.copyfile(FOLDER / "next-item.txt", home / "mine.txt")
    with (home / "mine.txt").open("a", encoding="utf-8") as stream:
        stream.write("Choose well. ")
    data = as_source({"interactions": EVENTS, "items": ITEMS}, home / "frames")
    places = {"LM": "small-lm", "TEMPLATE": "mine.txt", "VECTORS": "items.parquet", "USERS": "users.parquet"}
    return {"DATA": str(data), **{word: str(home / name) for word, name in places.items()}}


def saving(given: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Saved]:
    """Runs a method, saves it, moves the folder away and deletes the runs."""
    known: dict[str, Saved] = {}

    def make(name: str) -> Saved:
        if name not in known:
            root = tmp_path_factory.mktemp("runs")
            recipe = recipes.resolve(values_of(name, given), name)
            recommender = interlingua.load(stages.run(recipe, out=root / "runs", seed=3, device="cpu"))
            before = answers(recommender)
            recommender.save_pretrained(root / "model")
            away = tmp_path_factory.mktemp("away") / "model"
            shutil.move(root / "model", away)
            shutil.rmtree(root)
            lm = tmp_path_factory.mktemp("other") / "small-lm"
            shutil.copytree(given["LM"], lm)
            known[name] = Saved(away, {"models": {"./small-lm": str(lm)}, "device": "cpu"}, before)
        return known[name]

    return make


def contents(folder: Path) -> str:
    """All that can be read in a folder: bytes, and the cells of its tables."""
    text = []
    for path in folder.rglob("*"):
        if path.is_file():
            text.append(str(path) + path.read_bytes().decode("latin-1"))
        if path.suffix == ".parquet":
            text.append(pl.read_parquet(path).write_json())
    return "\n".join(text)
