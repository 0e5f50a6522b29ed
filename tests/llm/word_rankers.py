"""A tiny model, and inputs for rankers that answer in words."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from interlingua.contracts.ranker import RankerInputs
from interlingua.data.domain import Domain
from interlingua.data.interactions import Interactions
from interlingua.lm.models import LanguageModel
from interlingua.testing.tiny_models import TITLES, build, tokenizer_of

ITEMS, USERS = len(TITLES), 14


def tiny_folder(folder: Any) -> str:
    build("llama").save_pretrained(folder)
    tokenizer_of().save_pretrained(folder)
    return str(folder)


def rated() -> Interactions:
    """Eight events of each user; every third is not liked. The next item is the previous one plus one."""
    users = np.repeat(np.arange(USERS), 8)
    items = (np.tile(np.arange(8), USERS) + users) % ITEMS
    events = Interactions.of(np.arange(USERS).astype(str), np.arange(ITEMS).astype(str), users, items)
    return replace(events, labels=np.tile(np.arange(8) % 3 != 1, USERS))


def inputs(train: Interactions | None = None) -> RankerInputs:
    train = rated().liked() if train is None else train
    table = torch.randn(ITEMS, 6, generator=torch.Generator().manual_seed(3))
    return RankerInputs(
        titles=TITLES, domain=Domain("movie", "watch", "watched"), train=train, items=table, items_from_text=None,
        user_embeddings=None, user_dim=0,
    )  # fmt: skip


def plain_loss(lm: LanguageModel, ids: list[int], counted: int) -> tuple[float, int]:
    """Sum of the plain model's cross-entropy over the last tokens of a text, and how many they are."""
    tokens = torch.tensor([ids])
    labels = tokens.clone()
    labels[:, : len(ids) - counted] = -100
    with torch.no_grad():
        loss = lm.model(inputs_embeds=lm.embed(tokens), labels=labels).loss
    count = min(counted, len(ids) - 1)  # nothing predicts the first
    return float(loss) * count, count
