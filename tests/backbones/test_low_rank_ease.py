"""EASE by products of vectors: with every direction it is EASE, with fewer it is the formula for what is kept."""

import numpy as np
import pytest
import torch
from tests.evaluate.test_protocol import random_split

from interlingua.backbones.additive_ease import AdditiveEase, AdditiveEaseConfig
from interlingua.backbones.ease import Ease, EaseConfig
from interlingua.backbones.low_rank_additive_ease import LowRankAdditiveEase, LowRankAdditiveEaseConfig
from interlingua.backbones.low_rank_ease import LowRankEase, LowRankEaseConfig
from interlingua.contracts.fitting import Fitting
from interlingua.data.queries import Queries
from interlingua.errors import DataError
from interlingua.evaluate.protocol import evaluate
from interlingua.evaluate.rules import scorer_for
from interlingua.fuse.sum import SumConfig, WeightedSum
from interlingua.nn.linear_autoencoders import text_weights
from interlingua.nn.low_rank import ease_towers, text_towers
from interlingua.retrieval.ann import Ann, AnnConfig
from interlingua.retrieval.best import best
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


@pytest.fixture
def pairs(random_world):
    """The same model twice: by products of all directions, and with its dense matrix."""
    train = random_world(users=60, items=30, seed=5)
    texts = FrozenRows(torch.from_numpy(np.random.default_rng(3).normal(size=(30, 6)).astype(np.float32)))
    made = {
        "ease": (LowRankEase(LowRankEaseConfig(l2=20.0), train), Ease(EaseConfig(l2=20.0), train)),
        "additive": (
            LowRankAdditiveEase(LowRankAdditiveEaseConfig(fraction=0.4, l2=20.0), train),
            AdditiveEase(AdditiveEaseConfig(share=0.4, l2=20.0), train),
        ),
    }
    for model in (each for pair in made.values() for each in pair):
        model.fit(Fitting(train, texts))
    return train, made


HISTORIES = Queries.of([[1, 2, 3, 2], [], [29]])


@pytest.mark.parametrize("name", ["ease", "additive"])
def test_scores_are_those_of_the_dense_matrix_inside_the_history_too(pairs, name):
    model, dense = pairs[1][name]
    expected = dense.score(HISTORIES)
    np.testing.assert_allclose(model.score(HISTORIES), expected, atol=1e-5)
    some = np.array([[3, 4, 1], [0, 5, 5], [29, 28, 0]])
    np.testing.assert_allclose(model.score(HISTORIES, some), np.take_along_axis(expected, some, 1), atol=1e-5)
    towers = model.towers()
    products = (towers.users(HISTORIES) @ towers.items.T).numpy()
    assert not towers.exact
    np.testing.assert_allclose(products[0, 4:], expected[0, 4:], atol=1e-5)
    assert np.abs(products[0, 1:4] - expected[0, 1:4]).min() > 1e-3  # why they are not the scores


def test_new_items_are_scored_by_their_texts_as_additive_ease_does(pairs):
    train, made = pairs
    model, dense = made["additive"]
    np.testing.assert_allclose(model.score_unseen(HISTORIES), dense.score_unseen(HISTORIES), atol=1e-5)
    again = LowRankAdditiveEase(LowRankAdditiveEaseConfig(fraction=0.4), train)
    again.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(again.score_unseen(HISTORIES), model.score_unseen(HISTORIES))


@pytest.mark.parametrize("name", ["ease", "additive"])
@pytest.mark.parametrize("repeat", [False, True])
@pytest.mark.parametrize("indexed", [False, True])
def test_lists_are_those_of_the_dense_matrix(pairs, name, repeat, indexed):
    if indexed:
        pytest.importorskip("usearch")
    model, dense = pairs[1][name]
    own = Ann.of(model, AnnConfig(expansion_search=100)) if indexed else model
    queries = Queries.of([[1, 2, 3, 2], [29, 4], list(range(12))])
    found, expected = best(own, queries, 8, repeat=repeat), best(dense, queries, 8, repeat=repeat)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)


@pytest.mark.parametrize("protocol", ["full", "full-repeat"])
def test_metrics_are_those_of_the_dense_matrix_alone_and_inside_a_sum(pairs, protocol):
    train, made = pairs
    split = random_split(5, users=60, items=30)
    for model, dense in made.values():
        for others in ([], [made["ease"][1]]):
            reports = []
            for each in (model, dense):
                scorer = WeightedSum(SumConfig(weights=[1.0, 0.5]), [each, *others], train) if others else each
                reports.append(evaluate(scorer_for(scorer, protocol), split, protocol=protocol, resamples=0))
            assert reports[0].metrics == pytest.approx(reports[1].metrics, abs=1e-6)


@pytest.mark.parametrize("name", ["ease", "additive"])
def test_a_sum_of_both_kinds_scores_alike(pairs, name):
    train, made = pairs
    sums = [WeightedSum(SumConfig(weights=[1.0, 0.5]), [each, made["ease"][1]], train) for each in made[name]]
    np.testing.assert_allclose(sums[0].score(HISTORIES), sums[1].score(HISTORIES), atol=1e-4)
    assert sums[0].towers() is None


def test_too_many_items_for_ease_names_the_way_out(random_world, monkeypatch):
    train = random_world()
    monkeypatch.setattr("interlingua.backbones.ease.MOST_ITEMS", 10)
    with pytest.raises(DataError, match="low-rank-ease"):
        Ease(EaseConfig(), train).fit(Fitting(train))
    model = LowRankEase(LowRankEaseConfig(rank=4), train)
    model.fit(Fitting(train))
    assert model.score(Queries.of([[1, 2]])).shape == (1, 30)
