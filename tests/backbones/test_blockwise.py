"""The inverse in blocks: as exact as the whole one, with progress on the way."""

from __future__ import annotations

import itertools

import pytest
import torch

from interlingua import progress
from interlingua.nn.blockwise import spd_inverse


@pytest.mark.parametrize("block", [1, 7, 32, 60, 100])
def test_it_is_the_inverse_for_every_width_of_blocks(block: int) -> None:
    rows = torch.randn(40, 60, generator=torch.Generator().manual_seed(block), dtype=torch.float64)
    matrix = rows.T @ rows + 2 * torch.eye(60, dtype=torch.float64)
    made = spd_inverse(matrix.clone(), "ease", block)
    torch.testing.assert_close(made, torch.linalg.inv(matrix))
    assert torch.equal(made, made.T)


def test_nothing_and_one_item() -> None:
    assert spd_inverse(torch.zeros(0, 0), "ease").shape == (0, 0)
    assert spd_inverse(torch.full((1, 1), 4.0), "ease").item() == 0.25


def test_single_precision_is_exact_to_rounding() -> None:
    rows = torch.randn(150, 300, generator=torch.Generator().manual_seed(1))
    matrix = rows.T @ rows + 50 * torch.eye(300)
    true = torch.linalg.inv(matrix.double())
    made = spd_inverse(matrix.clone(), "ease", 64).double()
    assert (made - true).abs().max() <= 2e-6 * true.abs().max()


def test_progress_runs_from_nothing_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(progress.Task, "_show", lambda self, note: seen.append((self.done, self.total)))
    spd_inverse(torch.eye(100), "ease", 10)
    assert seen == sorted(seen)
    assert seen[-1] == (100, 100)
    assert len(seen) == 20
    assert all(later - earlier <= 20 for (earlier, _), (later, _) in itertools.pairwise(seen))
