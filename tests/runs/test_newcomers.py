"""Who has no history gets what was measured: the recipe's own popularity, where it has one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import interlingua
from interlingua.data.queries import Queries
from interlingua.runs.scorers import retriever_of
from interlingua.runs.stages import run

LATE = {"name": "late", "backbone": {"name": "pop", "last_share": 0.1}}
RECIPES = {
    "of all times": ({"backbone": {"name": "pop"}}, False),
    "of late": ({"backbone": LATE["backbone"]}, True),
    "a fusion that knows it": ({"fuse": {"name": "logit", "members": [LATE, "itemknn"]}}, True),
    "a model of histories": ({"backbone": {"name": "itemknn"}}, False),
}


@pytest.mark.parametrize("name", RECIPES)
def test_a_newcomers_list_is_the_one_that_is_measured(tmp_path: Path, name: str) -> None:
    sections, late = RECIPES[name]
    data = {"name": "planted", "split": "global-time", "filter": {"min_user": 2, "min_item": 2}}
    session = run({"data": data, **sections, "evaluate": {"protocols": ["full"]}}, out=tmp_path, device="cpu")
    recommender, train = interlingua.load(session), session.data.split.train
    listed = [item.item_id for item in recommender.recommend(history=[], k=5)]
    ever = train.item_counts.astype(np.float64)
    recent = train.filter(train.times >= np.quantile(train.times, 0.9)).item_counts.astype(np.float64)
    order = np.argsort(-(recent if late else ever), kind="stable")
    assert listed == [str(train.item_ids[row]) for row in order[:5]]
    assert listed != [str(train.item_ids[row]) for row in np.argsort(-(ever if late else recent), kind="stable")[:5]]
    if name != "a model of histories":
        nothing: list[list[int]] = [[]]
        scores = retriever_of(session)[1].score(Queries.of(nothing))[0]
        assert listed == [str(train.item_ids[row]) for row in np.argsort(-scores, kind="stable")[:5]]
    assert {item.stage for item in recommender.recommend(history=[], k=5)} == {"popularity"}
