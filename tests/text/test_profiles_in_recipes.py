"""A recipe whose texts are a profile set: they are encoded, and a set that saw held-out events stops the run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from interlingua.clients.endpoint import Endpoint
from interlingua.config import build
from interlingua.data.prepare import prepare_config
from interlingua.errors import DataError
from interlingua.profiles.config import ProfilesConfig
from interlingua.profiles.store import ProfileSet, Row, save
from interlingua.profiles.store import load as load_profiles
from interlingua.profiles.write import Job, write
from interlingua.runs.plan import make_plan
from interlingua.runs.recipe import Recipe, load
from interlingua.runs.stages import run
from interlingua.testing.fake_server import FakeServer, serving
from interlingua.text.lsa import Lsa, LsaConfig
from interlingua.vectors.tables import load_tables

SETS = (
    "data.options.num_users=30", "data.options.num_items=24", "backbone.fit.epochs=1", "text.users=texts",
    "text.name=lsa", "evaluate.protocols=['full']", "backbone.embedding_dim=8", "data.filter.min_user=1",
    "data.filter.min_item=1",
)  # fmt: skip


def recipe(folder: Path, *more: str) -> Recipe:
    return load("rlmrec-con", (*SETS, f"text.profiles={folder}", *more), "planted")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ProfileSet:
    out = tmp_path_factory.mktemp("profiles")
    prepared = prepare_config(recipe(out).data, 7)
    with serving(FakeServer()) as url:
        options = build(ProfilesConfig, {"base_url": url, "model": "fake"})
        return write(Job(prepared, options, out), Endpoint(url, "fake"))


def test_profiles_are_what_is_encoded_on_both_sides(made: ProfileSet, tmp_path: Path) -> None:
    session = run(recipe(made.path), out=tmp_path)
    tables = load_tables(session.done["embed"].path)
    direct = Lsa(LsaConfig(), made.items["profile"].to_list(), user_texts=made.users["profile"].to_list())
    assert session.data.split.train.item_ids.tolist() == made.items["item_id"].to_list()
    assert tables.users is not None
    torch.testing.assert_close(tables.items, direct.rows("items"))
    torch.testing.assert_close(tables.users, direct.rows("users"))


def test_other_profiles_in_the_folder_make_another_stage(made: ProfileSet, tmp_path: Path) -> None:
    first = make_plan(recipe(made.path), 7)["embed"].key
    assert make_plan(recipe(made.path), 7)["embed"].key == first
    rows = {
        side: [
            Row(r[key], r["profile"] + " indeed", "", "written", "", tuple(r["sources"]))
            for r in getattr(made, side).to_dicts()
        ]
        for side, key in (("items", "item_id"), ("users", "user_id"))
    }
    card = {k: v for k, v in made.card.items() if k not in ("files", "versions", "schema", "kind")}
    other = save(tmp_path / "other", rows["items"], rows["users"], card)
    copied = replace(other, path=made.path)
    assert copied.fingerprint != made.fingerprint
    assert make_plan(recipe(other.path), 7)["embed"].key != first
    assert load_profiles(other.path).card["data"] == made.card["data"]


def test_another_seed_of_a_random_split_is_refused(made: ProfileSet, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"(?s)not in the train part of this run.*seed7.*seed8"):
        run(recipe(made.path, "data.options.num_users=30"), out=tmp_path, seed=8)
