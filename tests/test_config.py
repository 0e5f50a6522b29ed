"""Recipes' TOML, ``--set`` and the messages of the checked options."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import PositiveInt

from interlingua.config import Config, FitConfig, build, merge, parse_overrides, read_toml, to_toml
from interlingua.errors import ConfigError


class Inner(Config):
    latent_dim: PositiveInt = 8


class Outer(Config):
    embedding_dim: PositiveInt = 16
    dropout: float = 0.1
    inner: Inner = Inner()


def test_defaults_and_given_values() -> None:
    built = build(Outer, {"dropout": 0, "inner": {"latent_dim": 3}})
    assert (built.embedding_dim, built.dropout, built.inner.latent_dim) == (16, 0.0, 3)


def test_options_cannot_be_changed_after_they_were_checked() -> None:
    with pytest.raises(Exception, match="frozen"):
        Outer().dropout = 0.5  # type: ignore[misc]


def test_unknown_key_names_the_nearest_one_and_the_section() -> None:
    with pytest.raises(ConfigError) as caught:
        build(Outer, {"embeding_dim": 3}, "recipes/x.toml [backbone]")
    text = str(caught.value)
    assert "'embeding_dim'" in text
    assert "recipes/x.toml [backbone]" in text
    assert "did you mean 'embedding_dim'?" in text


def test_unknown_key_of_a_nested_table_is_compared_with_that_tables_keys() -> None:
    with pytest.raises(ConfigError, match="did you mean 'latent_dim'"):
        build(Outer, {"inner": {"latent_dm": 3}})


def test_all_errors_are_shown_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        build(Outer, {"embedding_dim": -1, "dropuot": 1, "inner": {"latent_dim": "many"}}, "[backbone]")
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert any("embedding_dim" in line and "-1" in line for line in lines)
    assert any("inner.latent_dim" in line and "'many'" in line for line in lines)
    assert any("did you mean 'dropout'" in line for line in lines)


def test_every_option_of_the_loop_is_described() -> None:
    assert all(field.description for field in FitConfig.model_fields.values())


def test_sets_are_toml_values_or_plain_words() -> None:
    assert parse_overrides(["a.b=3", "a.c=0.5", "a.d=true", "name=sasrec", 'e=["x", "y"]', "f.g.h=null", "i=a=b"]) == {
        "a": {"b": 3, "c": 0.5, "d": True},
        "name": "sasrec",
        "e": ["x", "y"],
        "f": {"g": {"h": None}},
        "i": "a=b",
    }


@pytest.mark.parametrize("text", ["a.b", "=3", " =3"])
def test_a_set_without_a_key_or_value_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match=r"section\.key=value"):
        parse_overrides([text])


@pytest.mark.parametrize("wrong", ["backbone.dim=64", {"backbone.dim": 64}, [("backbone.dim", 64)]])
def test_overrides_are_a_list_of_texts(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"give a list of texts, e\.g\. \['backbone\.dim=64'\]"):
        parse_overrides(wrong)


def test_a_set_cannot_make_a_table_of_a_plain_value() -> None:
    with pytest.raises(ConfigError, match="plain value"):
        parse_overrides(["a=1", "a.b=2"])


def test_later_sets_win() -> None:
    assert parse_overrides(["a.b=1", "a.b=2"]) == {"a": {"b": 2}}


def test_merge_keeps_what_is_not_overridden() -> None:
    base = {"align": {"name": "x", "latent_dim": 8}, "seed": 1}
    assert merge(base, {"align": {"latent_dim": 9}}) == {"align": {"name": "x", "latent_dim": 9}, "seed": 1}
    assert base["align"] == {"name": "x", "latent_dim": 8}  # the arguments stay as they were


def test_another_component_starts_with_its_own_defaults() -> None:
    base = {"backbone": {"name": "sasrec", "num_blocks": 2}}
    assert merge(base, {"backbone": {"name": "mf"}}) == {"backbone": {"name": "mf"}}
    assert merge(base, {"backbone": {"name": "sasrec", "dropout": 0}})["backbone"]["num_blocks"] == 2


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_extends_goes_one_level_up(tmp_path: Path) -> None:
    write(tmp_path / "base.toml", 'name = "a"\n[align]\nname = "x"\nlatent_dim = 8\nweight = 1.0\n')
    child = write(tmp_path / "child.toml", 'extends = "base.toml"\n[align]\nlatent_dim = 4\n')
    assert read_toml(child) == {"name": "a", "align": {"name": "x", "latent_dim": 4, "weight": 1.0}}


def test_extends_does_not_go_two_levels_up(tmp_path: Path) -> None:
    write(tmp_path / "a.toml", "seed = 1\n")
    write(tmp_path / "b.toml", 'extends = "a.toml"\n')
    with pytest.raises(ConfigError, match="only one level"):
        read_toml(write(tmp_path / "c.toml", 'extends = "b.toml"\n'))


def test_extending_a_recipe_that_is_not_there_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.toml"):
        read_toml(write(tmp_path / "c.toml", 'extends = "missing.toml"\n'))


def test_a_broken_parent_is_named(tmp_path: Path) -> None:
    write(tmp_path / "parent.toml", "a = = 1")
    with pytest.raises(ConfigError, match=r"parent\.toml .*is not valid TOML"):
        read_toml(write(tmp_path / "c.toml", 'extends = "parent.toml"\n'))


@pytest.mark.parametrize("content", [b"a = ", b"\xff\xfe", b"[a]\n[a]\n"])
def test_invalid_toml_is_a_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"x\.toml is not valid TOML"):
        read_toml(path)


def test_a_missing_recipe_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="interlingua list recipes"):
        read_toml(tmp_path / "nothing.toml")


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
keys = st.one_of(st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True), texts)
scalars = st.one_of(st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False), texts)
plain = st.one_of(
    scalars,
    st.lists(st.integers(-5, 5), max_size=3),
    st.lists(texts, max_size=3),
    st.lists(st.dictionaries(keys, scalars, max_size=2), max_size=2),
)
tables = st.recursive(
    st.dictionaries(keys, plain, max_size=4), lambda inner: st.dictionaries(keys, st.one_of(plain, inner), max_size=4)
)


@given(tables)
def test_toml_written_is_toml_read(values: dict[str, Any]) -> None:
    assert tomllib.loads(to_toml(values)) == values


def test_none_is_left_out_of_toml() -> None:
    assert tomllib.loads(to_toml({"a": None, "b": {"c": None, "d": 1}})) == {"b": {"d": 1}}
