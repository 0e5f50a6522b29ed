from __future__ import annotations

import math

import pytest
import torch

from interlingua.nn.distillation import contrastive_distillation, spread, unit_mse


def test_unit_mse_by_hand_and_its_bound():
    students = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    teachers = torch.tensor([[0.0, 2.0], [0.0, -5.0]])
    # row 1: (1, 0) and (0, 1): 1 + 1; row 2: (0, 1) and (0, -1): 0 + 4; over four coordinates
    assert float(unit_mse(students, teachers)) == pytest.approx(6 / 4)
    opposite = torch.randn(5, 128, generator=torch.Generator().manual_seed(1))
    assert float(unit_mse(opposite, -7 * opposite)) == pytest.approx(4 / 128)


def test_spread_by_hand_over_the_pairs():
    rows = torch.tensor([[2.0, 0.0], [0.0, 3.0], [-1.0, 0.0]])
    # squared distances of unit rows: 2, 4, 2
    expected = (math.exp(-4) + math.exp(-8) + math.exp(-4)) / 3
    assert float(spread(rows)) == pytest.approx(expected, rel=1e-5)
    assert float(spread(torch.ones(4, 3))) == pytest.approx(1.0)
    assert float(spread(rows[:1])) == 0.0


def test_contrastive_distillation_by_hand():
    students = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    teachers = torch.tensor([[5.0, 0.0], [1.0, 1.0]])
    half = math.sqrt(0.5)
    rows = [
        -math.log(math.exp(2) / (math.exp(2) + math.exp(2 * half))),
        -math.log(math.exp(2 * half) / (1 + math.exp(2 * half))),
    ]
    assert float(contrastive_distillation(students, teachers, 0.5)) == pytest.approx(sum(rows) / 2, rel=1e-5)
