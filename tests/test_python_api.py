"""The package from Python: tables in memory in, numbers and ids out, and errors that never print a table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import interlingua
from interlingua.data.sources.planted import generate
from interlingua.errors import ConfigError, InterlinguaError, shown
from interlingua.recommender import Recommender
from interlingua.retrieval.alike import alike, alike_of_values
from interlingua.runs.session import Session

WORLD = generate(num_users=60, num_items=40, seed=5)
MARK = "a cell of the table"
EVENTS = pl.DataFrame(
    {
        "user_id": [f"u{u}" for u in WORLD.interactions.users],
        "item_id": [f"i{i}" for i in WORLD.interactions.items],
        "timestamp": WORLD.interactions.times,
        "note": [MARK] * len(WORLD.interactions),
    }
)
ITEMS = pl.DataFrame({"item_id": [f"i{i}" for i in range(40)], "title": [f"Title {i}" for i in range(40)]})


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api")


def ran(root: Path, recipe: str = "itemknn", data: Any = EVENTS, **options: Any) -> Session:
    return interlingua.run(recipe, data=data, out=root / "runs", **options)


@pytest.fixture(scope="module")
def session(root: Path) -> Session:
    return ran(root, data={"interactions": EVENTS, "items": ITEMS})


@pytest.fixture(scope="module")
def recommender(session: Session) -> Recommender:
    return interlingua.load(session)


def as_is(root: Path) -> Any:
    return EVENTS


def as_pandas(root: Path) -> Any:
    return EVENTS.to_pandas()


def as_columns(root: Path) -> Any:
    return {name: EVENTS[name].to_numpy() for name in EVENTS.columns}


def as_file(root: Path) -> Any:
    EVENTS.write_csv(root / "events.csv")
    return root / "events.csv"


def as_path_text(root: Path) -> Any:
    return str(as_file(root))


def as_prepared(root: Path) -> Any:
    return interlingua.prepare(EVENTS, quiet=True)


@pytest.mark.parametrize("given", [as_is, as_pandas, as_columns, as_file, as_path_text, as_prepared])
def test_data_comes_in_every_form(given: Callable[[Path], Any], root: Path) -> None:
    sets = ["data.filter.min_user=0", "data.filter.min_item=0"]
    data = given(root)
    found = ran(root, "pop", data, overrides=sets)
    assert found.data.interactions.num_users == EVENTS["user_id"].n_unique()
    assert set(found.data.interactions.item_ids.tolist()) == set(EVENTS["item_id"])
    again = ran(root, "pop", given(root), overrides=sets)
    assert again.reused >= {"prepare", "train", "evaluate"}  # equal tables are one source
    opened = interlingua.load(found.path)
    assert len(opened.recommend(history=[], k=3)) == 3


def test_another_table_is_another_source(root: Path) -> None:
    one, two = ran(root, "pop", EVENTS), ran(root, "pop", EVENTS.with_columns(pl.col("timestamp").reverse()))
    assert one.done["prepare"].key != two.done["prepare"].key


def test_columns_of_a_frame_are_named_by_sets(root: Path) -> None:
    renamed = EVENTS.rename({"user_id": "who", "item_id": "what"})
    found = ran(root, "pop", renamed, overrides=["data.columns.user_id=who", "data.columns.item_id=what"])
    assert found.metrics.keys() == {"full", "sampled-20"}


def test_a_session_has_its_numbers(session: Session) -> None:
    stored = interlingua.load(session.path).session
    assert session.metrics["full"]["ndcg@10"] == session.reports["full"].metrics["ndcg@10"]
    assert session.metrics == stored.metrics
    low, high = session.intervals["full"]["ndcg@10"]
    assert low <= session.metrics["full"]["ndcg@10"] <= high
    assert (
        session.slices["full"]["warm items"]["hit@10"]
        == (session.reports["full"].slices["warm items"].metrics["hit@10"])
    )
    with pytest.raises(ConfigError, match="nothing has been measured"):
        _ = Session(session.recipe, session.root).metrics


def test_a_session_is_shown_in_a_line(session: Session) -> None:
    shown_one = repr(session)
    name, value = next(iter(session.metrics["full"].items()))
    stages = "prepare, train, evaluate"
    assert shown_one == f"Session('itemknn', '{session.path}', done: {stages}; full {name} {value:.4f})"
    fresh = Session(session.recipe, session.root)
    assert repr(fresh) == f"Session('itemknn', '{session.root}', done: nothing)"


def test_a_recipe_is_a_mapping_too(root: Path) -> None:
    sections = {"backbone": {"name": "itemknn"}, "evaluate": {"protocols": ["full"]}}
    options = {"out": root / "mapping", "device": "cpu"}
    one = interlingua.run(sections, data=EVENTS, overrides=["backbone.neighbours=7"], **options)
    same = {"backbone": {"name": "itemknn", "neighbours": 7}, "evaluate": {"protocols": ["full"]}}
    two = interlingua.run({"data": {"name": one.recipe.data.name}} | same, **options)
    assert two.path == one.path
    assert sections["backbone"] == {"name": "itemknn"}  # nobody wrote into it
    assert interlingua.load(one.path).recommend("u3", k=3) == interlingua.load(two).recommend("u3", k=3)
    with pytest.raises(ConfigError, match=r"'neighbors' in recipe \[backbone\]"):
        interlingua.run({"backbone": {"name": "itemknn", "neighbors": 7}}, **options)
    with pytest.raises(ConfigError, match=r"imports 'os:Path'.*trust=True"):
        interlingua.run({"backbone": {"name": "os:Path"}}, data=EVENTS, **options)
    with pytest.raises(ConfigError, match="recipe is 7; give a shipped name, a path, a mapping"):
        interlingua.run(7, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("split", [None, "ratio", {"name": "ratio", "test": 0.2}])
def test_prepare_takes_plain_options(split: Any) -> None:
    from interlingua.data.filter import FilterConfig
    from interlingua.data.splitting import SplitConfig

    plain = interlingua.prepare(EVENTS, filter={"min_user": 9}, split=split, clean={"bad_rows": "error"}, quiet=True)
    values = {"name": split} if isinstance(split, str) else split or {}
    classes = interlingua.prepare(EVENTS, filter=FilterConfig(min_user=9), split=SplitConfig(**values), quiet=True)
    assert plain.fingerprint == classes.fingerprint
    assert plain.interactions.user_counts.min() >= 9


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"filter": {"min_users": 5}}, "min_user"),
        ({"filter": {"min_user": "many"}}, r"filter\.min_user"),
        ({"split": "leave-two-out"}, r"split"),
        ({"split": 3}, "SplitConfig"),
        ({"clean": ["drop"]}, "CleanConfig"),
    ],
)
def test_prepare_refuses_options_in_words(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        interlingua.prepare(EVENTS, quiet=True, **options)


def test_many_users_are_each_user_alone(recommender: Recommender) -> None:
    users = ["u3", "u0", "u7", "u3"]
    frame = recommender.recommend(users=users, k=4)
    assert frame.schema == {"user_id": pl.String, "item_id": pl.String, "score": pl.Float32, "rank": pl.Int64,
                            "stage": pl.String}  # fmt: skip
    alone = [(user, r.item_id, place) for user in users for place, r in enumerate(recommender.recommend(user, k=4), 1)]
    assert frame.select("user_id", "item_id", "rank").rows() == alone
    scores = [r.score for user in users for r in recommender.recommend(user, k=4)]
    assert frame["score"].to_list() == pytest.approx(scores)


def test_blocks_do_not_change_many_answers(recommender: Recommender, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = recommender.recommend(users=[f"u{n}" for n in range(20)], k=3, diversity=0.5, exclude=["i1"])
    monkeypatch.setattr("interlingua.runs.lists.block_size", lambda items: 3)
    assert whole.equals(recommender.recommend(users=[f"u{n}" for n in range(20)], k=3, diversity=0.5, exclude=["i1"]))
    assert "i1" not in whole["item_id"]


def test_many_histories_have_names_or_numbers(recommender: Recommender) -> None:
    given = [["i1", "i2"], [], ["i5"]]
    numbered = recommender.recommend(histories=given, k=2)
    assert numbered["user_id"].unique(maintain_order=True).to_list() == ["0", "1", "2"]
    named = recommender.recommend(histories=dict(zip("abc", given, strict=True)), k=2)
    assert named["user_id"].unique(maintain_order=True).to_list() == ["a", "b", "c"]
    assert named.drop("user_id").equals(numbered.drop("user_id"))
    stages = {each: recommender.recommend(history=given[place], k=2)[0].stage for place, each in enumerate("abc")}
    assert (
        dict(named.select("user_id", "stage").rows()) == stages == {"a": "itemknn", "b": "popularity", "c": "itemknn"}
    )
    first = [r.item_id for r in recommender.recommend(history=["i1", "i2"], k=2)]
    assert named.filter(pl.col("user_id") == "a")["item_id"].to_list() == first
    assert recommender.recommend(users=[], k=2).is_empty()


def test_repeat_lets_the_history_come_out(recommender: Recommender) -> None:
    history = [r.item_id for r in recommender.recommend(history=["i1", "i2"], k=38)]
    assert recommender.recommend(history=[*history, "i1", "i2"], k=9) == []
    repeated = recommender.recommend(history=[*history, "i1", "i2"], k=9, repeat=True)
    assert len(repeated) == 9
    frame = recommender.recommend(histories=[[*history, "i1", "i2"]], k=9, repeat=True)
    assert frame["item_id"].to_list() == [r.item_id for r in repeated]


def test_items_alike_were_had_by_the_same_users(session: Session, recommender: Recommender) -> None:
    """Without vectors: the cosine of two columns of the user-item matrix, worked out with sets."""
    events = session.data.interactions
    who = {str(i): {int(u) for u, j in zip(events.users, events.items, strict=True) if j == row}
           for row, i in enumerate(events.item_ids)}  # fmt: skip
    expected = {
        other: len(who["i1"] & users) / np.sqrt(len(who["i1"]) * len(users)) for other, users in who.items() if users
    }
    found = recommender.similar_items("i1", k=5)
    best = sorted((value for item, value in expected.items() if item != "i1"), reverse=True)[:5]
    assert [each.score for each in found] == pytest.approx(best)
    assert all(each.score == pytest.approx(expected[each.item_id]) for each in found)
    assert found[0].title == f"Title {found[0].item_id[1:]}"


@pytest.mark.parametrize("recipe", ["itemknn", "mf"])
def test_users_and_items_alike_are_found_in_every_kind_of_run(recipe: str, root: Path) -> None:
    sets = [] if recipe == "itemknn" else ["backbone.fit.epochs=1"]
    made = interlingua.load(ran(root, recipe, {"interactions": EVENTS, "items": ITEMS}, overrides=sets))
    for found in (made.similar_items("i3", 7), made.similar_users("u3", 7)):
        ids, scores = [each[0] for each in found], [each.score for each in found]
        assert 0 < len(ids) <= 7
        assert len(set(ids)) == len(ids)
        assert not {"i3", "u3"} & set(ids)
        assert scores == sorted(scores, reverse=True)
        assert max(scores) <= 1 + 1e-6


def test_the_nearest_by_hand() -> None:
    import torch

    vectors = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 0.0], [1.0, 1.0], [-1.0, 0.0]])
    for size in (1, 2, 9):  # rows of a block
        found = alike(vectors.split(size), vectors[0], 9, row=0)
        assert found.indices.tolist() == [[1, 3]]
        assert found.scores[0].tolist() == pytest.approx([1, 2**-0.5])
    assert not alike(vectors.split(2), vectors[2], 9, row=2).indices.size  # a zero vector is like nothing
    found = alike_of_values(np.array([1, 0.5, 0, -0.2, 0.5], np.float32), 9, row=0)
    assert found.indices.tolist() == [[1, 4]]


WRONG: list[Callable[[Any, Path], Any]] = [
    lambda bad, root: interlingua.run(bad),
    lambda bad, root: interlingua.run("pop", data=[bad], out=root),
    lambda bad, root: interlingua.run("pop", data={"interactions": EVENTS, "itemz": bad}, out=root),
    lambda bad, root: interlingua.prepare(EVENTS, filter=bad, quiet=True),
    lambda bad, root: interlingua.prepare(EVENTS, filter={"min_user": bad}, quiet=True),
    lambda bad, root: interlingua.prepare(EVENTS, split=bad, quiet=True),
    lambda bad, root: interlingua.prepare([bad], quiet=True),
    lambda bad, root: interlingua.measure(None, None, protocol=bad),
]  # fmt: skip
ASKED: list[Callable[[Any, Recommender], Any]] = [
    lambda bad, found: found.recommend(bad),
    lambda bad, found: found.recommend(history=bad),
    lambda bad, found: found.recommend(users=bad),
    lambda bad, found: found.recommend(histories=[bad]),
    lambda bad, found: found.similar_items(bad),
    lambda bad, found: found.similar_users(bad),
    lambda bad, found: found.explain(bad, "u1"),
    lambda bad, found: found.explain("i1", bad),
]


@pytest.mark.parametrize(
    "bad", [EVENTS, EVENTS.to_pandas(), EVENTS["note"], [MARK] * 5000], ids=["polars", "pandas", "series", "list"]
)
@pytest.mark.parametrize("number", range(len(WRONG) + len(ASKED)))
def test_no_error_prints_a_table(
    number: int, bad: Any, root: Path, recommender: Recommender, capsys: pytest.CaptureFixture[str]
) -> None:
    message = ""
    try:
        WRONG[number](bad, root) if number < len(WRONG) else ASKED[number - len(WRONG)](bad, recommender)
    except InterlinguaError as error:
        message = str(error)
    assert message or "that the run does not know, left out" in (message := capsys.readouterr().err)
    assert len(message) < 1500
    assert message.count(MARK) <= 6


def test_a_value_in_an_error_is_short() -> None:
    assert shown(3) == "3"
    assert shown("x" * 500).endswith("x ...")
    assert len(shown(list(range(10_000)))) < 200
    assert shown(np.zeros((3, 4))) == "a numpy.ndarray of shape (3, 4)"
    assert shown({"a": EVENTS}) == "a dict of 1 tables or arrays"


def test_no_public_name_is_that_of_a_part() -> None:
    """A subpackage takes the name over as soon as anything imports it: ``interlingua.evaluate`` was both."""
    import pkgutil

    parts = {found.name for found in pkgutil.iter_modules(interlingua.__path__)}
    assert parts & set(interlingua.__all__) == {"align"}  # which is both: a room that can be called
    assert callable(interlingua.align)
    assert interlingua.align is __import__("interlingua.align.ridge").align


def shown_ids(found: Any) -> list[str]:
    return [each.item_id for each in found]


def test_only_what_is_allowed_comes_out(recommender: Recommender) -> None:
    everything = shown_ids(recommender.recommend("u3", k=40))
    wanted = ["i9", "i2", "i30", everything[0]]
    found = shown_ids(recommender.recommend("u3", k=3, items=wanted))
    assert found == [item for item in everything if item in wanted][:3]
    assert (
        shown_ids(recommender.recommend("u3", k=3, items=wanted, exclude=[found[0]]))
        == [item for item in everything if item in wanted and item != found[0]][:3]
    )
    assert recommender.recommend("u3", items=[]) == []
    frame = recommender.recommend(users=["u3", "u5"], k=3, items=wanted)
    assert set(frame["item_id"]) <= set(wanted)
    assert frame.filter(pl.col("user_id") == "u3")["item_id"].to_list() == found


def test_filters_are_conditions_on_columns(recommender: Recommender) -> None:
    everything = shown_ids(recommender.recommend("u3", k=40))
    found = shown_ids(recommender.recommend("u3", k=40, filters={"title": ["Title 4", "Title 7", "Title 11"]}))
    assert found == [item for item in everything if item in ("i4", "i7", "i11")]
    assert shown_ids(recommender.recommend("u3", k=40, filters={"title contains": "e 1"}, items=["i1", "i2"])) == [
        item for item in everything if item == "i1"
    ]
    with pytest.raises(InterlinguaError, match=r"unknown column 'titel' in filters; did you mean 'title'\?"):
        recommender.recommend("u3", filters={"titel": "Title 4"})


def test_a_column_keeps_the_name_that_its_source_gave_it(root: Path) -> None:
    shelves = [["Crime", "Sea"][n % 2] for n in range(40)]
    items = ITEMS.rename({"title": "what"}).with_columns(pl.Series("genre", shelves))
    given = {"interactions": EVENTS, "items": items}
    made = interlingua.load(ran(root, "pop", given, overrides=["data.columns.title=what"]).path)
    expected = shown_ids(made.recommend(history=[], k=40, filters={"categories": "Sea"}))
    assert len(expected) == 20
    made.save_pretrained(root / "saved")
    for each in (made, interlingua.from_pretrained(root / "saved")):
        assert shown_ids(each.recommend(history=[], k=40, filters={"genre": "Sea"})) == expected
        assert shown_ids(each.recommend(history=[], k=40, filters={"what": "Title 3"})) == ["i3"]
        with pytest.raises(InterlinguaError, match=r"'gerne' in filters; did you mean 'genre'.*\(the source's genre\)"):
            each.recommend(history=[], filters={"gerne": "Sea"})
    again = interlingua.prepare(root / "saved" / next(p.name for p in (root / "saved").glob("prepare-*")) / "dataset")
    assert again.catalogue.names == {"title": "what", "categories": "genre"}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (lambda r: r.recommend("u1", k=2.5), r"k must be at least 1, and a whole number, got 2\.5"),
        (lambda r: r.recommend("u1", k=True), "k must be at least 1, and a whole number, got True"),
        (lambda r: r.recommend(users=["u1"], k="3"), "k must be at least 1, and a whole number, got '3'"),
        (lambda r: r.similar_items("i1", k=1.0), r"k must be at least 1, and a whole number, got 1\.0"),
        (lambda r: r.recommend("u1", diversity="much"), "diversity must be a number from 0 to 1,000, got 'much'"),
        (lambda r: r.recommend(["u1", "u2"]), r"user is \['u1', 'u2'\], .*; for several users write users=\[\.\.\.\]"),
        (lambda r: r.explain("i1", ["u1"]), r"for several users write users="),
        (lambda r: r.similar_items(["i1"]), r"item is \['i1'\], and an id is a text or a number$"),
    ],
)
def test_a_question_of_the_wrong_form_is_refused_in_words(
    asked: Callable[[Recommender], Any], words: str, recommender: Recommender
) -> None:
    with pytest.raises(ConfigError, match=words):
        asked(recommender)


def test_a_whole_number_of_numpy_is_one(recommender: Recommender) -> None:
    assert recommender.recommend("u1", k=np.int64(3)) == recommender.recommend("u1", k=3)


def test_items_without_evidence_come_in_the_order_of_popularity(recommender: Recommender) -> None:
    found = recommender.recommend(history=["i1"], k=40)
    rest = [each.item_id for each in found if each.score == 0]
    counts = dict(zip(recommender.train.item_ids.tolist(), recommender.train.item_counts.tolist(), strict=True))
    assert len({counts[item] for item in rest}) > 3  # the world has both
    assert [counts[item] for item in rest] == sorted((counts[item] for item in rest), reverse=True)
    assert [each.score for each in found] == sorted((each.score for each in found), reverse=True)
    few = recommender.recommend(history=["i1"], k=len(found) - len(rest) + 2)  # also where the list ends among them
    assert [each.item_id for each in few] == [each.item_id for each in found][: len(few)]


def test_ids_that_pandas_made_floats_are_the_ids(root: Path) -> None:
    numbers = EVENTS.with_columns(pl.col("user_id", "item_id").str.slice(1).cast(pl.Int64))
    made = interlingua.load(ran(root, data=numbers))
    assert made.recommend(3.0, k=4) == made.recommend("3", k=4) == made.recommend(np.int64(3), k=4)
    assert made.recommend(history=np.array([1.0, 2.0]), k=4) == made.recommend(history=["1", "2"], k=4)
    assert made.similar_items(5.0, k=3) == made.similar_items("5", k=3)
