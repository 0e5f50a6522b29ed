"""Catalogue rows as strings: the three styles, missing fields, odd columns."""

import polars as pl
import pytest

from interlingua.data.catalogue import Catalogue
from interlingua.errors import ConfigError
from interlingua.vectors.fields import TextConfig, describe, item_texts

ITEMS = pl.DataFrame(
    {
        "item_id": ["a", "b", "c"],
        "title": ["Heat", None, "  "],
        "categories": [["Crime", "Action"], None, []],
        "description": ["A thief.\nA cop.", "Only a description", None],
        "year": [1995, None, None],
    }
)


def texts(**options):
    return item_texts(Catalogue(ITEMS), TextConfig(**options))


def test_labelled_leaves_missing_fields_out():
    assert texts() == [
        "Title: Heat. Categories: Crime, Action. Description: A thief. A cop",
        "Description: Only a description",
        "untitled item c",
    ]


def test_plain():
    assert texts(style="plain", fields=["title", "year"]) == ["Heat. 1995", "untitled item b", "untitled item c"]


def test_paper_form_with_its_words_for_missing_fields():
    assert texts(style="paper", fields=["title", "description"]) == [
        '"Heat, A thief. A cop."',
        '"No Title, Only a description"',
        '"No Title, No Description"',
    ]


def test_order_of_fields_is_kept():
    assert texts(fields=["year", "title"])[0] == "Year: 1995. Title: Heat"


def test_unknown_field_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'categories'"):
        texts(fields=["categorys"])


def test_a_field_goes_by_any_name_of_its_role():
    assert texts(fields=["genres", "title"]) == texts(fields=["categories", "title"])


def test_no_field_at_all():
    with pytest.raises(ConfigError, match=r"text\.fields is empty"):
        texts(fields=[])


def test_nothing_is_truncated():
    long = "word " * 5000
    assert describe({"title": long}, "plain") == long.strip()
