"""Text neighbours against dense computations; items nobody has chosen are reached through their words."""

import numpy as np
import pytest
import torch

from interlingua.backbones.textknn import TextKnn, TextKnnConfig
from interlingua.contracts.batch import Batch
from interlingua.contracts.fitting import Fitting
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError


class Rows:
    def __init__(self, items):
        self.items, self.dim = items, items.shape[1]

    def rows(self, side, ids=None):
        assert side == "items"
        return self.items if ids is None else self.items[ids]


def solved(train, items, **options):
    model = TextKnn(TextKnnConfig(**options), train)
    model.fit(Fitting(train, Rows(items)))
    return model


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


@pytest.mark.parametrize("centred", [True, False])
def test_user_variant_equals_the_dense_computation(random_world, centred):
    train = random_world()
    text = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32) + 2
    v = unit(text - text.mean(0) if centred else text)
    got = solved(train, torch.from_numpy(text), centred=centred).score(Queries.of([[4, 9], [1], []]))
    np.testing.assert_allclose(got, np.stack([v[[4, 9]].mean(0), v[1], v[0] * 0]) @ v.T, rtol=1e-4, atol=1e-5)


def test_recency_halves_the_weight_per_half_life(random_world):
    train = random_world()
    text = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    v = unit(text)
    got = solved(train, torch.from_numpy(text), centred=False, half_life=1.0).user_embeddings(
        Queries.of([[4, 9, 2], [7]])
    )
    expected = np.stack([(v[4] + 2 * v[9] + 4 * v[2]) / 7, v[7]])
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-4, atol=1e-6)


def test_item_variant_equals_the_dense_computation(random_world):
    train = random_world()
    text = np.random.default_rng(1).normal(size=(30, 5)).astype(np.float32)
    v = unit(text - text.mean(0))
    similarity = np.zeros((30, 30))
    for row, values in enumerate(v @ v.T):
        near = np.argsort(-values)[:4]
        similarity[row, near] = np.maximum(values[near], 0)
    model = solved(train, torch.from_numpy(text), variant="item", neighbours=4)
    queries = Queries.of([[4, 9, 9], [], [1]])
    expected = np.stack([similarity[4] + similarity[9], similarity[0] * 0, similarity[1]])
    np.testing.assert_allclose(model.score(queries), expected, rtol=1e-4, atol=1e-5)
    some = np.array([[4, 0], [1, 2], [1, 29]])
    np.testing.assert_allclose(model.score(queries, some), np.take_along_axis(expected, some, 1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", ["user", "item"])
def test_cold_items_of_the_own_group_come_first(block_world, variant):
    train = block_world()
    warm = train.filter(train.items < 18)  # items 18-23 have texts but no event
    torch.manual_seed(0)
    text = torch.eye(3)[torch.arange(24) % 3] + 0.05 * torch.randn(24, 3)
    scores = solved(warm, text, variant=variant).score(Queries.of([[0, 3], [1], [2, 5]]))
    for row in range(3):
        cold = np.argsort(-scores[row, 18:]) + 18
        assert set(cold[:2] % 3) == {row}


def test_state_is_restored_into_a_fresh_object(random_world):
    train = random_world()
    for variant in ("user", "item"):
        model = solved(train, torch.randn(30, 6), variant=variant)
        fresh = TextKnn(TextKnnConfig(variant=variant), train)
        fresh.load_state_dict(model.state_dict())
        queries = Queries.of([[1, 2], [3]])
        assert (fresh.score(queries) == model.score(queries)).all()


def test_encode_serves_an_aligner(random_world):
    model = solved(random_world(), torch.randn(30, 6))
    batch = Batch(torch.arange(2), torch.tensor([3, 4]), None, torch.tensor([[-1, 5], [2, 7]]))
    encoded = model.encode(model.input_embeddings(), batch)
    torch.testing.assert_close(encoded.query, model.user_embeddings(Queries.of([[5], [2, 7]])))


def test_missing_or_short_texts_are_named(random_world):
    train = random_world()
    with pytest.raises(ConfigError, match=r"\[text\]"):
        TextKnn(TextKnnConfig(), train).fit(Fitting(train))
    with pytest.raises(ConfigError, match="7 text vectors for 30 items"):
        solved(train, torch.randn(7, 3))
