"""Items after training: the world, its three items without events, and recipes of every kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl
import torch

from interlingua.data.queries import Queries
from interlingua.data.sources.planted import generate
from interlingua.recommender import Recommender
from interlingua.runs.scorers import scorer_of
from interlingua.vectors.fields import TextConfig
from interlingua.vectors.frozen import FrozenRows

WORLD = generate(num_users=60, num_items=40, seed=3)
COLD = (3, 17, 29)
"""items whose events are all held out"""
FIT = {"epochs": 2, "patience": None}
LSA = {"name": "lsa", "dim": 12}
SASREC = {"name": "sasrec", "embedding_dim": 8, "max_history": 8, "num_blocks": 1, "fit": FIT}
RECFORMER_FIT = FIT | {"second_stage_epochs": 0, "learning_rate": 1e-9}
"""so slow that the item vectors, made when an epoch begins, are those of the encoder as it ends"""
MF = {"name": "mf", "embedding_dim": 8, "fit": FIT}
LIGHTGCN = {"name": "lightgcn", "embedding_dim": 8, "num_layers": 2, "fit": FIT}
ALIGNED = {"candidate_source": "aligned", "protocols": ["full"]}
TINY = {"model": "ENCODER"}
MEMBERS = [
    {"name": "pop", "backbone": {"name": "pop"}},
    {"name": "itemknn", "backbone": {"name": "itemknn"}},
    {"name": "ease", "backbone": {"name": "ease"}},
    {"name": "sasrec", "backbone": SASREC},
    {"name": "textknn", "backbone": {"name": "textknn"}, "text": LSA},
]
RECIPES: dict[str, dict[str, Any]] = {
    "textknn": {"backbone": {"name": "textknn"}, "text": LSA},
    "textknn-item": {"backbone": {"name": "textknn", "variant": "item", "neighbours": 8}, "text": LSA},
    "textknn-reduced": {"backbone": {"name": "textknn"}, "text": LSA | {"reduce": 5}},
    "textknn-sbert": {"backbone": {"name": "textknn"}, "text": {"name": "sbert", "model": "ENCODER"}},
    "ridge": {"backbone": MF, "text": LSA, "align": {"name": "ridge", "frozen": ["backbone"]}},
    "a-llmrec": {
        "backbone": SASREC, "text": LSA, "evaluate": ALIGNED,
        "align": {"name": "autoencoder", "latent_dim": 6, "frozen": ["backbone"], "fit": FIT},
    },
    "rlmrec": {
        "backbone": LIGHTGCN, "text": LSA | {"users": "items"}, "align": {"name": "contrastive"}, "evaluate": ALIGNED,
    },
    "alpharec": {"backbone": LIGHTGCN, "text": LSA | {"users": "items"}, "align": {"name": "replace"}},
    "morec": {"backbone": SASREC, "text": LSA, "align": {"name": "replace"}},
    "morec-trained": {
        "backbone": SASREC | {"loss": "in-batch"}, "text": TINY | {"name": "sbert", "trainable": True},
        "align": {"name": "morec", "fit": FIT | {"encoder_learning_rate": 0.01}},
    },
    "faerec": {
        "backbone": {"name": "faerec", "embedding_dim": 8, "max_history": 8, "num_blocks": 1, "fit": FIT}, "text": LSA,
    },
    "llm-esr": {
        "backbone": {"name": "llm-esr", "embedding_dim": 8, "max_history": 8, "num_blocks": 1, "fit": FIT}, "text": LSA,
    },
    "mmrec": {
        "backbone": {"name": "mmrec", "embedding_dim": 8, "layers": [8], "texts": ["other"], "fit": FIT}, "text": LSA,
        "texts": {"other": LSA | {"fields": ["title"]}},
    },
    "recformer": {
        "backbone": {"name": "recformer", "embedding_dim": 8, "num_blocks": 1, "max_history": 8, "fit": RECFORMER_FIT},
    },
    "tiger": {
        "backbone": {"name": "tiger", "embedding_dim": 8, "max_history": 8, "num_blocks": 1, "fit": FIT}
        | {"quantiser": {"size": 8, "epochs": 3}, "same_codes": 1}, "text": LSA,
    },
    "rrf": {"fuse": {"name": "rrf", "members": MEMBERS}},
    "sum": {"fuse": {"name": "sum", "members": [MEMBERS[0], MEMBERS[2], MEMBERS[4]]}},
    "logit": {"fuse": {"name": "logit", "members": MEMBERS}},
}  # fmt: skip


class Letters(FrozenRows):
    """Counts of letters as unit vectors: every text by itself, on one scale."""

    kind = "text"
    Config = TextConfig

    def __init__(self, config: TextConfig, texts: Sequence[str], **_: Any) -> None:
        super().__init__(self.encode(texts))
        self.config = config

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        counts = torch.tensor([[text.count(letter) for letter in "abcdefghiklmnoprstuvwy"] for text in texts])
        return torch.nn.functional.normalize(counts.reshape(-1, 22).double(), dim=1).float()


def events(without: tuple[int, ...] = ()) -> pl.DataFrame:
    """The planted events; all of the cold items' are test, and each user's last other one is validation."""
    known = WORLD.interactions
    frame = pl.DataFrame({"user_id": known.users, "item_id": known.items, "timestamp": known.times})
    cold = pl.col("item_id").is_in(COLD)
    last = (pl.col("timestamp") == pl.col("timestamp").filter(~cold).max().over("user_id")) & ~cold
    part = pl.when(cold).then(pl.lit("test")).when(last).then(pl.lit("valid")).otherwise(pl.lit("train"))
    frame = frame.with_columns(part.alias("part")).filter(~pl.col("item_id").is_in(without))
    return frame.with_columns(
        pl.format("u{}", "user_id").alias("user_id"), pl.format("i{}", "item_id").alias("item_id")
    )


def items(without: tuple[int, ...] = ()) -> pl.DataFrame:
    named = WORLD.catalogue.items.with_columns(pl.Series("item_id", [f"i{i}" for i in range(40)]))
    return named.filter(~pl.Series(range(40)).is_in(without))


Make = Callable[..., Recommender]


def line(item: int, **more: Any) -> dict[str, Any]:
    """What a shop knows of an item of the world."""
    return items().row(item, named=True) | more


def scores(made: Recommender, histories: list[list[str]]) -> np.ndarray:
    """(B, I) of the grown run."""
    known = made.train.item_indices
    queries = Queries.of([[known[item] for item in history] for history in histories])
    return scorer_of(made._lists.session).score(queries)


HISTORIES = [["i1", "i2", "i5"], ["i9"], ["i30", "i11", "i8", "i7"]]
