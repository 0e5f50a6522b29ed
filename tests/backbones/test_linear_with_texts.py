"""L3AE, additive and collective EASE against the objective, by its gradient, and against slow column-wise solutions."""

import numpy as np
import pytest
import torch

from interlingua.backbones.additive_ease import AdditiveEase, AdditiveEaseConfig
from interlingua.backbones.collective_ease import CollectiveEase, CollectiveEaseConfig
from interlingua.backbones.ease import Ease, EaseConfig
from interlingua.backbones.l3ae import L3ae, L3aeConfig
from interlingua.config import build
from interlingua.contracts.fitting import Fitting
from interlingua.data.interactions import Interactions
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError
from interlingua.nn import linear_autoencoders as forms
from interlingua.nn.factors import item_factors
from interlingua.vectors.frozen import FrozenRows


def dense(train):
    x = np.zeros((train.num_users, train.num_items))
    x[train.users, train.items] = 1.0
    return x


def world(random_world, width=8):
    train = random_world(seed=5)
    return train, torch.from_numpy(np.random.default_rng(3).normal(size=(train.num_items, width)).astype(np.float32))


def fitted(cls, config, train, texts, **named):
    model = cls(config, train)
    model.fit(Fitting(train, FrozenRows(texts), texts={name: FrozenRows(each) for name, each in named.items()}))
    return model


def prepared(texts):
    centred = texts - texts.mean(0)
    return (centred / centred.square().sum(1).mean().sqrt()).double().numpy()


@pytest.mark.parametrize("width", [8, 60], ids=["fewer dimensions than items", "more"])
def test_text_weights_are_ease_on_texts(random_world, width):
    """Woodbury or not: each item's column solves its own ridge regression on the others."""
    _, texts = world(random_world, width)
    found = forms.text_weights(texts, 2.0).double().numpy()
    f = texts.double().numpy().T
    for item in (0, 7):
        rest = np.delete(np.arange(f.shape[1]), item)
        expected = np.linalg.solve(f[:, rest].T @ f[:, rest] + 2.0 * np.eye(len(rest)), f[:, rest].T @ f[:, item])
        np.testing.assert_allclose(found[rest, item], expected, rtol=2e-3, atol=2e-5)
        assert found[item, item] == 0


def test_l3ae_solves_its_objective(random_world):
    train, texts = world(random_world)
    model = fitted(L3ae, L3aeConfig(l2=4.0, pull=1.5, text_ridge=2.0), train, texts)
    x, b = dense(train), model.weights.double().numpy()
    c = forms.text_weights(torch.from_numpy(prepared(texts)), 2.0).double().numpy()
    pull = 1.5 * 4.0
    gradient = x.T @ (x @ b - x) + (4.0 - pull) * b + pull * (b - c)
    np.fill_diagonal(gradient, 0.0)
    assert np.abs(gradient).max() < 1e-4
    assert np.diag(b).tolist() == [0.0] * len(b)


def test_without_a_pull_it_is_ease(random_world):
    train, texts = world(random_world)
    ease = Ease(EaseConfig(l2=4.0), train)
    ease.fit(Fitting(train))
    for cls, config in (
        (L3ae, L3aeConfig(l2=4.0, pull=0)),
        (AdditiveEase, AdditiveEaseConfig(l2=4.0, share=0)),
        (CollectiveEase, CollectiveEaseConfig(l2=4.0, text_weight=0)),
    ):
        model = fitted(cls, config, train, texts)
        torch.testing.assert_close(model.weights, ease.weights, rtol=0, atol=1e-6)
        assert not model.by_texts.any()


def test_collective_is_ease_on_stacked_rows(random_world):
    train, texts = world(random_world)
    model = fitted(CollectiveEase, CollectiveEaseConfig(l2=4.0, text_weight=2.0), train, texts)
    rows = np.concatenate([dense(train), 2.0 * prepared(texts).T])
    inverse = np.linalg.inv(rows.T @ rows + 4.0 * np.eye(rows.shape[1]))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0.0)
    np.testing.assert_allclose(model.weights.numpy(), expected, atol=1e-5)


CASES = {
    "l3ae": (L3ae, L3aeConfig(l2=4.0, pull=1.5, text_ridge=2.0)),
    "additive": (AdditiveEase, AdditiveEaseConfig(l2=4.0)),
    "collective": (CollectiveEase, CollectiveEaseConfig(l2=4.0, text_weight=2.0)),
}


