"""Weights made once for each item give the utilities of the formula, whatever is silent, bent, or known of the user."""

from __future__ import annotations

import pytest
import torch

from interlingua.nn import conditional_logit as logit
from interlingua.nn.logit_weights import ItemWeights, standardise

MEMBERS, USERS, ITEMS = 3, 5, 60


@pytest.mark.parametrize("bend", [0.0, 1.0])
@pytest.mark.parametrize("by_user", [False, True])
def test_the_same_utilities_as_by_the_formula(bend: float, by_user: bool) -> None:
    generator = torch.Generator().manual_seed(3)
    scores = [torch.randn(USERS, ITEMS, generator=generator) * (n + 1) + n for n in range(MEMBERS)]
    scores[1][2] = 4.0  # says the same of every item
    counts = torch.randint(0, 5, (ITEMS,), generator=generator).float()
    known, silent = logit.known_of(counts), torch.zeros(MEMBERS, ITEMS, dtype=torch.bool)
    silent[0] = counts == 0
    parts = MEMBERS * (2 if bend else 1)
    numbers = torch.randn(4 * parts + 2, generator=generator)
    if not by_user:
        numbers[3 * parts : 4 * parts] = 0
    offsets, users = torch.randn(4, generator=generator), torch.randn(USERS, generator=generator)
    pairs = zip(scores, silent, strict=True)
    bent = logit.bent(torch.stack([logit.standardised(own, None, out) for own, out in pairs]), bend)
    expected = logit.utilities(numbers, bent, known, users) + offsets[known.kinds]
    weights = ItemWeights.of(numbers, offsets, known, silent, bend)
    found = weights.utilities([each.clone() for each in scores], users)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    for row in range(USERS):  # one alone gets what it gets among others
        alone = weights.utilities([each[row : row + 1].clone() for each in scores], users[row : row + 1])
        torch.testing.assert_close(alone[0], found[row], rtol=1e-6, atol=1e-6)


def test_standardised_in_place_also_what_is_all_the_same_or_nearly() -> None:
    rows = torch.randn(4, 4001, generator=torch.Generator().manual_seed(1))
    rows[1] = 0.1  # its mean is not 0.1 to the last bit
    rows[2] = 1e4 + rows[2].round() * 0.0078125  # spreads that floats just hold
    rows[3] = 0.0
    expected = logit.standardised(rows, None, torch.zeros(4001, dtype=torch.bool))
    found = standardise(rows.clone())
    torch.testing.assert_close(found[[0, 1, 3]], expected[[0, 1, 3]], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(found[2], expected[2], rtol=1e-2, atol=1e-2)


def test_other_numbers_or_items_make_other_weights() -> None:
    numbers, offsets, known = logit.plain(2), torch.zeros(4), logit.known_of(torch.arange(6.0))
    made = ItemWeights.of(numbers, offsets, known, torch.zeros(2, 6, dtype=torch.bool), 0.0)
    assert made.fits(numbers.clone(), offsets.clone(), known)
    numbers[0] += 1  # in place, as loading does
    assert not made.fits(numbers, offsets, known)
    assert not made.fits(logit.plain(2), offsets + 1, known)
    assert not made.fits(logit.plain(2), offsets, logit.known_of(torch.arange(6.0)))
