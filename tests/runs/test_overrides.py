"""Overrides of nested options: neighbours stay, in every order, through ``extends``; what is not read is refused."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from interlingua import registry
from interlingua.config import merge, parse_overrides, read_toml, to_toml
from interlingua.data.prepare import DataConfig
from interlingua.data.splitting import SplitConfig
from interlingua.errors import ConfigError
from interlingua.runs import recipe as recipes

SHAPES = ("itemknn", "sasrec", "rlmrec-con", "a-llmrec", "paper/rlmrec/yelp-lightgcn", "paper/a-llmrec/small")
"""recipes that write their nested tables in every way there is: words, inline tables, headings, a parent's"""


def options(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, Any]]:
    """(path, another value) of every option, those of nested tables with their table's name before them."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from options(inner, f"{prefix}.{name}")
        else:
            yield f"{prefix}.{name}", f"another {name}"


def sections(values: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for section, table in values.items():
        if section == "data":
            yield from options(DataConfig, "data")
        elif "name" in table:
            yield from options(registry.find(section, table["name"]).Config, section)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Path -> value, with ``split = "ratio"`` written as ``split.name``."""
    out: dict[str, Any] = {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        if path == "data.split" and isinstance(value, str):
            out["data.split.name"] = value
        elif isinstance(value, Mapping):
            out |= flat(value, f"{path}.")
        else:
            out[path] = value
    return out


@pytest.mark.parametrize("name", SHAPES)
def test_every_pair_of_nested_options_keeps_its_neighbours_in_every_order(name: str) -> None:
    base = read_toml(recipes.find(name))
    nested = [(path, value) for path, value in sections(base) if path.count(".") > 1 and not path.endswith(".name")]
    assert len(nested) > 10
    for pair in itertools.combinations(nested, 2):
        expected = flat(base) | dict(pair)
        for order in itertools.permutations(pair):
            assert flat(merge(base, parse_overrides([f"{path}={value}" for path, value in order]))) == expected, order


@pytest.mark.parametrize("word", ["ratio", "global-time", "given"])
def test_a_word_is_the_name_of_its_table_in_every_order(word: str) -> None:
    for order in itertools.permutations([f"data.split={word}", "data.split.test=0.2", "data.split.valid=0.3"]):
        assert parse_overrides(order) == {"data": {"split": {"name": word, "test": 0.2, "valid": 0.3}}}


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


RATIO = '[data]\nname = "planted"\nsplit = "ratio"\n[backbone]\nname = "pop"\n'


def test_overriding_one_option_of_a_named_split_keeps_the_name(tmp_path: Path) -> None:
    split = recipes.load(write(tmp_path / "r.toml", RATIO), ["data.split.test=0.2"]).data.split
    assert (split.name, split.test, split.valid) == ("ratio", 0.2, 0.1)
    timed = write(tmp_path / "t.toml", RATIO.replace("ratio", "global-time"))
    assert recipes.load(timed, ["data.split.targets=next"]).data.split == SplitConfig(
        name="global-time", targets="next"
    )


def test_through_extends_too(tmp_path: Path) -> None:
    write(tmp_path / "parent.toml", RATIO)
    child = write(tmp_path / "child.toml", 'extends = "parent.toml"\n[data.split]\ntest = 0.25\n')
    split = recipes.load(child, ["data.split.valid=0.15"]).data.split
    assert (split.name, split.test, split.valid) == ("ratio", 0.25, 0.15)
    word = write(tmp_path / "word.toml", 'extends = "child2.toml"\n[data]\nsplit = "ratio"\n')
    write(tmp_path / "child2.toml", RATIO.replace('split = "ratio"\n', "split = { test = 0.3 }\n"))
    assert recipes.load(word).data.split == SplitConfig(name="ratio", test=0.3)


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["data.split.test=0.2"], ["test is read with name = 'ratio' or 'global-time'", "'leave-one-out'"]),
        (["data.split=given", "data.split.valid=0.1"], ["valid is read with", "name is 'given'"]),
        (["data.split=ratio", "data.split.targets=next"], ["targets is read with name = 'global-time' only"]),
        (["data.split=global-time", "data.split.by=time"], ["by is read with name = 'ratio'", "'global-time'"]),
    ],
)
def test_an_option_that_the_split_does_not_read_is_refused(sets: list[str], words: list[str]) -> None:
    for order in itertools.permutations(sets):
        with pytest.raises(ConfigError) as caught:
            recipes.load("itemknn", order)
        assert all(word in str(caught.value) for word in words), caught.value


def test_two_names_of_the_data_contradict_each_other() -> None:
    with pytest.raises(ConfigError, match=r"data\.name=movielens-small contradicts --data planted"):
        recipes.load("itemknn", ["data.name=movielens-small"], data="planted")
    assert recipes.load("itemknn", ["data.name=planted"], data="planted").data.name == "planted"
    assert recipes.load("itemknn", ["data.name=planted"]).data.name == "planted"


@pytest.mark.parametrize("section", ["text", "align", "ranker"])
def test_an_option_of_a_section_that_is_not_there_says_so(section: str) -> None:
    with pytest.raises(ConfigError) as caught:
        recipes.load("itemknn", [f"{section}.weight=3"])
    assert f"has no section [{section}]; leave it out, or begin" in str(caught.value)
    assert f"--set {section}.name=NAME" in str(caught.value)
    begun = recipes.load("mf", ["text.name=lsa", "text.dim=9", "align.name=ridge", "align.penalty=2"])
    assert begun.align is not None
    assert begun.align.config.penalty == 2


def test_every_paper_recipe_with_a_given_split_refuses_a_share() -> None:
    given = [name for name in recipes.shipped() if recipes.load(name).data.split.name == "given"]
    assert len(given) > 40
    for name in given:
        with pytest.raises(ConfigError, match=r"test is read with"):
            recipes.load(name, ["data.split.test=0.2"])


def test_what_is_not_read_is_not_stored_and_old_files_that_hold_it_open() -> None:
    assert SplitConfig().model_dump() == {"name": "leave-one-out"}
    old = {"name": "leave-one-out", "valid": 0.1, "test": 0.1, "by": "random", "targets": "all"}
    values = {"data": {"name": "planted", "split": old}, "backbone": {"name": "pop"}}
    assert recipes.resolve(values, stored=True).data.split == SplitConfig()
    with pytest.raises(ConfigError, match="by is read with"):
        recipes.resolve(values)


def test_a_table_and_a_plain_value_do_not_go_together_in_any_order() -> None:
    for order in itertools.permutations(["backbone.fit.epochs=3", "backbone.fit=3"]):
        with pytest.raises(ConfigError, match="plain value"):
            parse_overrides(order)


def test_resolved_recipes_are_written_and_read_with_what_they_say(tmp_path: Path) -> None:
    one = recipes.load("rlmrec-con", ["data.split.valid=0.1"])
    again = recipes.load(write(tmp_path / "again.toml", to_toml(one.resolved())))
    assert again.resolved() == one.resolved()
