"""A small world for rankers that read vectors with a tiny language model."""

from __future__ import annotations

import numpy as np
import torch

from interlingua.config import FitConfig
from interlingua.contracts.batch import Batch
from interlingua.contracts.ranker import RankerInputs
from interlingua.data.domain import Domain
from interlingua.data.interactions import Interactions
from interlingua.data.queries import Queries
from interlingua.rankers.sequence_head import SequenceHead
from interlingua.rankers.soft_prompt import SoftPrompt
from interlingua.testing.tiny_models import TITLES

ITEMS, USERS, WIDTH = len(TITLES), 14, 6
MODES = {
    "likelihood": {},
    "sequence": {"cls": SequenceHead},
    "both": {"template": "next-item-vectors", "scoring": "head", "head_weight": 1.0, "lm_weight": 0.5},
    "distilled": {"cls": SequenceHead, "head_weight": 0.0, "distill_weight": 1.0, "fuse_scores": True},
    "none": {"cls": SequenceHead, "lm_weights": "none"},
    "several": {"answers_per_prompt": 2, "num_candidates": 5, "head_weight": 1.0, "distill_weight": 0.5},
}


def events(cold: int = 1):
    """The next item is the previous one plus one; the last ``cold`` items never occur."""
    warm = ITEMS - cold
    users = np.repeat(np.arange(USERS), 8)
    items = (np.tile(np.arange(8), USERS) + np.repeat(np.arange(USERS), 8)) % warm
    ids = [str(i) for i in range(ITEMS)]
    return Interactions.of(np.array([str(u) for u in range(USERS)]), np.array(ids), users, items)


def inputs(**changes):
    generator = torch.Generator().manual_seed(3)
    table = torch.randn(ITEMS, WIDTH, generator=generator)
    text = table + 0.3 * torch.randn(ITEMS, WIDTH, generator=generator)

    def user_embeddings(queries: Queries) -> torch.Tensor:
        rows = [table[torch.as_tensor(np.asarray(queries.history(b), np.int64))].mean(0) for b in range(len(queries))]
        return torch.stack(rows) if rows else torch.zeros(0, WIDTH)

    def base_score(queries: Queries, items=None):
        scores = (user_embeddings(queries) @ table.T).numpy()
        return scores if items is None else np.take_along_axis(scores, np.asarray(items), 1)

    train = events()
    given = {
        "titles": TITLES, "domain": Domain("movie", "watch", "watched"), "train": train, "items": table,
        "items_from_text": text, "user_embeddings": user_embeddings, "user_dim": WIDTH, "base_score": base_score,
        "cold_items": train.item_counts == 0,
    }  # fmt: skip
    return RankerInputs(**(given | changes))


def make(folder, seed=1, given=None, cls=SoftPrompt, **options):
    torch.manual_seed(seed)
    common = {"history_length": 5, "fit": FitConfig(learning_rate=1e-3, batch_size=4)}
    if cls is SoftPrompt:
        common["num_candidates"] = 4
    return cls(cls.Config(model=folder, **common | options), given or inputs())


def first_batch(ranker, seed=0) -> Batch:
    return next(iter(ranker.batches(0, np.random.default_rng(seed))))


def asked():
    return Queries.of([[0, 1, 2], [4], [3, 4, 5, 6, 7, 8, 9]], np.array([0, -1, 2]))
