"""Sorted arrays as sets: the same as NumPy's own answers, at the speed of sorting."""

from __future__ import annotations

import time

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from interlingua.runtime.sorted_sets import among, distinct

NUMBERS = arrays(np.int64, array_shapes(max_dims=2, min_side=0, max_side=20), elements=st.integers(-9, 9))


@given(NUMBERS, NUMBERS)
def test_they_are_numpys_sets(values: np.ndarray, table: np.ndarray) -> None:
    assert np.array_equal(distinct(values), np.unique(values))
    found = among(values, table.ravel())
    assert found.shape == values.shape
    assert np.array_equal(found, np.isin(values, table))


def test_a_million_pairs_take_no_longer_than_sorting_them() -> None:
    pairs = np.random.default_rng(0).integers(0, 10**12, 1_000_000)
    started = time.process_time()
    np.sort(pairs, kind="stable")
    limit = 20 * (time.process_time() - started) + 0.05
    started = time.process_time()
    distinct(pairs)
    assert time.process_time() - started < limit
