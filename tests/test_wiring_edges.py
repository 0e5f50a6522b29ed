"""Edges of how stages hand things on: what is refused before it starts, what is named, users beyond the first block."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from interlingua import export, recommender, stages
from interlingua import recipe as recipes
from interlingua.backbones.pop import Pop
from interlingua.config import Config
from interlingua.contents import MISSING
from interlingua.errors import ConfigError
from interlingua.recipe import EvaluateConfig
from interlingua.recommender import Recommender
from interlingua.session import Session
from interlingua.vectors import load_tables

FIT: dict[str, Any] = {"epochs": 2, "batch_size": 64, "patience": None}
WORLD: dict[str, Any] = {"name": "planted", "options": {"num_users": 60, "num_items": 40}}


def resolved(name: str = "edge", **sections: Any) -> recipes.Recipe:
    values: dict[str, Any] = {
        "data": WORLD,
        "backbone": {"name": "mf", "embedding_dim": 8, "fit": FIT},
        "text": {"name": "lsa", "dim": 8},
        "evaluate": {"protocols": ["full"], "max_users": 10},
    }
    return recipes.resolve(values | sections, name)


def ran(folder: Path, **sections: Any) -> Session:
    return stages.run(resolved(**sections), out=folder, seed=3, device="cpu")


class NamesAModel(Pop):
    """A backbone from outside whose model is found on no machine."""

    class Config(Config):
        """Its options."""

        model: str = "somewhere"
        """what is missing"""
        named_models = {"model": lambda name, revision: f"{MISSING}{name} is not on this machine"}


def test_a_model_of_a_component_from_outside_is_missed_before_anything_runs(tmp_path: Path) -> None:
    recipe = resolved(backbone={"name": f"{__name__}:NamesAModel"})
    with pytest.raises(ConfigError, match=r"backbone\.model: somewhere is not on this machine. Give a folder"):
        stages.run(recipe, out=tmp_path / "runs", seed=3, device="cpu")
    assert not [*(tmp_path / "runs").glob("*-*")]


def test_asked_later_for_vectors_by_texts_a_run_says_which_part_makes_none(tmp_path: Path) -> None:
    by_texts = EvaluateConfig(protocols=["full"], retrieve_by="aligned")
    masked = ran(tmp_path, align={"name": "masked", "fit": FIT}, text={"name": "lsa", "dim": 8, "users": "items"})
    with pytest.raises(ConfigError, match="the aligner 'masked' makes no item vectors from texts alone"):
        stages.reevaluate(masked, by_texts)
    sums = ran(tmp_path, backbone={"name": "textknn", "variant": "item"}, align={"name": "none"})
    with pytest.raises(ConfigError, match="the backbone 'textknn' does not score by one dot product"):
        stages.reevaluate(sums, by_texts)


@pytest.mark.parametrize("frozen", [["backbone"], []])
def test_users_are_exported_by_the_stage_that_trained_them(frozen: list[str], tmp_path: Path) -> None:
    session = ran(tmp_path, align={"name": "autoencoder", "latent_dim": 6, "frozen": frozen, "fit": FIT})
    users = load_tables(session.done["align"].path).users
    train = session.data.split.train
    own = session.backbone.represent(train.queries(np.arange(train.num_users))).detach()
    if frozen:
        assert users is None
        users = load_tables(session.done["train"].path).users
    assert users is not None
    torch.testing.assert_close(users, own)


def test_the_vectors_of_every_user_are_written_however_many_blocks_they_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = ran(tmp_path)
    whole = export.embed(session, tmp_path / "one", "npy").path
    monkeypatch.setattr(export, "USER_ROWS", 7)
    blocks = export.embed(session, tmp_path / "many", "npy").path
    found = np.load(blocks / "users.npy")
    assert len(found) == len(json.loads((blocks / "user_ids.json").read_text(encoding="utf-8")))
    np.testing.assert_allclose(found, np.load(whole / "users.npy"), rtol=1e-6)


def test_a_run_without_a_language_model_borrows_one_for_its_reasons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    from tests.llm.tiny_models import build, tokenizer_of

    build("llama").save_pretrained(tmp_path / "lm")
    tokenizer_of().save_pretrained(tmp_path / "lm")
    monkeypatch.setattr(recommender, "DEFAULT_MODEL", str(tmp_path / "lm"))
    assert Recommender(ran(tmp_path / "runs")).language_model.name == str(tmp_path / "lm")


def test_nobody_asked_is_an_empty_frame(tmp_path: Path) -> None:
    found = Recommender(ran(tmp_path)).recommend(users=[])
    assert found.shape == (0, 4)
    assert found.columns == ["user_id", "item_id", "score", "rank"]
