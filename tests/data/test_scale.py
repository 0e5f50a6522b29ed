"""Which values an event may have, by the ratings and labels of the data."""

from __future__ import annotations

import numpy as np
import pytest

from interlingua.data.scale import scale_of


@pytest.mark.parametrize(
    ("ratings", "labelled", "good", "bad"),
    [
        ([1, 4, 5], False, [0, 0.5, 5, None], [-1, 5.5, 1e308]),
        ([2, 4], True, [0, 5], [-0.1, 6]),  # nobody gave a 1 or a 5 so far
        ([1, 1], False, [0, 1], [2, -1]),
        ([7, 8.5, np.nan], False, [0, 10], [11, -1]),
        ([0, 96], False, [100], [101]),
        ([-10, 9.7], False, [-10, 10], [-11, 10.5]),
        ([3, 250], False, [2500, 0], [2501, -1]),  # counts
        ([np.nan], True, [0, 1, None], [0.5, 5, -1]),
        (None, True, [0, 1], [5]),
        (None, False, [-3, 5, 1e6], [1e308, -2e6]),
    ],
)
def test_what_fits(
    ratings: list[float] | None, labelled: bool, good: list[float | None], bad: list[float]
) -> None:  # fmt: skip
    scale = scale_of(None if ratings is None else np.array(ratings, np.float32), labelled)
    assert [scale.problem(value) for value in good] == [""] * len(good)
    assert all(scale.problem(value) for value in bad)
    assert [scale.fits(value) for value in (*good, *bad)] == [True] * len(good) + [False] * len(bad)


def test_the_problem_names_value_and_scale() -> None:
    said = scale_of(np.array([0.5, 5], np.float32), False).problem(1e308)
    assert said == "value is 1e+308; the run's data have ratings from 0.5 to 5: give 0 to 5, or leave it out"
    said = scale_of(None, True).problem(5.0)
    assert said == "value is 5.0; the run's data have labels (liked or not): give 0 or 1, or leave it out"
