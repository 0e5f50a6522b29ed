"""Ridge against the normal equations and brute-force leave-one-out; the aligner that does nothing."""

import numpy as np
import pytest
import torch

from interlingua.align.none import BackboneAlone
from interlingua.align.ridge import GRID, Ridge, RidgeConfig, ridge
from interlingua.contracts.aligner import Aligner
from interlingua.contracts.batch import Embeddings
from interlingua.contracts.fitting import Fitting
from interlingua.data.interactions import Interactions
from interlingua.errors import ConfigError, DataError
from interlingua.vectors.frozen import FrozenRows


def problem(n=30, t=5, d=3, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((n, t))
    e = z @ rng.standard_normal((t, d)) + 2 + 0.5 * rng.standard_normal((n, d))
    w = rng.random(n) + 0.2
    return z, e, w / w.mean()


def solve_plainly(z, e, w, penalty):
    """Normal equations with an unpenalised column of ones."""
    mean = (w[:, None] * z).sum(0) / w.sum()
    centred = np.sqrt(w)[:, None] * (z - mean)
    unit = np.linalg.eigvalsh(centred.T @ centred).mean()
    ones = np.hstack([z, np.ones((len(z), 1))])
    matrix = (ones * w[:, None]).T @ ones + penalty * unit * np.diag([1.0] * z.shape[1] + [0.0])
    return np.linalg.solve(matrix, (ones * w[:, None]).T @ e), unit


@pytest.mark.parametrize("penalty", [1e-3, 0.3, 20.0])
def test_equals_the_normal_equations(penalty):
    z, e, w = problem()
    expected, _ = solve_plainly(z, e, w, penalty)
    weight, offset, used = ridge(*(torch.tensor(x) for x in (z, e, w)), penalty)
    assert np.allclose(weight.numpy(), expected[:-1])
    assert np.allclose(offset.numpy(), expected[-1])
    assert used.item() == pytest.approx(penalty)


def test_penalty_is_the_best_of_brute_force_leave_one_out():
    z, e, _ = problem(n=14, t=8)
    w = np.ones(len(z))
    _, unit = solve_plainly(z, e, w, 1.0)

    def left_out(penalty):
        error = 0.0
        for row in range(len(z)):
            keep = np.arange(len(z)) != row
            ones = np.hstack([z[keep], np.ones((len(z) - 1, 1))])
            matrix = ones.T @ ones + penalty * unit * np.diag([1.0] * z.shape[1] + [0.0])
            solution = np.linalg.solve(matrix, ones.T @ e[keep])
            error += ((e[row] - np.append(z[row], 1) @ solution) ** 2).sum()
        return error

    _, _, used = ridge(torch.tensor(z), torch.tensor(e), torch.tensor(w), None)
    assert used.item() == pytest.approx(min(GRID, key=left_out))


class Vectors:
    """What the aligner reads of a backbone."""

    def __init__(self, items):
        self.items = items

    def item_embeddings(self):
        return self.items

    def learned_items(self, train):
        return torch.as_tensor(train.item_counts > 0)


def world(counts):
    users = np.concatenate([np.full(c, i) for i, c in enumerate(counts)]).astype(int)
    return Interactions.of(np.array(["u"]), np.arange(len(counts)).astype(str), np.zeros(len(users), int), users)


def test_only_items_with_events_are_fitted():
    z, e, _ = problem(n=20)
    counts = np.array([2] * 15 + [0] * 5)
    noisy = e.copy()
    noisy[15:] = 1000.0
    fitted = []
    for vectors in (e, noisy):
        aligner = Ridge(RidgeConfig(), 3, 5)
        aligner.fit(Fitting(world(counts), FrozenRows(z.astype(np.float32)), Vectors(torch.tensor(vectors).float())))
        fitted.append(aligner.weight.clone())
    assert torch.equal(*fitted)
    assert fitted[0].any()


def test_export_and_reload():
    z, e, _ = problem(n=40)
    text, items = FrozenRows(z.astype(np.float32)), torch.tensor(e).float()
    aligner = Ridge(RidgeConfig(norm="match"), 3, 5)
    aligner.fit(Fitting(world([3] * 40), text, Vectors(items)))
    job = Fitting(world([3] * 40), text, tables={"items": items})
    tables = Embeddings.of(aligner.export(job))
    assert torch.equal(tables.items, items)
    assert (tables.items_from_text - items).square().mean() < items.var(0).mean() / 2
    assert tables.items_from_text.norm(dim=1).mean() == pytest.approx(items.norm(dim=1).mean().item(), rel=1e-4)
    again = Ridge(RidgeConfig(norm="match"), 3, 5)
    again.load_state_dict(aligner.state_dict())
    assert torch.equal(again.export(job)["items_from_text"], tables.items_from_text)


def test_count_weighting_follows_popular_items():
    z = np.array([[0.0], [1.0], [0.0], [1.0]])
    e = np.array([[0.0], [1.0], [5.0], [-4.0]])  # items 0 and 1 rise, 2 and 3 fall
    aligner = Ridge(RidgeConfig(weighting="count", penalty=1e-6), 1, 1)
    aligner.fit(Fitting(world([500, 500, 1, 1]), FrozenRows(z.astype(np.float32)), Vectors(torch.tensor(e).float())))
    assert aligner.weight.item() == pytest.approx(1.0, abs=0.05)


def test_needs_text_and_two_items():
    aligner = Ridge(RidgeConfig(), 3, 5)
    with pytest.raises(ConfigError, match=r"needs a \[text\] section"):
        aligner.fit(Fitting(world([1, 1]), None, Vectors(torch.zeros(2, 3))))
    with pytest.raises(DataError, match="two items with learned vectors, got 1"):
        aligner.fit(Fitting(world([1, 0]), FrozenRows(np.zeros((2, 5), np.float32)), Vectors(torch.zeros(2, 3))))


def test_none_changes_nothing_and_refuses_to_train():
    aligner = BackboneAlone(Aligner.Config(), 3, 5)
    items = torch.randn(4, 3)
    assert aligner.export(Fitting(world([1] * 4), tables={"items": items}))["items"] is items
    backbone = torch.nn.Linear(2, 2)
    with pytest.raises(ConfigError, match="trains nothing"):
        aligner.fit(Fitting(world([1]), None, backbone))
    aligner.fit(Fitting(world([1]), None, backbone.requires_grad_(False)))
