"""Recipes: every shipped one resolves, and what is wrong is said at once."""

import pytest

from interlingua import recipe as recipes
from interlingua.config import to_toml
from interlingua.errors import ConfigError


@pytest.mark.parametrize("name", recipes.shipped())
def test_every_shipped_recipe_resolves_and_says_what_it_is(name):
    resolved = recipes.load(name)
    assert resolved.backbone is not None
    first = recipes.find(name).read_text(encoding="utf-8").split("\n", 1)[0]
    assert first.startswith("# ")
    assert len(first) > 12


@pytest.mark.parametrize("name", recipes.shipped())
def test_the_resolved_form_resolves_to_itself(name, tmp_path):
    resolved = recipes.load(name)
    again = recipes.resolve(resolved.resolved(), name)
    assert again.resolved() == resolved.resolved()
    path = tmp_path / "resolved.toml"
    path.write_text(to_toml(resolved.resolved()), encoding="utf-8")
    recipes.load(path)


def test_all_problems_are_reported_together_with_the_nearest_names():
    with pytest.raises(ConfigError) as caught:
        recipes.resolve({"backbone": {"name": "sasrek"}, "data": {"nam": "x"}, "aling": {}})
    text = str(caught.value)
    assert "did you mean 'sasrec'" in text
    assert "did you mean 'name'" in text
    assert "did you mean 'align'" in text


def test_unknown_recipe_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'pop'"):
        recipes.load("popp")


def test_set_overrides_and_a_changed_name_starts_the_section_anew():
    changed = recipes.load("sasrec", ["backbone.embedding_dim=24"])
    assert changed.backbone.config.embedding_dim == 24
    other = recipes.load("sasrec", ["backbone.name=pop"])
    assert other.backbone.name == "pop"


def test_data_argument_replaces_the_name_only():
    resolved = recipes.load("pop", ["data.filter.min_user=3"], data="planted")
    assert resolved.data.name == "planted"
    assert resolved.data.filter.min_user == 3


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["backbone=lightgcn"], ["[backbone] is a table", "did you mean --set backbone.name=lightgcn?"]),
        (["data=planted"], ["[data] is a table", "did you mean --set data.name=planted?"]),
        (["evaluate=full"], ["[evaluate] is a table", """did you mean --set 'evaluate.protocols=["full"]'?"""]),
        (["llm=3"], ["[llm] is a table, not 3", "llm.name=NAME"]),
        (["text=[]", "align=kar"], ["[text] is a table", "--set align.name=kar?"]),
    ],
)
def test_a_section_that_is_no_table_says_how_to_set_it(sets, words):
    with pytest.raises(ConfigError) as caught:
        recipes.load("pop", sets, data="planted")
    assert all(word in str(caught.value) for word in words), caught.value


def test_what_evaluate_is_told_to_write_works():
    assert recipes.load("pop", ['evaluate.protocols=["full"]']).evaluate.protocols == ["full"]


def test_null_takes_a_section_away():
    resolved = recipes.load("aligned-mixture", ["llm=null", "align=null", "text=null"])
    assert (resolved.llm, resolved.align, resolved.text) == (None, None, None)


@pytest.mark.parametrize(("text", "message"), [("align.frozen=true", "frozen"), ("backbone.name=3", "name")])
def test_names_that_are_no_words_are_config_errors(text, message):
    with pytest.raises(ConfigError, match=message):
        recipes.load("aligned-mixture", [text])
