"""Whole runs on splits with unseen users: what is trained does not hang on them, and everything answers them."""

from __future__ import annotations

import numpy as np
import pytest

from interlingua.config import parse_overrides
from interlingua.runs import recipe as recipes
from interlingua.runs import stages

DATA = {"name": "planted", "options": {"num_users": 120, "num_items": 60}, "filter": {}}
SPLITS = {
    "few-shot": ["data.split=few-shot", "data.split.users=40"],
    "cold-users": ["data.split=cold-users", "data.split.fraction=0.3", "data.split.shown=1"],
}
BACKBONES = {
    "mf": {"embedding_dim": 8, "fit": {"epochs": 2}},
    "lightgcn": {"embedding_dim": 8, "fit": {"epochs": 2}},
    "sasrec": {"embedding_dim": 8, "max_history": 8, "fit": {"epochs": 2}},
    "ease": {},
    "itemknn": {},
    "ncf": {"embedding_dim": 8, "fit": {"epochs": 2}},
}


def run(tmp_path, backbone, split):
    data = parse_overrides(split)["data"]
    values = {
        "data": DATA | data,
        "backbone": {"name": backbone, **BACKBONES[backbone]},
        "evaluate": {"protocols": ["full", "sampled-20+expected"]},
    }
    return stages.run(recipes.resolve(values, backbone), out=tmp_path, seed=3, device="cpu")


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_every_backbone_answers_users_of_whom_it_knows_nothing(tmp_path, backbone, split):
    session = run(tmp_path, backbone, SPLITS[split])
    report = session.reports["full"]
    assert split in report.protocol
    assert report.n_users == len(session.data.split.test)
    assert np.isfinite(report.metrics["ndcg@10"])
    unseen = session.data.split.test.users
    assert (session.data.split.train.user_counts[unseen] == 0).all()
