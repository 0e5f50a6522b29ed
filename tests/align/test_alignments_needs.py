"""What aligners say they need, which is compared with the other parts of a recipe before anything runs."""

from __future__ import annotations

import pytest

from interlingua import registry

ITEMS, SIDES = {"text.items"}, {"text.items", "text.user_table"}
TRAINED = {"items", "inputs", "training"}


@pytest.mark.parametrize(
    ("name", "needs"),
    [
        ("none", {"items"}),
        ("contrastive", TRAINED | SIDES),
        ("masked", TRAINED | SIDES),
        ("darec", {"items", "inputs"} | SIDES),
        ("kar", TRAINED | SIDES),
        ("sdr", TRAINED | {"text.table", "text.users"}),
        ("init", TRAINED | ITEMS),
        ("ridge", {"items"} | ITEMS),
    ],
)
def test_an_aligner_needs_vectors_and_the_texts_that_it_reads(name: str, needs: set[str]) -> None:
    cls = registry.find("align", name)
    assert cls.needs(cls.Config()) == needs
