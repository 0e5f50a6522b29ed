"""Search spaces: what a file says, and what it may not say."""

from __future__ import annotations

from pathlib import Path

import pytest

from interlingua.errors import ConfigError
from interlingua.runs import recipe as recipes
from interlingua.tune.request import Request
from interlingua.tune.space import Choices, Range, overrides_of, read_space, shipped_spaces, written

GOOD = """
[backbone]
embedding_dim = [16, 32]
dropout = { low = 0.1, high = 0.5, step = 0.1 }
loss = ["ce", "bce"]
[backbone.fit]
epochs = { low = 1, high = 9 }
learning_rate = { low = 1e-4, high = 1e-1, log = true }
"""


def test_ranges_and_choices_are_read_under_their_options(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(GOOD)
    assert read_space(tmp_path / "s.toml") == {
        "backbone.embedding_dim": Choices((16, 32)),
        "backbone.dropout": Range(0.1, 0.5, step=0.1),
        "backbone.loss": Choices(("ce", "bce")),
        "backbone.fit.epochs": Range(1, 9),
        "backbone.fit.learning_rate": Range(1e-4, 1e-1, log=True),
    }
    assert read_space(tmp_path / "s.toml")["backbone.fit.epochs"].whole


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no option"),
        ("[backbone\n", "not valid TOML"),
        ("[backbone]\nl2 = 3", "--set backbone.l2=3"),
        ("[backbone]\nl2 = []", "one or more"),
        ("[backbone]\nl2 = [1, 1]", "twice"),
        ("[backbone]\nl2 = [[1]]", "one or more"),
        ("[backbone]\nl2 = { low = 1 }", "no 'high'"),
        ("[backbone]\nl2 = { low = 2, high = 1 }", "not below"),
        ("[backbone]\nl2 = { low = 1, high = inf }", "not below"),
        ("[backbone]\nl2 = { low = 1, high = 2, lag = true }", "did you mean 'log'"),
        ("[backbone]\nl2 = { low = 0.0, high = 2.0, log = true }", "above 0"),
        ("[backbone]\nl2 = { low = 1, high = 9, log = true, step = 2 }", "no step"),
        ("[backbone]\nl2 = { low = 1, high = 9, log = 1 }", "true or false"),
        ("[backbone]\nl2 = { low = 1, high = 9, step = 0.5 }", "whole step"),
        ("[backbone]\nl2 = { low = 1, high = 9, step = 20 }", "step = 20"),
        ("[backbone]\nl2 = { low = true, high = 9 }", "numbers"),
        ("[data]\nsplit = ['ratio', 'leave-one-out']", "another question"),
        ("[evaluate]\nretrieve = [1, 2]", "cannot be compared"),
    ],
)
def test_what_is_no_space_is_refused_in_words(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(ConfigError, match=said) as error:
        read_space(tmp_path / "s.toml")
    assert "s.toml" in str(error.value)


def test_a_missing_space_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read"):
        read_space(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="did you mean 'ease'"):
        read_space("eas")


@pytest.mark.parametrize("name", shipped_spaces())
def test_every_shipped_space_fits_its_recipe(name: str) -> None:
    Request(name, read_space(name), "planted").check()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[backbone]\nl3 = [1.0]", "l3"),
        ("[backbone]\nl2 = { low = -5.0, high = 5.0 }", "backbone.l2 = -5.0"),
        ("[backbone]\nl2 = { low = 1.0, high = 5.0 }\n[align]\nweight = [1.0]", r"no section \[align\]"),
    ],
)
def test_an_option_that_the_recipe_cannot_have_is_said_before_any_trial(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(ConfigError, match=said):
        Request("ease", read_space(tmp_path / "s.toml"), "planted").check()


@pytest.mark.parametrize("value", [True, 3, 3e-05, 0.1, "ce", 'a "quoted" = text', "null", "7"])
def test_a_trial_of_a_value_is_a_run_with_this_value(value: object) -> None:
    assert recipes.parse_overrides(overrides_of({"backbone.loss": value})) == {"backbone": {"loss": value}}
    assert written(value) in overrides_of({"backbone.loss": value})[0]
