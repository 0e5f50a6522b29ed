"""What early stopping measures of a ranker while it is fitted, and which rankers it may stop."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from interlingua.config import FitConfig
from interlingua.contracts.batch import FloatArray
from interlingua.contracts.ranker import Ranker
from interlingua.data.queries import IntArray, Queries
from interlingua.data.sources.planted import generate
from interlingua.errors import ConfigError
from interlingua.rankers.collm import CollmConfig
from interlingua.runs import recipe as recipes
from interlingua.runs.ranker_validation import check_of

WORLD = generate(num_users=60, num_items=40, seed=1)
LABELS = {"name": "planted", "options": {"num_users": 60, "num_items": 40, "ratings": True}, "label": {"at_least": 4.0}}


class Oracle(Ranker):
    """Knows the held-out items, and asks for lists or pairs as a test says."""

    def __init__(self, validation: Any, catalogue: bool, split: Any = WORLD.split) -> None:
        self.validation, self.ranks_catalogue, self.split = validation, catalogue, split  # type: ignore[misc]
        self.config = CollmConfig()
        self.num_items, self.asked = split.train.num_items, list[Any]()

    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """1 for what the user liked, 0 else."""
        self.asked.append(None if items is None else np.asarray(items).shape[1])
        pairs = self.split.valid_pairs or self.split.valid
        good = pairs.labels if pairs.labels is not None else np.ones(len(pairs.items), bool)
        known = set(zip(pairs.users[pairs.owners][good].tolist(), pairs.items[good].tolist(), strict=True))
        listed = np.tile(np.arange(self.num_items), (len(queries), 1)) if items is None else np.asarray(items)
        found = [[(int(u), int(i)) in known for i in row] for u, row in zip(queries.users, listed, strict=True)]
        return np.array(found, np.float32)


def test_a_ranker_of_the_catalogue_is_measured_over_all_items_and_others_among_candidates() -> None:
    whole, few = Oracle("ranking", True), Oracle("ranking", False)
    for ranker in (whole, few):
        measured = check_of(ranker, WORLD.split)
        assert measured is not None
        assert measured()["ndcg@10"] == 1.0
    assert set(whole.asked) == {None}
    assert set(few.asked) == {20}
    assert check_of(Oracle("none", True), WORLD.split) is None


def test_pairs_are_measured_by_their_labels_where_there_are_some() -> None:
    pairs = WORLD.split.valid
    liked = np.arange(len(pairs.items)) % 2 == 0
    split = replace(WORLD.split, valid_pairs=replace(pairs, labels=liked))
    measured = check_of(Oracle("pairs", False, split), split)
    assert measured is not None
    assert measured() == {"auc": 1.0}
    both = Oracle("pairs", False, split)
    both.config = CollmConfig(fit=FitConfig(metric="uauc"))
    measured = check_of(both, split)
    assert measured is not None
    assert set(measured()) == {"auc", "uauc"}
    without = check_of(Oracle("pairs", False), WORLD.split)
    assert without is not None
    assert without()["hit@1"] == 1.0


def test_a_metric_of_labels_is_refused_before_training_where_there_are_none() -> None:
    ranker = Oracle("pairs", False)
    for metric in ("auc", "ndcg@10"):
        ranker.config = CollmConfig(fit=FitConfig(patience=2, metric=metric))
        if metric == "auc":
            with pytest.raises(ConfigError, match=r"no labels.*data\.label\.at_least"):
                check_of(ranker, WORLD.split)
        else:
            assert check_of(ranker, WORLD.split) is not None


def test_patience_is_for_rankers_that_are_validated() -> None:
    def resolved(name: str) -> recipes.Recipe:
        ranker = {"name": name, "fit": {"patience": 2, "metric": "auc"}}
        return recipes.resolve({"data": LABELS, "backbone": {"name": "mf"}, "ranker": ranker})

    with pytest.raises(ConfigError, match=r"\[ranker\].fit.patience: 'soft-prompt' is trained for all its epochs"):
        resolved("soft-prompt")
    for name in ("llm-srec", "e4srec", "llmgr", "gal-rec", "mixrec", "collm", "binllm"):
        assert resolved(name).ranker is not None
