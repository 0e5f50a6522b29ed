"""The design behind the contract suite's whole recipes: few combinations, every permitted pair."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from interlingua.testing.combining import remedies
from interlingua.testing.covering import covering, held, parts

combinations = st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=60, unique=True)


@given(combinations, st.sampled_from([1, 2, 3]))
def test_it_holds_what_is_permitted_with_permitted_combinations_alone(permitted: list, strength: int) -> None:
    chosen = covering(permitted, strength)
    assert set(chosen) <= set(permitted)
    assert len(set(chosen)) == len(chosen)
    for each in permitted:
        assert parts(each, strength) <= held(chosen, strength)


def test_it_is_near_the_fewest_there_can_be() -> None:
    """Two positions of 5 and 4 values need 20 rows for their pairs; a third of 3 values fits into those."""
    whole = list(product(range(5), range(4), range(3)))
    assert 20 <= len(covering(whole)) <= 24
    assert len(covering(whole, 1)) == 5


def test_nothing_permitted_is_nothing_to_run() -> None:
    assert covering([]) == []


@pytest.mark.parametrize("strength", [1, 2])
def test_equal_input_gives_the_equal_design(strength: int) -> None:
    whole = list(product("abc", "de", "fg"))
    assert covering(whole, strength) == covering(list(whole), strength)


def test_a_remedy_that_does_not_exist_is_seen() -> None:
    """``remedies`` reads a refusal: what it says to choose, set or leave out, and whether that exists."""
    values = {"text": {"name": "lsa"}, "backbone": {"name": "ease"}}
    assert remedies("choose wisely, and set something", values) == []
    assert remedies("leave out [text], or choose the backbone sasrec, nothing", values) == [True, False, True]
    assert remedies("choose the aligner ridge or autoencoder, or a backbone that is trained", values) == [True, True]
    assert remedies("set text.dim = 8", values) == [True]
    assert remedies("set text.dims = 8; set llm.model = 'x'; leave out [fuse]", values) == [False, False, False]
