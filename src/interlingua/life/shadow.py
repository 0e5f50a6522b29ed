"""The request log, asked again of two versions: how much their lists share, what they reach, how long they take.

Both are asked one after the other with today's items and events of the store, each first in turn, after one question
that warms them. Requests with a sentence are left out: it was not logged. Nothing of it is logged or served.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from interlingua.errors import DataError, InterlinguaError
from interlingua.life.interleaving import INTERLEAVED, Preference, preference
from interlingua.life.overlap import common, rank_biased_overlap
from interlingua.progress import track

if TYPE_CHECKING:
    from interlingua.recommender import Recommender
    from interlingua.store import Logged, Store

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True)
class Shadow:
    """The report."""

    old: str
    new: str
    requests: int
    """that both answered"""
    refused: dict[str, int]
    """version -> requests that it refused (users or columns that it does not know)"""
    without: int
    """requests with a sentence, left out"""
    overlap: float | None
    """mean share of the items that both lists have"""
    ranked_overlap: float | None
    """mean rank-biased overlap"""
    equal: float | None
    """share of the requests with the same list"""
    coverage: dict[str, float]
    """version -> share of its catalogue that came out at least once"""
    latency_ms: dict[str, dict[str, float]]
    """version -> p50, p95, p99 of an answer, without HTTP"""
    preference: Preference | None = None
    """what interleaved lists say, where there are some"""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"preference": None if self.preference is None else self.preference.to_json()}


def shadow(old: Recommender, new: Recommender, store: Store, *, limit: int = 1000) -> Shadow:
    """See the module.

    Args:
        old: the version that serves.
        new: the other one.
        store: whose requests are asked, and whose interleaved lists are judged.
        limit: the newest so many.

    Raises:
        DataError: the log is empty.
    """
    newest = int(store.counters()["requests"])
    logged = store.requests(since=max(0, newest - limit), limit=limit)
    if not logged:
        raise DataError(
            f"the store {store.place} has no requests; start the service with --log-requests 0.1 (a tenth of the users)"
        )
    both = (old, new)
    asked_for = [each for each in logged if not each.request.get("with_text")]
    for each in both:
        each.recommend(history=[], k=1)
    seconds: tuple[list[float], list[float]] = ([], [])
    out: tuple[set[str], set[str]] = (set(), set())
    refused, shares, ranked, equal = [0, 0], list[float](), list[float](), list[bool]()
    for number, entry in enumerate(track(asked_for, "replay")):
        lists: list[list[str] | None] = [None, None]
        for side in (0, 1) if number % 2 else (1, 0):
            started = time.perf_counter()
            lists[side] = _listed(both[side], entry)
            if lists[side] is None:
                refused[side] += 1
                continue
            seconds[side].append(time.perf_counter() - started)
            out[side].update(lists[side] or ())
        one, other = lists
        if one is not None and other is not None:
            shares.append(common(one, other))
            ranked.append(rank_biased_overlap(one, other))
            equal.append(one == other)
    names = (old.version, new.version)
    judged = preference(store, *names, praised=lambda value: all(each.praised(value) for each in both))
    return Shadow(
        *names, len(shares), dict(zip(names, refused, strict=True)), len(logged) - len(asked_for), _mean(shares),
        _mean(ranked), _mean(equal),
        {each.version: len(items) / each.train.num_items for each, items in zip(both, out, strict=True)},
        {name: _quantiles(taken) for name, taken in zip(names, seconds, strict=True)},
        judged if judged.lists else None,
    )  # fmt: skip


def _listed(recommender: Recommender, entry: Logged) -> list[str] | None:
    """Item ids for a logged request; None: the version refuses it."""
    options: Mapping[str, Any] = {name: value for name, value in entry.request.items() if name != INTERLEAVED}
    history = options.get("history")
    options = {name: value for name, value in options.items() if name != "history"}
    try:
        answer = recommender.answer(entry.user_id if history is None else None, history, **options)
    except InterlinguaError:
        return None
    return [one.item_id for one in answer.items]


def _mean(values: list[Any]) -> float | None:
    return float(np.mean(values)) if values else None


def _quantiles(seconds: list[float]) -> dict[str, float]:
    """p50, p95, p99 in milliseconds."""
    if not seconds:
        return {}
    return {name: round(1000 * float(np.quantile(seconds, at)), 3) for name, at in QUANTILES.items()}
