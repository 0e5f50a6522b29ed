"""``[fuse]``: recipes joined to one: run, measured, stored, opened, refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from interlingua.contracts.scorer import Scorer, TableScorer
from interlingua.data.prepared import Dataset
from interlingua.data.queries import Queries
from interlingua.data.sources.planted import generate
from interlingua.errors import ArtifactError, ConfigError
from interlingua.fuse.rrf import Rrf, RrfConfig
from interlingua.fuse.sum import SumConfig, WeightedSum, standardised
from interlingua.recommender import Recommender
from interlingua.runs import recipe as recipes
from interlingua.runs import scorers, stages
from interlingua.runs.opening import open_session
from interlingua.runs.session import Session

WORLD = {"name": "planted", "options": {"num_users": 120, "num_items": 60}}
MEMBERS: list[Any] = ["itemknn", {"name": "words", "backbone": {"name": "textknn"}, "text": {"name": "lsa", "dim": 16}}]
EVALUATE = {"protocols": ["full"]}


def run(out: Path, members: list[Any] | None = None, **fuse: Any) -> Session:
    values = {"data": WORLD, "fuse": {"name": "sum", "members": members or MEMBERS} | fuse, "evaluate": EVALUATE}
    return stages.run(recipes.resolve(values, "joined"), out=out, seed=3, device="cpu")


@pytest.fixture(scope="module")
def joined(tmp_path_factory: pytest.TempPathFactory) -> Session:
    return run(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def world() -> Dataset:
    return generate(num_users=40, num_items=12, seed=1)


def constant(rows: list[float], world: Dataset) -> TableScorer:
    table = torch.zeros(world.split.train.num_items)
    table[: len(rows)] = torch.tensor(rows)
    return TableScorer(table[:, None], lambda queries: torch.ones(len(queries), 1))


def test_reciprocal_ranks_by_hand(world: Dataset) -> None:
    one, other = constant([3.0, 2.0, 1.0], world), constant([1.0, 3.0, 2.0], world)
    fused = Rrf(RrfConfig(k=10.0), [one, other], world.split.train)
    got = fused.score(Queries.of([[0]]), np.array([[0, 1, 2]]))
    expected = [1 / 11 + 1 / 13, 1 / 12 + 1 / 11, 1 / 13 + 1 / 12]
    np.testing.assert_allclose(got[0], expected, rtol=1e-6)


def test_a_sum_by_hand_and_a_member_that_says_nothing(world: Dataset) -> None:
    scores = np.array([[[1.0, 2.0, 3.0]], [[5.0, 5.0, 5.0]]], np.float32)
    np.testing.assert_allclose(standardised(scores)[0, 0], [-(1.5**0.5), 0, 1.5**0.5], rtol=1e-6)
    assert not standardised(scores)[1].any()
    fused = WeightedSum(SumConfig(weights=[2.0, 1.0]), [constant([1.0], world)] * 2, world.split.train)
    np.testing.assert_allclose(fused.join(scores)[0], 2 * standardised(scores)[0, 0], rtol=1e-6)


def test_the_weights_are_learned_from_validation_answers(world: Dataset) -> None:
    split = world.split
    right = np.zeros((split.train.num_users, split.train.num_items), np.float32)
    right[split.valid.users, split.valid.items[split.valid.offsets[:-1]]] = 1.0

    class Knows(Scorer):
        num_items = split.train.num_items

        def __init__(self, table: np.ndarray) -> None:
            self.table = table

        def score(self, queries: Queries, items: Any = None) -> np.ndarray:
            return self.table[queries.users]

    noise = np.random.default_rng(0).normal(size=right.shape).astype(np.float32)
    fused = WeightedSum(SumConfig(), [Knows(noise), Knows(right)], split.train)
    asked = split.queries("valid").take(np.repeat(np.arange(len(split.valid)), np.diff(split.valid.offsets)))
    fused.calibrate(asked, split.valid.items)
    noisy, knowing = fused.log_weights.exp().tolist()
    assert knowing > 5 * noisy


def test_it_is_no_worse_than_its_members(joined: Session, tmp_path: Path) -> None:
    own = joined.metrics["full"]["ndcg@10"]
    for member in joined.recipe.members:
        values = member.resolved() | {"data": WORLD, "evaluate": EVALUATE}
        alone = stages.run(recipes.resolve(values, member.name), out=joined.root, seed=3, device="cpu")
        assert set(alone.reused) >= {"prepare", "train"}  # the same stages, not trained again
        assert own >= alone.metrics["full"]["ndcg@10"] - 0.005


def test_an_opened_run_scores_as_the_one_that_was_measured(joined: Session) -> None:
    opened = open_session(joined.path, "cpu")
    queries = joined.data.split.queries("test").slice(0, 20)
    expected = scorers.scorer_of(joined).score(queries)
    np.testing.assert_array_equal(scorers.scorer_of(opened).score(queries), expected)
    answers = Recommender(opened).recommend(str(joined.data.split.train.user_ids[0]), k=3)
    assert [each.stage for each in answers] == ["sum"] * 3
    assert Recommender(opened).similar_items(str(joined.data.split.train.item_ids[0]), k=2)


def test_a_second_run_makes_nothing_anew_and_a_changed_member_changes_the_key(joined: Session) -> None:
    again = run(joined.root)
    assert again.path == joined.path
    assert again.reused == {"prepare", "fuse", "evaluate"}
    other = run(joined.root, ["pop", MEMBERS[1]])
    assert other.done["fuse"].key != joined.done["fuse"].key


def test_a_swapped_member_is_refused(tmp_path: Path) -> None:
    made = run(tmp_path)
    card = made.done["1.train"].path / "card.json"
    stored = json.loads(card.read_text(encoding="utf-8"))
    card.write_text(json.dumps(stored | {"key": "0" * 64}), encoding="utf-8")
    with pytest.raises(ArtifactError):
        open_session(made.path, "cpu")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"fuse": {"name": "sum", "members": ["itemknn"]}}, "two or more members"),
        ({"fuse": {"name": "sum"}}, "two or more members"),
        ({"fuse": {"name": "sum", "members": ["itemknn", "nothing"]}}, "nothing"),
        ({"fuse": {"name": "sum", "members": ["itemknn", 7]}}, "give a recipe's name"),
        (
            {"fuse": {"name": "sum", "members": ["pop", {"backbone": {"name": "ease"}, "data": {"name": "other"}}]}},
            r"member 2 has its own \[data\]",
        ),
        ({"fuse": {"name": "sum", "members": ["itemknn", "pop", "itemknn"]}}, "member 3 .* the same as member 1"),
        (
            {"fuse": {"name": "rrf", "members": ["pop", {"name": "mine", "backbone": {"name": "pop"}}]}},
            r"member 2 \(mine\) is the same as member 1",
        ),
        ({"fuse": {"name": "summ", "members": ["itemknn", "pop"]}}, "sum"),
        ({"fuse": {"name": "sum", "members": ["itemknn", "pop"]}, "backbone": {"name": "pop"}}, "section of a member"),
        ({"fuse": {"name": "sum", "members": ["pop", "itemknn"], "weights": [-1.0, 1.0]}}, "at least 0"),
        ({"fuse": {"name": "sum", "members": ["pop", {"backbone": {"name": "mf", "wide": 3}}]}}, "wide"),
    ],
)
def test_what_cannot_be_joined_is_refused_in_words(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        recipes.resolve({"data": WORLD} | values)


def test_a_members_file_may_not_import_code_untrusted(tmp_path: Path) -> None:
    (tmp_path / "evil.toml").write_text('[backbone]\nname = "os:Evil"\n', encoding="utf-8")
    file = tmp_path / "joined.toml"
    members = f'["pop", "{tmp_path / "evil.toml"}"]'
    file.write_text(f'[data]\nname = "planted"\n[fuse]\nname = "sum"\nmembers = {members}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="--trust"):
        recipes.load(file)


def test_the_number_of_weights_is_that_of_the_members(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="3 numbers for 2 members"):
        run(tmp_path, weights=[1.0, 1.0, 1.0])


def test_a_fused_run_is_measured_again(joined: Session) -> None:
    opened = open_session(joined.path, "cpu")
    options = opened.recipe.evaluate.model_copy(update={"protocols": ["sampled-20"], "part": "valid"})
    stage = stages.reevaluate(opened, options)
    assert "sampled-20" in json.loads((stage.path / "metrics.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"evaluate": {"protocols": ["full"], "metrics": ["auc"]}}, "auc"),
        ({"evaluate": {"protocols": ["full"], "metrics": ["diversity-vectors@5"]}}, "no \\[text\\]"),
        ({"evaluate": {"candidate_source": "aligned"}}, "leave it out"),
        ({"texts": {"x": {"name": "lsa"}}}, "section of a member"),
    ],
)
def test_what_a_plain_recipe_refuses_a_fused_one_refuses_too(more: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        recipes.resolve({"data": WORLD, "fuse": {"name": "rrf", "members": ["pop", "itemknn"]}} | more)


def test_members_that_rerank_see_repeats_where_the_protocol_has_them(world: Dataset) -> None:
    from interlingua.evaluate.rules import scorer_for
    from interlingua.retrieval.cascade import RetrieveThenRerank

    inner = constant([1.0, 2.0], world)
    fused = Rrf(RrfConfig(), [RetrieveThenRerank(inner, None, 5), inner], world.split.train)
    found: Any = scorer_for(fused, "full-repeat")
    assert found.members[0].repeat
    assert found.members[1] is inner
    assert scorer_for(fused, "full") is fused


def test_equal_members_share_the_weight(world: Dataset) -> None:
    split = world.split
    one = constant(list(range(12)), world)
    fused = WeightedSum(SumConfig(), [one, one], split.train)
    fused.calibrate(split.queries("valid"), split.valid.items[split.valid.offsets[:-1]])
    first, second = fused.log_weights.tolist()
    assert first == pytest.approx(second, abs=1e-3)
    assert abs(first) < 20


def test_a_recipe_among_its_own_members_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "round.toml"
    members = f'["pop", "{file}"]'
    file.write_text(f'[data]\nname = "planted"\n[fuse]\nname = "rrf"\nmembers = {members}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match="has itself among its members"):
        recipes.load(file)


def test_a_circle_of_recipes_is_one_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = tmp_path / "a.toml", tmp_path / "b.toml"
    for file, other in ((a, b), (b, a)):
        members = f'["pop", "{other}"]'
        file.write_text(f'[data]\nname = "planted"\n[fuse]\nname = "rrf"\nmembers = {members}\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"a\.toml -> .*b\.toml -> .*a\.toml") as caught:
        recipes.load(a)
    assert str(caught.value).count("a.toml") == 3
    assert capsys.readouterr().err.count("note:") <= 1
    with pytest.raises(ConfigError, match="-> "):  # also where tables are given, not files
        recipes.resolve({"data": WORLD, "fuse": {"name": "rrf", "members": ["pop", str(a)]}})
    a.write_text('extends = "a.toml"\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"a\.toml extends itself \(.* -> a\.toml\)"):
        recipes.load(a)


def test_two_members_have_two_names() -> None:
    values = {"data": WORLD, "fuse": {"name": "rrf", "members": [
        {"name": "mine", "backbone": {"name": "pop"}}, "ease", {"name": "mine", "backbone": {"name": "itemknn"}},
    ]}}  # fmt: skip
    with pytest.raises(ConfigError, match=r"members 1 and 3 are both called 'mine': give one another name"):
        recipes.resolve(values)
    assert len(recipes.resolve(values, stored=True).members) == 3  # a run that was made so still opens


def test_an_option_of_a_member_is_set_in_the_member() -> None:
    with pytest.raises(ConfigError, match=r"joins members .*an option of one of them; set it in that member's"):
        recipes.load("all-round", ["backbone.neighbours=50"])
    members = 'fuse.members=["pop", {name="mine", backbone={name="itemknn", neighbours=50}}]'  # as the error says
    assert recipes.load("all-round", [members]).members[1].backbone.config.neighbours == 50


def test_weights_that_do_not_fit_are_refused_before_anything_runs() -> None:
    with pytest.raises(ConfigError, match="3 numbers for 2 members"):
        recipes.resolve({"data": WORLD, "fuse": {"name": "sum", "members": MEMBERS, "weights": [1.0, 1.0, 1.0]}})


def test_the_data_are_read_once_whatever_the_number_of_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from interlingua.data import prepare as preparing
    from interlingua.runs import plan

    counts = {"load": 0, "source_fingerprint": 0}
    for module, name in ((preparing, "load"), (plan, "source_fingerprint")):
        original = getattr(module, name)

        def counted(*given: Any, name: str = name, original: Any = original, **more: Any) -> Any:
            counts[name] += 1
            return original(*given, **more)

        monkeypatch.setattr(module, name, counted)
    made = run(tmp_path, ["itemknn", "pop", "ease", MEMBERS[1]])
    assert counts == {"load": 1, "source_fingerprint": 1}
    opened = Recommender(open_session(made.path, "cpu"))
    assert opened.recommend(str(made.data.split.train.user_ids[0]), k=3)
    assert counts["load"] == 2  # by the opened run, whose stages have their keys already
    assert counts["source_fingerprint"] == 1


def test_a_dry_run_has_the_stages_in_their_order_and_prepares_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from interlingua.runs.planner import describe

    values = {"data": WORLD, "fuse": {"name": "sum", "members": MEMBERS}, "evaluate": EVALUATE}
    session = Session(recipes.resolve(values, "joined"), tmp_path, 3, "cpu")
    assert [row["stage"] for row in describe(session)] == [
        "prepare", "1.train", "2.embed", "2.train", "fuse", "evaluate",
    ]  # fmt: skip
    assert capsys.readouterr().err.count("data: check") == 1


def test_a_members_file_says_that_its_data_are_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "own.toml").write_text('[data]\nname = "elsewhere"\n[backbone]\nname = "ease"\n', encoding="utf-8")
    found = recipes.resolve({"data": WORLD, "fuse": {"name": "sum", "members": ["pop", str(tmp_path / "own.toml")]}})
    assert [each.data.name for each in found.members] == ["planted", "planted"]
    assert capsys.readouterr().err.count("own.toml: its [data] is not read") == 1


def test_another_way_to_join_keeps_the_members(tmp_path: Path) -> None:
    file = tmp_path / "joined.toml"
    file.write_text(
        '# x\n[data]\nname = "planted"\n[fuse]\nname = "sum"\nmembers = ["itemknn", "pop"]\nmax_questions = 5\n'
    )
    changed = recipes.load(str(file), ["fuse.name=rrf"])
    assert changed.fuse is not None
    assert changed.fuse.name == "rrf"
    assert [member.name for member in changed.members] == ["itemknn", "pop"]


def test_what_cannot_be_learned_and_where_it_was_learned_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = {"name": "ratio", "valid": 0.0, "test": 0.2}
    values = {"data": WORLD | {"split": split}, "fuse": {"name": "sum", "members": MEMBERS}, "evaluate": EVALUATE}
    stages.run(recipes.resolve(values, "joined"), out=tmp_path, seed=3, device="cpu")
    assert "fuse: the validation part is empty" in capsys.readouterr().err
    values = {"data": WORLD, "fuse": {"name": "sum", "members": MEMBERS}, "evaluate": EVALUATE | {"part": "valid"}}
    stages.run(recipes.resolve(values, "joined"), out=tmp_path, seed=3, device="cpu")
    assert "learned on the validation part, where it is measured now" in capsys.readouterr().err


def test_a_members_ranker_orders_as_many_items_as_the_joint_recipe_says() -> None:
    """Both in what the member is and in the key; the usual number leaves keys as they were."""
    survey: Any = {"backbone": {"name": "pop"}, "ranker": {"name": "llm-only"}}
    plans = {}
    for count in (None, 50, 7):
        own = EVALUATE | ({} if count is None else {"retrieve": count})
        values = {"data": WORLD, "fuse": {"name": "rrf", "members": ["itemknn", survey]}, "evaluate": own}
        found = recipes.resolve(values, "joined")
        assert [each.evaluate.retrieve for each in found.members] == [count or 50] * 2
        plans[count] = Session(found, Path("runs"), 3, "cpu").plan["fuse"].key
    assert plans[None] == plans[50] != plans[7]
