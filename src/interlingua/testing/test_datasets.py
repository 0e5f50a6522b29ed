"""What every named dataset promises: a reader, words, a licence, a place; the generated ones come at once."""

from __future__ import annotations

import pytest

from interlingua import registry
from interlingua.data.datasets import named
from interlingua.data.prepare import prepare

ALL = named()


@pytest.mark.parametrize("name", sorted(ALL))
def test_it_says_who_reads_it_whose_it_is_and_where_it_is(name: str) -> None:
    dataset = ALL[name]
    assert dataset.name == name
    assert dataset.reader is None or dataset.reader in registry.names("data")
    assert all((dataset.domain.noun, dataset.domain.verb, dataset.domain.past))
    assert dataset.licence
    assert dataset.about
    assert dataset.generated or dataset.url.startswith("https://")


@pytest.mark.parametrize("name", sorted(n for n, dataset in ALL.items() if dataset.generated))
def test_a_generated_one_is_prepared_under_its_own_name_and_words(name: str) -> None:
    made = prepare(name, options={"num_users": 30, "num_items": 20}, quiet=True)
    assert made.card["name"] == name
    assert made.catalogue.domain == ALL[name].domain
    assert len(made.split.test)
