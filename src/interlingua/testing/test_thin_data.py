"""Data at the edge, with every backbone trained by gradient: a user who has every item, and nothing to learn."""

from __future__ import annotations

from itertools import islice
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from interlingua import registry
from interlingua.contracts.aligner import Aligner
from interlingua.data.catalogue import Catalogue
from interlingua.data.interactions import Interactions
from interlingua.errors import DataError
from interlingua.training.deploy import aligner_for
from interlingua.training.joint import Joint
from interlingua.training.loop import fit, fit_best, seed_all
from interlingua.vectors.readable import ReadableRows

CLASSES = {name: registry.find("backbone", name) for name in registry.names("backbone")}
BACKBONES = [name for name, cls in CLASSES.items() if cls.sampling != "none"]
OVER_ALL_ITEMS = [n for n in BACKBONES if CLASSES[n].sampling == "histories" or not CLASSES[n].draws_negatives]
"""those whose only losses are over all items"""
SAMPLING = [name for name in BACKBONES if name not in OVER_ALL_ITEMS]
"""those that draw negatives, with some of their losses"""
ALIGNERS = [n for n in registry.names("align") if "fit" in registry.find("align", n).Config.model_fields]
COMPLETE, ITEMS = "has-it-all", 12


def world(complete: int = 1, incomplete: int = 20, seed: int = 0) -> Interactions:
    """The last users have every item, the others five each."""
    rng = np.random.default_rng(seed)
    lists = [rng.permutation(ITEMS)[:5] for _ in range(incomplete)] + [rng.permutation(ITEMS) for _ in range(complete)]
    names = [f"u{n}" for n in range(incomplete)] + [COMPLETE, *(f"full{n}" for n in range(1, complete))][:complete]
    users = np.repeat(np.arange(len(lists)), [len(each) for each in lists])
    return Interactions.of(np.array(names), np.array([f"i{n}" for n in range(ITEMS)]), users, np.concatenate(lists))


def tiny(cls: Any, small: Any) -> Any:
    """Small options; with losses that sample negatives, where the component has a choice."""
    config = small(cls)
    loss = cls.Config.model_fields.get("loss")
    sampled = [v for v in ("bpr", "bce", "sampled-ce") if loss is not None and v in str(loss.annotation)]
    return config.model_copy(update={"loss": sampled[0]}) if sampled else config


def learned(cls: Any, small: Any, train: Interactions, texts: Any) -> Any:
    """A backbone after its training, in which every loss was a number."""
    seed_all(1)
    model = cls(tiny(cls, small), train)
    model.read_catalogue(catalogue_of(train))
    model.start(train, texts)
    joint = Joint(model, Aligner(Aligner.Config(), 0, 0))
    log = fit_best(joint, model.batches(train, model.config.fit), model.config.fit, seed=1, device="cpu")
    assert all(np.isfinite(v) for record in log.epochs for v in record["losses"].values())
    return model


@pytest.mark.parametrize("backbone", SAMPLING)
def test_a_user_who_has_every_item_stops_nothing_and_is_named(
    backbone: str, small: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    train = world()
    model = learned(CLASSES[backbone], small, train, texts_of(train))
    said = capsys.readouterr().err
    assert f"1 user has all {ITEMS} items in training (e.g. {COMPLETE})" in said
    assert "12 of 112 events are left out of the loss" in said
    batches = model.batches(train, model.config.fit)(0, np.random.default_rng(0))
    users = torch.cat([batch.users for batch in batches])
    assert set(users.tolist()) == set(range(20))


@pytest.mark.parametrize("backbone", OVER_ALL_ITEMS)
def test_without_negatives_a_user_who_has_every_item_is_learned_from(
    backbone: str, small: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    train = world()
    cls = CLASSES[backbone]
    model = learned(cls, small, train, texts_of(train) if cls.needs_text else None)
    assert "left out of the loss" not in capsys.readouterr().err
    batches = list(model.batches(train, model.config.fit)(0, np.random.default_rng(0)))
    assert set(torch.cat([batch.users for batch in batches]).tolist()) == set(range(21))
    assert all(batch.negatives is None for batch in batches)


def texts_of(train: Interactions) -> ReadableRows:
    """Random vectors of users, items and whatever else is read."""
    vectors = torch.randn(len(train.item_ids), 20, generator=torch.Generator().manual_seed(0))
    users = torch.randn(train.num_users, 20, generator=torch.Generator().manual_seed(1))
    titles = [f"title of {name}" for name in train.item_ids]
    return ReadableRows(vectors, users, titles=titles, texts=titles, encode=lambda texts: torch.randn(len(texts), 20))


def catalogue_of(train: Interactions) -> Catalogue:
    """A title for each item."""
    ids = [str(name) for name in train.item_ids]
    return Catalogue(pl.DataFrame({"item_id": ids, "title": [f"title of {name}" for name in ids]}))


@pytest.mark.parametrize("aligner", ALIGNERS)
def test_aligners_stop_no_more(aligner: str, small: Any) -> None:
    train, cls = world(complete=2), registry.find("align", aligner)
    text = texts_of(train)
    own = CLASSES["lightgcn"](small(CLASSES["lightgcn"]), train)
    joint = Joint(own, aligner_for(cls, small(cls), own, text), text)
    joint.aligner.start(own, text)
    options = own.config.fit
    (epoch,) = islice(fit(joint, joint.aligner.batches(own, train, options), options, seed=1, device="cpu"), 1)
    assert all(np.isfinite(value) for value in epoch.losses.values())


@pytest.mark.parametrize("backbone", SAMPLING)
def test_users_who_all_have_every_item_are_refused_in_words(backbone: str, small: Any) -> None:
    train, cls = world(complete=3, incomplete=0), CLASSES[backbone]
    model = cls(tiny(cls, small), train)
    with pytest.raises(DataError, match="every user has all 12 items"):
        next(iter(model.batches(train, model.config.fit)(0, np.random.default_rng(0))))


@pytest.mark.parametrize("backbone", BACKBONES)
def test_nothing_to_train_on_is_refused_in_words(backbone: str, small: Any) -> None:
    """Every user has one training event, as leave-one-out leaves of three: pairs can be learned, sequences cannot.

    One whose targets are first events too, after an empty history, is refused where there is none.
    """
    cls = CLASSES[backbone]
    users = 8 if cls.sampling == "sequences" and not cls.learns_first_events else 0
    train = Interactions.of(
        np.array([f"u{n}" for n in range(8)]), np.array([f"i{n}" for n in range(ITEMS)]), np.arange(users),
        np.arange(users),
    )  # fmt: skip
    model = cls(small(cls), train)
    model.read_catalogue(catalogue_of(train))
    joint, options = Joint(model, Aligner(Aligner.Config(), 0, 0)), model.config.fit
    with pytest.raises(DataError, match=r"no history of two events|nothing to train on"):
        fit_best(joint, model.batches(train, options), options, seed=1, device="cpu")
