"""BPR matrix factorisation learns the block world, for users it has trained on and for users it folds in."""

import numpy as np
import pytest
import torch

from interlingua.backbones.mf import Mf, MfConfig
from interlingua.config import Config, FitConfig
from interlingua.contracts.aligner import Aligner
from interlingua.contracts.batch import Batch
from interlingua.data.queries import Queries
from interlingua.nn.histories import fold_in
from interlingua.training.joint import Joint
from interlingua.training.loop import fit_best, seed_all


@pytest.fixture(name="trained")
def _trained(block_world):
    train = block_world()
    fit = FitConfig(learning_rate=2e-2, weight_decay=1e-4, batch_size=64, epochs=40)
    seed_all(0)
    model = Mf(MfConfig(embedding_dim=8, fit=fit), train)
    fit_best(Joint(model, Aligner(Config(), 0, 0)), model.batches(train, fit), fit, seed=0, device="cpu")
    return model, train


def in_group(scores, queries, groups):
    for row in range(len(queries)):
        scores[row, queries.history(row)] = -np.inf
    return np.mean([np.argmax(s) % 3 == g for s, g in zip(scores, groups, strict=True)])


def test_the_withheld_item_of_the_own_group_comes_first(trained):
    model, train = trained
    queries = train.queries()
    assert in_group(model.score(queries), queries, np.arange(60) % 3) == 1.0


def test_unseen_users_are_folded_in(trained):
    model, _ = trained
    queries = Queries.of([[0, 3], [1, 4, 7], [2], [5, 8], []])
    scores = model.score(queries)
    assert np.isfinite(scores).all()
    assert in_group(scores[:4], queries.slice(0, 4), [0, 1, 2, 2]) == 1.0


def test_fold_in_solves_its_normal_equations():
    torch.manual_seed(0)
    items = torch.randn(9, 4, dtype=torch.float64)
    queries = Queries.of([[0, 5, 5], [8]])
    got = fold_in(items, queries, 0.1, 0.3)
    for user, own in zip(got, ([0, 5], [8]), strict=True):
        weight = torch.full((9,), 0.1, dtype=torch.float64)
        weight[own] += 1.0
        wanted = torch.zeros(9, dtype=torch.float64)
        wanted[own] = 1.0 / weight[own]  # (1 + w) * target = 1
        gradient = items.T @ (weight * (items @ user - wanted)) + 0.3 * user
        assert gradient.abs().max() < 1e-9


def test_loss_by_hand(block_world):
    model = Mf(MfConfig(embedding_dim=2), block_world())
    with torch.no_grad():
        model.users[3] = torch.tensor([1.0, 2.0])
        model.items[1] = torch.tensor([3.0, 0.5])
        model.items[2] = torch.tensor([1.0, 1.0])
        model.bias[1], model.bias[2] = 0.25, 0.75
    batch = Batch(torch.tensor([3]), torch.tensor([1]), torch.tensor([2]))
    value = model.losses(model.encode(model.input_embeddings(), batch), batch)["bpr"]
    assert value.item() == pytest.approx(np.log1p(np.exp(-(4.25 - 3.75))), rel=1e-5)


def test_without_bias_scores_are_dot_products(block_world):
    train = block_world()
    model = Mf(MfConfig(embedding_dim=4, item_bias=False), train)
    expected = (model.users @ model.items.T).detach().numpy()
    np.testing.assert_allclose(model.score(train.queries()), expected, rtol=1e-5, atol=1e-6)
