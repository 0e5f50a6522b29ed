"""Which candidate a written line names: by the exact rule, by LLaRA's, and by that of A-LLMRec's authors."""

from __future__ import annotations

import pytest

pytest.importorskip("transformers")

from interlingua.lm.generate import paper_hit
from interlingua.lm.written import is_answer, one_contained


@pytest.mark.parametrize(
    ("written", "printed", "exact", "authors"),
    [
        ('"Toy Story (1995)"', ' "Toy Story (1995)"', True, True),
        ('"toy story (1995)" I think', ' "Toy Story (1995)"', True, True),
        ("Toy Story (1995)\nand more", " Toy Story (1995)", True, False),  # no quotes in this template
        ("Toy Story (1995) of course", " Toy Story (1995)", False, False),
        ('"Toy Story 2"', ' "Toy Story"', False, True),  # a longer title: the authors' substring counts it
        ('"Heat", "Alien"', ' "Alien"', False, True),  # several titles: so does a list
        ("", ' "Alien"', False, False),
        ("nothing that was shown", ' "Alien"', False, False),
        ('""Great" Cats"', ' ""Great" Cats"', True, True),
    ],
)
def test_the_exact_rule_wants_the_title_and_the_authors_a_part(
    written: str, printed: str, exact: bool, authors: bool
) -> None:
    assert is_answer(written, printed) is exact
    assert paper_hit(written, printed.strip().strip('"')) is authors


def test_llara_wants_exactly_one_candidate_in_the_line() -> None:
    shown = [" Toy Story", " Toy Story 2", " Heat", ' "Alien"']
    assert one_contained("heat", shown) == 2
    assert one_contained("I say: Heat!\nAlien", shown) == 2  # only the first line
    assert one_contained("\n  ALIEN", shown) == 3
    assert one_contained("Toy Story 2", shown) is None  # holds the shorter title too
    assert one_contained("Toy Story", shown) == 0
    assert one_contained("Heat, Alien", shown) is None
    assert one_contained("something else", shown) is None
