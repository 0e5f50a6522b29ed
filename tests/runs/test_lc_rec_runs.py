"""Whole runs of LC-Rec: codes that differ, profiles that only training reads, an opened run that answers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("transformers")

import interlingua
from interlingua.data.prepare import prepare_config
from interlingua.errors import DataError
from interlingua.profiles.store import Row, save
from interlingua.runs import stages
from interlingua.runs.recipe import Recipe, resolve
from interlingua.testing.tiny_models import build, tokenizer_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("lm")
    build("smollm2").save_pretrained(path)
    tokenizer_of().save_pretrained(path)
    return str(path)


def recipe(folder: str, **ranker: Any) -> Recipe:
    fit = {"epochs": 2, "steps_per_epoch": 4, "batch_size": 8, "patience": 1, "patience_steps": 0}
    return resolve(
        {
            "data": {"name": "planted", "options": {"num_users": 40, "num_items": 30}},
            "backbone": {"name": "textknn"},
            "text": {"name": "lsa", "dim": 12},
            "align": {"name": "rq-vae", "frozen": ["backbone"], "same_codes": 0, "sinkhorn": 0.003,
                      "quantiser": {"levels": 2, "size": 8, "hidden": [8], "code_dim": 4, "epochs": 5}},
            "ranker": {"name": "lc-rec", "model": folder, "history_length": 4, "beams": 6, "fit": fit, **ranker},
            "evaluate": {"protocols": ["full", "sampled-20"], "max_users": 20},
        },
        "small",
    )  # fmt: skip


def profiles(out: Path, made_for: Recipe, leak: bool = False) -> str:
    """A set of every item and training user; with ``leak`` written from an event that is held out."""
    prepared = prepare_config(made_for.data, 3)
    train, test = prepared.split.train, prepared.split.test
    held_out = [(str(train.user_ids[test.users[0]]), str(train.item_ids[test.items[0]]))] if leak else []
    items = [Row(str(each), f"wish {each}", "", "written", "", ()) for each in train.item_ids]
    users = [
        Row(str(each), f"likes {each}", "", "written", "", tuple(item for user, item in held_out if user == str(each)))
        for each in train.user_ids
    ]
    card = {"data": {"fingerprint": "other", "name": "other", "protocol": "other", "horizon": None}}
    return str(save(out, items, users, card).path)


def test_a_run_is_stored_opened_and_answers_for_strangers_and_later_items(folder: str, tmp_path: Path) -> None:
    session = stages.run(recipe(folder), out=tmp_path, seed=3, device="cpu")
    codes = session.aligned.item_codes
    assert codes is not None
    assert len(codes.unique(dim=0)) == len(codes) == 30
    assert codes.shape[1] == 2
    opened = interlingua.load(session.path)
    had = [str(each) for each in session.data.split.train.item_ids[:3]]
    before = opened.recommend(history=had, k=5)
    assert len({each.item_id for each in before} - set(had)) == 5
    title = str(session.data.catalogue.items["title"][4])
    opened.add_items([{"item_id": "new", "title": title}, {"item_id": "newer", "title": title}])
    grown = opened._lists.session.aligned.item_codes
    assert grown is not None
    assert torch.equal(grown[:30], codes)
    assert len(grown.unique(dim=0)) == 32  # both took last codes that were free
    after = opened.recommend(history=[*had, "new"], k=31, repeat=True)
    assert {"new", "newer"} <= {each.item_id for each in after}


def test_controls_change_what_they_say_and_nothing_else(folder: str, tmp_path: Path) -> None:
    plain = stages.run(recipe(folder), out=tmp_path, seed=3, device="cpu")
    weights = stages.run(recipe(folder, lm_weights="shuffled", tasks=["next"]), out=tmp_path, seed=3, device="cpu")
    assert weights.done["align"].key == plain.done["align"].key
    assert {each for epoch in losses(weights) for each in epoch} == {"next"}
    values = recipe(folder).resolved()
    values["text"]["control"] = "shuffled"
    codes = stages.run(resolve(values, "small"), out=tmp_path, seed=3, device="cpu")
    values = recipe(folder).resolved()
    values["data"]["texts"] = "shuffled"
    words = stages.run(resolve(values, "small"), out=tmp_path, seed=3, device="cpu")
    same = plain.data.catalogue.titles
    assert codes.data.catalogue.titles == same
    assert sorted(words.data.catalogue.titles) == sorted(same) != words.data.catalogue.titles
    for each in (codes, words):
        assert each.aligned.item_codes is not None
        assert plain.aligned.item_codes is not None
        assert not torch.equal(each.aligned.item_codes, plain.aligned.item_codes)


def losses(session: Any) -> list[dict[str, float]]:
    """Of each epoch of the ranker."""
    lines = (session.done["rank"].path / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [line["losses"] for line in map(json.loads, lines) if "epoch" in line]


def test_profiles_are_read_in_training_only_and_decide_the_stage(folder: str, tmp_path: Path) -> None:
    plain = recipe(folder)
    place = profiles(tmp_path / "profiles", plain)
    session = stages.run(recipe(folder, profiles=place), out=tmp_path / "runs", seed=3, device="cpu")
    other = stages.run(plain, out=tmp_path / "runs", seed=3, device="cpu")
    assert session.done["rank"].key != other.done["rank"].key
    assert session.done["align"].key == other.done["align"].key
    first, second = (each.ranker.state_dict()["tokens.inputs"] for each in (session, other))
    assert not torch.equal(first, second)
    assert session.ranker.inputs.profiles is None  # made anew of a finished stage
    shutil.rmtree(place)
    queries = session.data.split.train.queries([0, 1])
    assert session.ranker.score(queries).shape == (2, 30)


def test_profiles_that_read_held_out_events_stop_the_run(folder: str, tmp_path: Path) -> None:
    place = profiles(tmp_path / "profiles", recipe(folder), leak=True)
    with pytest.raises(DataError, match="not in the train part of this run"):
        stages.run(recipe(folder, profiles=place), out=tmp_path / "runs", seed=3, device="cpu")
