"""Variants of protocols, written behind their names: ``sampled-20+expected+shuffled``.

Each asks one question of a method, by changing one thing while users, targets and candidates stay the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from interlingua.data.interactions import Ids
from interlingua.data.queries import Queries
from interlingua.evaluate.candidates import GOLDEN, Keys, mix, user_keys


@dataclass(frozen=True)
class Variant:
    """One variant."""

    about: str
    """what it changes, in a line"""
    changes: Mapping[str, Any]
    """fields of a protocol"""


VARIANTS = {
    "expected": Variant("Equal scores: the exact expectation over all orders of tied items.", {"ties": "expected"}),
    "shuffled": Variant(
        "Histories in a random order: does a method read the order?", {"history": "shuffled"}
    ),
    "last": Variant(
        "Histories of their last event alone: what is known of a user after one click?", {"history": "last"}
    ),
    "empty": Variant(
        "Histories hidden, users unknown: what does a newcomer get?", {"history": "empty"}
    ),
    "permuted": Variant(
        "Prompts list the candidates in another order: does their place count?", {"order": 1}
    ),
}  # fmt: skip
"""name -> variant, in the order in which names are written"""


def is_question(protocol: str) -> bool:
    """Whether a protocol's name has a variant that shows a method something else; ties are only counted otherwise."""
    return any(set(VARIANTS[each].changes) != {"ties"} for each in protocol.split("+")[1:] if each in VARIANTS)


def varied(queries: Queries, history: str, ids: Ids, seed: int) -> Queries:
    """The queries as a variant shows them to a method.

    Args:
        queries: B users with histories.
        history: ``own``, ``shuffled``, ``last`` or ``empty``.
        ids: (B,) their external ids.
        seed: of random orders.
    """
    if history == "shuffled":
        return shuffled(queries, ids, seed)
    if history == "empty":
        return replace(queries.without_histories(), users=np.full(len(queries), -1, np.int64))
    if history == "last":
        some = queries.lengths() > 0
        offsets = np.concatenate([[0], np.cumsum(some)]).astype(np.int64)
        unknown = np.full(len(queries), -1, np.int64)
        return queries.at(queries.offsets[1:][some] - 1, unknown, offsets)
    return queries


def shuffled(queries: Queries, ids: Ids, seed: int) -> Queries:
    """The queries with each history in a random order, which (seed, user id) decide; times stay in their places.

    Args:
        queries: B users with histories.
        ids: (B,) their external ids.
        seed: of the order.
    """
    keys: Keys = user_keys(ids, seed, "history")
    owner = np.repeat(np.arange(len(queries)), queries.lengths())
    first = queries.offsets[:-1][owner]
    place = (np.arange(len(queries.items)) + int(queries.offsets[0]) - first).astype(np.uint64)
    order = np.lexsort((mix(keys[owner] + (place + np.uint64(1)) * GOLDEN), owner))
    ratings = None if queries.ratings is None else queries.ratings[order]
    return replace(queries, items=queries.items[order], ratings=ratings)
