"""Recipes: every shipped one resolves, and what is wrong is said at once."""

import pytest

from interlingua.config import to_toml
from interlingua.errors import ConfigError
from interlingua.runs import recipe as recipes


@pytest.mark.parametrize("name", recipes.shipped())
def test_every_shipped_recipe_resolves_and_says_what_it_is(name):
    resolved = recipes.load(name)
    assert (resolved.backbone is not None) != (resolved.fuse is not None)
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


@pytest.mark.parametrize("name", recipes.shipped())
def test_no_recipe_on_movielens_reads_what_users_wrote_after_watching(name):
    """Tags are of held-out events too (:mod:`interlingua.data.sources.movielens`)."""

    def sections(recipe):
        for part in (recipe.text, *recipe.texts.values(), recipe.backbone, recipe.align, recipe.ranker, recipe.fuse):
            if part is not None:
                yield part.options()
        for member in recipe.members:
            yield from sections(member)

    def columns(options):
        for value in options.values():
            if isinstance(value, dict):
                yield from columns(value)
            else:
                yield from value if isinstance(value, list) else (value,)

    recipe = recipes.load(name)
    if str(recipe.data.name).startswith(("movielens", "ml-")):
        assert "tags" not in {str(each) for options in sections(recipe) for each in columns(options)}


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
        (["llm=3"], ["[ranker] is a table, not 3", "ranker.name=NAME"]),
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
    resolved = recipes.load("aligned-mixture", ["ranker=null", "align=null", "text=null"])
    assert (resolved.ranker, resolved.align, resolved.text) == (None, None, None)


@pytest.mark.parametrize(("text", "message"), [("align.frozen=true", "frozen"), ("backbone.name=3", "name")])
def test_names_that_are_no_words_are_config_errors(text, message):
    with pytest.raises(ConfigError, match=message):
        recipes.load("aligned-mixture", [text])


def test_a_renamed_recipe_is_followed_with_a_warning(capsys):
    for old, new in recipes.RENAMED.items():
        assert recipes.find(old) == recipes.find(new)
        assert f"{old!r} is called {new!r} now" in capsys.readouterr().err
        assert old not in recipes.shipped()


@pytest.mark.parametrize("method", ["a-llmrec", "ra-rec"])
def test_the_papers_methods_are_shipped_under_the_papers_names(method):
    """What makes each the paper's: no mixture, no distillation, the paper's losses and prompts."""
    resolved = recipes.load(method)
    options = resolved.ranker.config
    assert not options.fuse_scores
    assert options.distill_weight == 0
    assert options.num_layers is None  # the whole language model
    if method == "a-llmrec":
        assert (options.template, options.scoring, options.head_weight) == ("next-item", "likelihood", 0)
        assert (options.slots.user, options.slots.item) == ("backbone", "align")
        assert resolved.text.config.trainable
        weights = resolved.align.config
        assert min(weights.rec_weight, weights.match_weight, weights.recon_weight, weights.recon_text_weight) > 0
    else:
        assert (options.loss, options.injection, options.normalised) == ("bpr", "kv", False)
        assert options.align_weight > 0
        assert options.soft_epochs == 0
        assert (options.fraction, options.filter) == (0.06, "words")


@pytest.mark.parametrize("method", ["aligned-mixture", "aligned-mixture-long", "aligned-mixture-hour", "kv-mixture"])
def test_a_method_of_ours_says_so_in_its_first_lines_and_leaves_the_dial_alone(method):
    head = recipes.find(method).read_text(encoding="utf-8").split("[")[0]
    assert "Ours, not a paper's" in head or "aligned-mixture" in head
    assert recipes.load(method).ranker.config.cold_weight == 1


def test_a_recipe_without_a_dataset_says_which_is_taken() -> None:
    assert recipes.load({"backbone": {"name": "pop"}}).notes[-1] == "[data] names no dataset: movielens-small is taken"
    assert not recipes.load({"backbone": {"name": "pop"}, "data": {"name": "planted"}}).notes


def test_an_error_names_the_keys_of_the_section_too() -> None:
    fused = {"fuse": {"name": "sum", "members": ["pop", "ease"], "nmae": "logit"}}
    with pytest.raises(ConfigError, match=r"'nmae' in recipe \[fuse\]; did you mean 'name'.*members, name"):
        recipes.load(fused)
