"""What every protocol promises: a name that says it all, and numbers of its own metrics that a better scorer raises."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from interlingua import registry
from interlingua.contracts.scorer import Scorer
from interlingua.data.prepare import prepare
from interlingua.data.prepared import Dataset
from interlingua.data.queries import Queries
from interlingua.data.split import Split
from interlingua.evaluate.named import best
from interlingua.evaluate.protocol import evaluate
from interlingua.evaluate.rules import parse_protocol

NAMES = [f"{n}-20" if registry.find("protocol", n).numbered else n for n in registry.names("protocol")]


@pytest.fixture(scope="module")
def labelled() -> Split:
    """Events that people liked or not."""
    rng = np.random.default_rng(5)
    users, items = np.repeat(np.arange(30), 10), np.concatenate([rng.permutation(20)[:10] for _ in range(30)])
    frame = pl.DataFrame(
        {
            "user_id": [f"u{n}" for n in users],
            "item_id": [f"i{n}" for n in items],
            "timestamp": 1_600_000_000 + rng.permutation(300),
            "rating": rng.integers(1, 6, 300).astype(float),
        }
    )
    return prepare(frame, label={"at_least": 4}, split="global-time", quiet=True).split


@pytest.fixture
def split_for(world: Dataset, labelled: Split) -> Any:
    """``split_for(name)``: a split that the protocol can judge."""
    return lambda name: labelled if "labels" in parse_protocol(name).judges else world.split


class Oracle(Scorer):
    """Knows the held-out items; ``noise`` on top makes it worse."""

    def __init__(self, split: Split, noise: float) -> None:
        self.num_items, self.noise = split.train.num_items, noise
        self.right = np.zeros((split.train.num_users, self.num_items), np.float32)
        held = split.test
        self.right[held.users[held.owners], held.items] = 1.0

    def score(self, queries: Queries, items: Any = None) -> np.ndarray:
        wrong = np.random.default_rng(1).normal(size=self.right.shape).astype(np.float32)
        scores = (self.right + self.noise * wrong)[queries.users]
        return scores if items is None else np.take_along_axis(scores, np.asarray(items), axis=1)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_named_and_its_id_begins_with_the_name(name: str, split_for: Any) -> None:
    protocol = parse_protocol(name)
    assert protocol.name == name
    assert protocol.metrics
    assert protocol.id(split_for(name), "test", 3).split("; ")[0] == name


@pytest.mark.parametrize("name", NAMES)
def test_its_own_metrics_are_measured_and_who_knows_the_answers_wins(name: str, split_for: Any) -> None:
    split = split_for(name)
    right, wrong = (evaluate(Oracle(split, noise), split, protocol=name, resamples=0) for noise in (0.0, 50.0))
    assert set(right.metrics) == set(parse_protocol(name).metrics)
    for metric, value in right.metrics.items():
        assert np.isfinite(value), metric
        assert best(metric, [value, wrong.metrics[metric]]) == value, metric
    assert right.metrics != wrong.metrics


@pytest.mark.parametrize("name", NAMES)
def test_numbers_do_not_hang_on_how_many_users_are_asked_at_once(name: str, split_for: Any) -> None:
    split = split_for(name)
    one, all_at_once = (evaluate(Oracle(split, 1.0), split, protocol=name, batch_users=n) for n in (7, None))
    assert one.metrics == all_at_once.metrics
    assert one.protocol == all_at_once.protocol
