"""Weights of several sources of vectors: the leave-one-out error is what it says, and noise counts for nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from interlingua.nn.group_ridge import PENALTIES, learned_weights, leave_one_out_error


def test_the_error_is_that_of_models_without_the_row() -> None:
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(25, 4)), generator.normal(size=(25, 2))
    unit = float((np.linalg.svd(x - x.mean(0), compute_uv=False) ** 2).mean())
    expected = []
    for penalty in PENALTIES:
        errors = []
        for row in range(25):
            model = Ridge(alpha=penalty * unit).fit(np.delete(x, row, 0), np.delete(y, row, 0))
            errors.append(np.square(model.predict(x[[row]]) - y[row]))
        expected.append(float(np.mean(errors)))
    assert leave_one_out_error(torch.tensor(x), torch.tensor(y)) == pytest.approx(min(expected), rel=1e-8)


def test_noise_counts_for_nothing_and_what_tells_most_for_most() -> None:
    generator = torch.Generator().manual_seed(0)
    good, fair, noise = (torch.randn(300, n, generator=generator) for n in (5, 5, 40))
    targets = good @ torch.randn(5, 3, generator=generator) + 0.3 * fair @ torch.randn(5, 3, generator=generator)
    weights = learned_weights([100 * noise + 7, good, fair], targets + 0.1 * torch.randn(300, 3, generator=generator))
    assert weights[0] == 0.0
    assert weights[1] == 1.0
    assert 0 < weights[2] <= 1.0


def test_nothing_to_choose_leaves_all_equal() -> None:
    one = torch.randn(10, 3, generator=torch.Generator().manual_seed(1))
    assert learned_weights([one], one) == [1.0]
    assert learned_weights([one[:2], one[:2]], one[:2]) == [1.0, 1.0]
