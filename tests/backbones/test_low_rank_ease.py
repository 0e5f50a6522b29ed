"""EASE by products of vectors: with every direction it is EASE, with fewer it is the formula for what is kept."""

import numpy as np
import pytest
import torch

from interlingua.backbones.additive_ease import AdditiveEase, AdditiveEaseConfig
from interlingua.backbones.ease import Ease, EaseConfig
from interlingua.backbones.low_rank_additive_ease import LowRankAdditiveEase, LowRankAdditiveEaseConfig
from interlingua.backbones.low_rank_ease import LowRankEase, LowRankEaseConfig
from interlingua.contracts.fitting import Fitting
from interlingua.data.queries import Queries
from interlingua.errors import DataError
from interlingua.nn.linear_autoencoders import text_weights
from interlingua.nn.low_rank import ease_towers, text_towers
from interlingua.vectors.frozen import FrozenRows


def off_diagonal(weights):
    return weights - np.diag(np.diag(weights))


def by_hand(train, rank, l2):
    """The dense inverse of the Gram matrix whose other directions keep their diagonal only."""
    x = train.matrix().toarray().astype(float)
    _, strength, right = np.linalg.svd(x, full_matrices=False)
    gram = (right[:rank].T * strength[:rank] ** 2) @ right[:rank]
    gram += np.diag(np.maximum((x**2).sum(0) - np.diag(gram), 0)) + l2 * np.eye(len(gram))
    inverse = np.linalg.inv(gram)
    return off_diagonal(-inverse / np.diag(inverse))


@pytest.mark.parametrize("rank", [1, 5, 12])
def test_the_weights_are_those_of_the_gram_matrix_that_is_kept(random_world, rank):
    train = random_world(users=40, items=20, seed=2)
    summed, scored = ease_towers(train.matrix(), rank, 3.0)
    assert summed.shape == (20, rank)
    np.testing.assert_allclose(off_diagonal((summed @ scored.T).numpy()), by_hand(train, rank, 3.0), atol=1e-5)


def test_with_all_directions_it_is_ease(random_world):
    train = random_world(users=60, items=20, events=800, seed=3)
    summed, scored = ease_towers(train.matrix(), 99, 20.0)
    model = Ease(EaseConfig(l2=20.0), train)
    model.fit(Fitting(train))
    np.testing.assert_allclose(off_diagonal((summed @ scored.T).numpy()), model.weights.numpy(), atol=1e-5)


def test_texts_are_exact(random_world):
    texts = torch.from_numpy(np.random.default_rng(3).normal(size=(20, 6)).astype(np.float32))
    summed, scored = text_towers(texts, 2.0)
    np.testing.assert_allclose(off_diagonal((summed @ scored.T).numpy()), text_weights(texts, 2.0).numpy(), atol=1e-5)


def test_new_items_are_scored_by_their_texts_as_additive_ease_does(random_world):
    train = random_world(users=60, items=30, seed=5)
    texts = FrozenRows(torch.from_numpy(np.random.default_rng(3).normal(size=(30, 6)).astype(np.float32)))
    model = LowRankAdditiveEase(LowRankAdditiveEaseConfig(fraction=0.4), train)
    dense = AdditiveEase(AdditiveEaseConfig(share=0.4), train)
    for each in (model, dense):
        each.fit(Fitting(train, texts))
    history = Queries.of([[1, 2, 3], []])
    found, expected = model.score_unseen(history), dense.score_unseen(history)
    outside = np.setdiff1d(np.arange(30), [1, 2, 3])
    np.testing.assert_allclose(found[:, outside], expected[:, outside], atol=1e-5)
    towers = model.towers()
    np.testing.assert_allclose((towers.users(history) @ towers.items.T).numpy(), model.score(history), atol=1e-6)
    again = LowRankAdditiveEase(LowRankAdditiveEaseConfig(fraction=0.4), train)
    again.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(again.score_unseen(history), found)


def test_too_many_items_for_ease_names_the_way_out(random_world, monkeypatch):
    train = random_world()
    monkeypatch.setattr("interlingua.backbones.ease.MOST_ITEMS", 10)
    with pytest.raises(DataError, match="low-rank-ease"):
        Ease(EaseConfig(), train).fit(Fitting(train))
    model = LowRankEase(LowRankEaseConfig(rank=4), train)
    model.fit(Fitting(train))
    assert model.score(Queries.of([[1, 2]])).shape == (1, 30)