@pytest.mark.parametrize("name", CASES)
def test_what_an_item_would_get_without_events_is_what_it_gets(random_world, name):
    """Emptying one item's column and solving anew gives the column that ``score_unseen`` foretold."""
    train, texts = world(random_world)
    cls, config = CASES[name]
    model = fitted(cls, config, train, texts)
    item = int(np.bincount(train.items).argmax())
    left = train.items != item
    emptied = Interactions.of(train.user_ids, train.item_ids, train.users[left], train.items[left], train.times[left])
    anew = fitted(cls, config, emptied, texts)
    torch.testing.assert_close(anew.weights[:, item], model.by_texts[:, item], rtol=0, atol=2e-6)
    torch.testing.assert_close(anew.by_texts[:, item], model.by_texts[:, item], rtol=0, atol=2e-6)
    history = Queries.of([[i for i in range(6) if i != item]])
    assert np.abs(model.score_unseen(history)[0, item]) > 1e-4
    np.testing.assert_allclose(anew.score(history)[0, item], model.score_unseen(history)[0, item], atol=1e-5)


def test_sources_count_by_their_weights(random_world):
    """A source of weight 0 is as if it were not there; scale and shift of a source change nothing."""
    train, texts = world(random_world)
    other = torch.from_numpy(np.random.default_rng(9).normal(size=(train.num_items, 5)).astype(np.float32))
    alone = fitted(L3ae, L3aeConfig(), train, texts).weights
    both = fitted(L3ae, L3aeConfig(weights={"other": 0.7}), train, texts, other=other).weights
    assert (alone - both).abs().max() > 1e-4
    torch.testing.assert_close(
        fitted(L3ae, L3aeConfig(weights={"other": 0.0}), train, texts, other=other).weights, alone
    )
    moved = fitted(L3ae, L3aeConfig(weights={"other": 0.7}), train, texts, other=100 * other + 3).weights
    torch.testing.assert_close(moved, both, rtol=1e-3, atol=1e-6)
    swapped = fitted(L3ae, L3aeConfig(weights={"text": 0.0, "other": 1.0}), train, texts, other=other).weights
    torch.testing.assert_close(swapped, fitted(L3ae, L3aeConfig(), train, other).weights)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"image": 1.0}, "names the texts 'image'; there are text"),
        ({"text": 0.0}, "leaves no source"),
        ({"text": -1.0}, "at least 0"),
    ],
)
def test_weights_that_make_no_sense_are_refused(random_world, weights, words):
    train, texts = world(random_world)
    with pytest.raises(ConfigError, match=words):
        fitted(L3ae, build(L3aeConfig, {"weights": weights}, "backbone"), train, texts)


def test_learned_weights_leave_noise_out(random_world, tmp_path):
    """Texts that are made of what interactions say count, noise does not; what was chosen stands in the card."""
    train = random_world(users=120, items=60, seed=5)
    telling = item_factors(train.matrix(), 12)
    noise = torch.from_numpy(np.random.default_rng(9).normal(size=(train.num_items, 9)).astype(np.float32))
    options = {"weights": {"other": 1.0, "unread": 0.0}, "learn_weights": True}
    model = fitted(AdditiveEase, AdditiveEaseConfig(**options), train, noise, other=telling, unread=noise + 1)
    assert model.used == {"text": 0.0, "other": 1.0}
    assert model.write_extras(tmp_path) == {"text_weights": model.used}
    torch.testing.assert_close(model.weights, fitted(AdditiveEase, AdditiveEaseConfig(), train, telling).weights)


def test_item_factors_are_the_leading_singular_vectors(random_world):
    train = random_world(users=40, items=20, seed=1)
    x = dense(train)
    scaled = x / np.sqrt(np.maximum(x.sum(1, keepdims=True), 1)) / np.sqrt(np.maximum(x.sum(0, keepdims=True), 1))
    expected = np.linalg.svd(scaled)[2][:5].T
    np.testing.assert_allclose(np.abs(item_factors(train.matrix(), 5).numpy()), np.abs(expected), atol=1e-4)
    assert item_factors(train.matrix(), 99).shape == (20, 20)
