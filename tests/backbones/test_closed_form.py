"""pop, itemknn and ease against dense computations written the slow way, and what all of them share."""

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from interlingua.backbones.ease import Ease, EaseConfig
from interlingua.backbones.itemknn import ItemKnn, ItemKnnConfig
from interlingua.backbones.pop import Pop, PopConfig
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.scorer import Scorer
from interlingua.data.interactions import Interactions
from interlingua.data.queries import Queries
from interlingua.errors import DataError

MAKERS = {
    "pop": lambda t: Pop(PopConfig(), t),
    "cosine": lambda t: ItemKnn(ItemKnnConfig(neighbours=5), t),
    "bm25": lambda t: ItemKnn(ItemKnnConfig(weighting="bm25", neighbours=5), t),
    "ease": lambda t: Ease(EaseConfig(l2=3.0), t),
}


def solved(name, train):
    model = MAKERS[name](train)
    model.fit(Fitting(train))
    return model


def dense(train):
    x = np.zeros((train.num_users, train.num_items))
    for u, i in zip(train.users, train.items, strict=True):
        x[u, i] = 1.0
    return x


def knn_by_hand(weighted, keep):
    similarity = weighted.T @ weighted
    out = np.zeros_like(similarity)
    for row in range(len(similarity)):
        order = sorted(range(len(similarity)), key=lambda c: (-np.float32(similarity[row, c]), c))[:keep]
        for c in order:
            out[row, c] = max(similarity[row, c], 0.0)
    return out


def test_pop_counts_users_not_events(random_world):
    train = random_world()
    scores = solved("pop", train).score(train.queries(np.array([0, 1])))
    assert scores.tolist() == [dense(train).sum(0).tolist()] * 2


def test_pop_of_the_last_share_reads_late_events_only():
    ids = np.array(["a", "b"])
    train = Interactions.of(ids, ids, np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1]), np.array([1, 2, 3, 4]))
    model = Pop(PopConfig(last_share=0.5), train)
    model.fit(Fitting(train))
    assert model.score(Queries.of([[]])).tolist() == [[0.0, 2.0]]


def test_cosine_equals_the_dense_computation(random_world):
    train = random_world(seed=3)
    x = dense(train)
    norms = np.sqrt((x**2).sum(0))
    expected = knn_by_hand(x / np.where(norms > 0, norms, 1), 5)
    model = solved("cosine", train)
    got = model.similarity().toarray()
    # a tie at the cut may fall either way between float32 and float64: the kept values agree
    np.testing.assert_allclose(np.sort(got, 1), np.sort(expected, 1), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(model.score(train.queries()), x @ got, rtol=1e-5, atol=1e-6)


def test_bm25_equals_the_dense_computation(random_world):
    train = random_world(seed=4)
    x, (k1, b) = dense(train), (1.2, 0.75)
    idf = np.log(train.num_items) - np.log1p(x.sum(1))
    length = x.sum(0)
    norm = 1 - b + b * length / length.mean()
    weighted = np.where(x > 0, (k1 + 1) / (k1 * norm[None, :] + 1) * idf[:, None], 0.0)
    got = solved("bm25", train).similarity().toarray()
    np.testing.assert_allclose(np.sort(got, 1), np.sort(knn_by_hand(weighted, 5), 1), rtol=1e-4, atol=1e-5)


def test_of_equal_neighbours_the_lower_rows_stay():
    # user 0 has all items, nobody else has any: all similarities are 1
    train = Interactions.of(np.array(["u"]), np.array(list("abcdef")), np.zeros(6, int), np.arange(6))
    model = ItemKnn(ItemKnnConfig(neighbours=2), train)
    model.fit(Fitting(train))
    assert model.columns.reshape(6, 2).tolist() == [[0, 1]] * 6


def test_ease_equals_the_dense_inverse(random_world):
    train = random_world(seed=5)
    x = dense(train)
    inverse = np.linalg.inv(x.T @ x + 3.0 * np.eye(train.num_items))
    weights = -inverse / np.diag(inverse)[None, :]
    np.fill_diagonal(weights, 0.0)
    model = solved("ease", train)
    np.testing.assert_allclose(model.weights.numpy(), weights, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(model.score(train.queries()), x @ weights, rtol=1e-3, atol=1e-4)
    assert (np.diag(model.weights.numpy()) == 0).all()


def test_ease_is_the_least_squares_solution(random_world):
    train = random_world(seed=6)
    x = dense(train)
    weights = solved("ease", train).weights.double().numpy()

    def loss(w):
        return ((x - x @ w) ** 2).sum() + 3.0 * (w**2).sum()

    rng = np.random.default_rng(0)
    for _ in range(20):
        step = rng.normal(size=weights.shape) * 1e-2
        np.fill_diagonal(step, 0.0)
        assert loss(weights + step) > loss(weights) - 1e-6


def test_ease_refuses_a_catalogue_too_large_for_a_dense_inverse():
    many = np.array([str(n) for n in range(40_001)])
    train = Interactions.of(np.array(["u"]), many, np.zeros(1, int), np.zeros(1, int))
    with pytest.raises(DataError, match="40,001"):
        Ease(EaseConfig(), train).fit(Fitting(train))


@pytest.mark.parametrize("name", MAKERS)
def test_ranker_contract(name, random_world):
    train = random_world()
    model = solved(name, train)
    assert isinstance(model, Scorer)
    queries = Queries.of([[3, 0, 3], [], [5]])  # unknown users, a repeat, an empty history
    full = model.score(queries)
    assert full.dtype == np.float32
    assert full.shape == (3, train.num_items)
    assert np.isfinite(full).all()
    some = np.array([[1, 2], [29, 0], [5, 5]])
    np.testing.assert_array_equal(model.score(queries, some), np.take_along_axis(full, some, 1))
    assert queries.items.tolist() == [3, 0, 3, 5]  # left as they were
    assert model.score(Queries.of([])).shape == (0, train.num_items)


@pytest.mark.parametrize("name", MAKERS)
def test_a_fresh_object_restores_the_solved_state(name, random_world):
    train = random_world()
    model, fresh = solved(name, train), MAKERS[name](train)
    fresh.load_state_dict(load(save({k: v.contiguous() for k, v in model.state_dict().items()})))
    queries = train.queries()
    assert (fresh.score(queries) == model.score(queries)).all()
    assert all(p.dtype == q.dtype for p, q in zip(fresh.buffers(), model.buffers(), strict=True))


@pytest.mark.parametrize("name", ["cosine", "bm25", "ease"])
def test_unseen_items_of_the_own_group_come_first(name, block_world):
    train = block_world()
    model = solved(name, train)
    if name != "ease":
        model = ItemKnn(ItemKnnConfig(weighting=name), train)
        model.fit(Fitting(train))
    queries = Queries.of([[0, 3, 6], [1, 4], [2, 5, 8]])
    scores = model.score(queries)
    for row, group in enumerate(range(3)):
        scores[row, queries.history(row)] = -np.inf
        assert (np.argsort(-scores[row])[:5] % 3 == group).all()


@pytest.mark.parametrize("name", MAKERS)
def test_items_without_events_score_nothing(name):
    train = Interactions.of(
        np.array(["a", "b"]), np.array(["x", "y", "cold"]), np.array([0, 0, 1]), np.array([0, 1, 0])
    )
    scores = solved(name, train).score(Queries.of([[0], [2]]))
    assert scores[0, 2] == 0
    assert torch.isfinite(torch.from_numpy(scores)).all()
