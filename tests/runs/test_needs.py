"""Needs of every part are compared with what the others, and the data, make: before anything runs."""

from __future__ import annotations

from typing import Any

import pytest

from interlingua.backbones.itemknn import ItemKnn
from interlingua.errors import ConfigError
from interlingua.fuse.sum import WeightedSum
from interlingua.runs import recipe as recipes
from interlingua.text.lm_states import LmStates
from interlingua.text.lsa import Lsa


def asking(monkeypatch: pytest.MonkeyPatch, cls: Any, *words: str) -> None:
    """From now on the components of a class need these words too."""
    needs = cls.needs
    monkeypatch.setattr(cls, "needs", classmethod(lambda own, config: needs(config) | set(words)))


def test_a_text_encoders_needs_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    asking(monkeypatch, Lsa, "item_codes")
    with pytest.raises(
        ConfigError, match="the text encoder 'lsa' needs integer codes of items, which neither the backbone 'textknn'"
    ):
        recipes.load("textknn", ["data.name=planted"])


def test_needs_of_the_encoder_of_a_further_text_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {
        "data": {"name": "planted"}, "text": {"name": "lsa"}, "texts": {"title": {"name": "lm-states"}},
        "backbone": {"name": "additive-ease", "weights": {"title": 1.0}},
    }  # fmt: skip
    assert recipes.resolve(values, "mine", "mine").texts.keys() == {"title"}
    asking(monkeypatch, LmStates, "item_codes")
    with pytest.raises(ConfigError, match="the text encoder 'lm-states' needs integer codes of items, which neither"):
        recipes.resolve(values, "mine", "mine")


def test_a_fusion_asks_every_member(monkeypatch: pytest.MonkeyPatch) -> None:
    asking(monkeypatch, WeightedSum, "items")
    values = {"data": {"name": "planted"}, "fuse": {"name": "sum", "members": ["itemknn", "textknn"]}}
    with pytest.raises(ConfigError, match="the fusion 'sum' needs item vectors, which the member 'itemknn' does not"):
        recipes.resolve(values, "mine", "mine")
    values["fuse"] = {"name": "sum", "members": ["sasrec", "textknn"]}
    assert len(recipes.resolve(values, "mine", "mine").members) == 2


def test_a_fusion_that_needs_labels_asks_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    asking(monkeypatch, WeightedSum, "labels")
    values = {"data": {"name": "planted"}, "fuse": {"name": "sum", "members": ["itemknn", "textknn"]}}
    with pytest.raises(ConfigError, match="the fusion 'sum' needs events with labels"):
        recipes.resolve(values, "mine", "mine")
    values["data"] = {"name": "planted", "label": {"at_least": 4}}
    assert recipes.resolve(values, "mine", "mine").fuse is not None


def test_labels_are_made_by_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    asking(monkeypatch, ItemKnn, "labels", "order")
    with pytest.raises(ConfigError, match=r"the backbone 'itemknn' needs events with labels \(data.label"):
        recipes.load("itemknn", ["data.name=planted"])
    assert recipes.load("itemknn", ["data.name=planted", "data.label={at_least = 4}"]).backbone is not None
    assert recipes.load("itemknn", ["data.name=planted", "data.columns={label = 'liked'}"]).backbone is not None


def test_a_word_that_nobody_knows_is_named_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    asking(monkeypatch, ItemKnn, "imtes")
    with pytest.raises(ConfigError, match=r"needs the word 'imtes', which is none of those .*: dot_product, "):
        recipes.load("itemknn", ["data.name=planted"])
