"""Items that come after training: they are what training would have made of them without an event."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

import interlingua
from interlingua.data.queries import Queries
from interlingua.data.sources.planted import generate
from interlingua.errors import ConfigError, DataError, UnknownIdError
from interlingua.recommender import Recommender
from interlingua.runs.scorers import scorer_of
from interlingua.runs.shelf import Changed
from interlingua.testing.tiny_sentence_encoder import tiny_encoder
from interlingua.vectors.fields import TextConfig
from interlingua.vectors.frozen import FrozenRows

WORLD = generate(num_users=60, num_items=40, seed=3)
COLD = (3, 17, 29)
"""items whose events are all held out"""
FIT = {"epochs": 2, "patience": None}
LSA = {"name": "lsa", "dim": 12}
SASREC = {"name": "sasrec", "embedding_dim": 8, "max_history": 8, "num_blocks": 1, "fit": FIT}
MF = {"name": "mf", "embedding_dim": 8, "fit": FIT}
LIGHTGCN = {"name": "lightgcn", "embedding_dim": 8, "num_layers": 2, "fit": FIT}
ALIGNED = {"candidate_source": "aligned", "protocols": ["full"]}
TINY = {"model": "ENCODER"}
MEMBERS = [
    {"name": "pop", "backbone": {"name": "pop"}},
    {"name": "itemknn", "backbone": {"name": "itemknn"}},
    {"name": "ease", "backbone": {"name": "ease"}},
    {"name": "sasrec", "backbone": SASREC},
    {"name": "textknn", "backbone": {"name": "textknn"}, "text": LSA},
]
RECIPES: dict[str, dict[str, Any]] = {
    "textknn": {"backbone": {"name": "textknn"}, "text": LSA},
    "textknn-item": {"backbone": {"name": "textknn", "variant": "item", "neighbours": 8}, "text": LSA},
    "textknn-reduced": {"backbone": {"name": "textknn"}, "text": LSA | {"reduce": 5}},
    "textknn-sbert": {"backbone": {"name": "textknn"}, "text": {"name": "sbert", "model": "ENCODER"}},
    "ridge": {"backbone": MF, "text": LSA, "align": {"name": "ridge", "frozen": ["backbone"]}},
    "a-llmrec": {
        "backbone": SASREC, "text": LSA, "evaluate": ALIGNED,
        "align": {"name": "autoencoder", "latent_dim": 6, "frozen": ["backbone"], "fit": FIT},
    },
    "rlmrec": {
        "backbone": LIGHTGCN, "text": LSA | {"users": "items"}, "align": {"name": "contrastive"}, "evaluate": ALIGNED,
    },
    "alpharec": {"backbone": LIGHTGCN, "text": LSA | {"users": "items"}, "align": {"name": "replace"}},
    "morec": {"backbone": SASREC, "text": LSA, "align": {"name": "replace"}},
    "faerec": {
        "backbone": {"name": "faerec", "embedding_dim": 8, "max_history": 8, "num_blocks": 1, "fit": FIT}, "text": LSA,
    },
    "llm-esr": {
        "backbone": {"name": "llm-esr", "embedding_dim": 8, "max_history": 8, "num_blocks": 1, "fit": FIT}, "text": LSA,
    },
    "rrf": {"fuse": {"name": "rrf", "members": MEMBERS}},
    "sum": {"fuse": {"name": "sum", "members": [MEMBERS[0], MEMBERS[2], MEMBERS[4]]}},
    "logit": {"fuse": {"name": "logit", "members": MEMBERS}},
}  # fmt: skip


class Letters(FrozenRows):
    """Counts of letters as unit vectors: every text by itself, on one scale."""

    kind = "text"
    Config = TextConfig

    def __init__(self, config: TextConfig, texts: Sequence[str], **_: Any) -> None:
        super().__init__(self.encode(texts))
        self.config = config

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        counts = torch.tensor([[text.count(letter) for letter in "abcdefghiklmnoprstuvwy"] for text in texts])
        return torch.nn.functional.normalize(counts.reshape(-1, 22).double(), dim=1).float()


def events(without: tuple[int, ...] = ()) -> pl.DataFrame:
    """The planted events; all of the cold items' are test, and each user's last other one is validation."""
    known = WORLD.interactions
    frame = pl.DataFrame({"user_id": known.users, "item_id": known.items, "timestamp": known.times})
    cold = pl.col("item_id").is_in(COLD)
    last = (pl.col("timestamp") == pl.col("timestamp").filter(~cold).max().over("user_id")) & ~cold
    part = pl.when(cold).then(pl.lit("test")).when(last).then(pl.lit("valid")).otherwise(pl.lit("train"))
    frame = frame.with_columns(part.alias("part")).filter(~pl.col("item_id").is_in(without))
    return frame.with_columns(
        pl.format("u{}", "user_id").alias("user_id"), pl.format("i{}", "item_id").alias("item_id")
    )


def items(without: tuple[int, ...] = ()) -> pl.DataFrame:
    named = WORLD.catalogue.items.with_columns(pl.Series("item_id", [f"i{i}" for i in range(40)]))
    return named.filter(~pl.Series(range(40)).is_in(without))


Make = Callable[..., Recommender]


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_encoder(tmp_path_factory.mktemp("encoder")))


@pytest.fixture(scope="session")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    from interlingua.testing.tiny_models import build, tokenizer_of

    folder = tmp_path_factory.mktemp("lm")
    build("smollm2").save_pretrained(folder)
    tokenizer_of(False).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory, encoder: str, language_model: str) -> Make:
    """``make(sections, without)``: a run over the world, or over the world without some items, made once."""
    out, made = tmp_path_factory.mktemp("runs"), {}

    def with_encoder(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: with_encoder(each) for key, each in value.items()}
        if isinstance(value, list):
            return [with_encoder(each) for each in value]
        return {"ENCODER": encoder, "LM": language_model}.get(value, value) if isinstance(value, str) else value

    def build(sections: dict[str, Any], without: tuple[int, ...] = ()) -> Recommender:
        key = repr((sections, without))
        if key not in made:
            recipe = {"evaluate": {"protocols": ["full"]}, "data": {"split": "given"}} | with_encoder(sections)
            data = {"interactions": events(without), "items": items(without)}
            made[key] = interlingua.run(recipe, data=data, out=out / str(len(made)), device="cpu", trust=True)
        return interlingua.load(made[key])

    return build


def line(item: int, **more: Any) -> dict[str, Any]:
    """What a shop knows of an item of the world."""
    return items().row(item, named=True) | more


def scores(made: Recommender, histories: list[list[str]]) -> np.ndarray:
    """(B, I) of the grown run."""
    known = made.train.item_indices
    queries = Queries.of([[known[item] for item in history] for history in histories])
    return scorer_of(made._lists.session).score(queries)


HISTORIES = [["i1", "i2", "i5"], ["i9"], ["i30", "i11", "i8", "i7"]]


@pytest.mark.parametrize("name", RECIPES)
def test_the_copy_of_an_item_without_events_has_its_vector_and_scores(name: str, make: Make) -> None:
    made = make(RECIPES[name])
    before = scores(made, HISTORIES)
    made.add_items([line(3, item_id="copy of 3"), line(17, item_id="copy of 17")])
    after, at = scores(made, HISTORIES), made.train.item_indices
    assert after.shape == (3, 42)
    for item in ("3", "17"):
        if name != "rrf":  # equals have places one after the other
            np.testing.assert_allclose(after[:, at[f"copy of {item}"]], after[:, at[f"i{item}"]], rtol=1e-5, atol=1e-5)
    if name not in ("rrf", "sum", "logit", "textknn-item"):  # these compare over the catalogue
        np.testing.assert_allclose(after[:, :40], before, rtol=1e-5, atol=1e-6)
    found = made.recommend(history=HISTORIES[0], k=42)
    assert {"copy of 3", "copy of 17"} <= {one.item_id for one in found}
    assert len(found) == 42 - 3


VALID = {"protocols": ["full"], "part": "valid"}
COLD_ONES = [f"i{item}" for item in COLD]
EXACT: dict[str, dict[str, Any]] = {
    "textknn": {"backbone": {"name": "textknn", "centred": False}},
    "textknn-item": {"backbone": {"name": "textknn", "variant": "item", "centred": False}},
    "additive-ease": {"backbone": {"name": "additive-ease", "centred": False}},
    "low-rank": {"backbone": {"name": "low-rank-additive-ease", "centred": False, "rank": 12}},
    "l3ae": {"backbone": {"name": "l3ae", "centred": False, "pull": 0.7}},
    "collective-ease": {"backbone": {"name": "collective-ease", "centred": False}},
}


@pytest.mark.parametrize("name", EXACT)
def test_a_run_that_never_saw_items_gives_them_what_a_run_with_them_does(name: str, make: Make) -> None:
    """In one run they are in the catalogue without a training event, in the other they come later: equal scores."""
    sections = EXACT[name] | {"text": {"name": f"{__name__}:Letters"}, "evaluate": VALID}
    within, later = make(sections), make(sections, COLD)
    later.add_items([line(item) for item in COLD])
    histories = [*HISTORIES, ["i1", "i17"], ["i3", "i29", "i2"]]
    expected, found = scores(within, histories), scores(later, histories)
    columns = [[made.train.item_indices[item] for item in COLD_ONES] for made in (within, later)]
    np.testing.assert_allclose(found[:, columns[1]], expected[:, columns[0]], rtol=1e-4, atol=2e-5)
    known = [item for item in within.train.item_indices if item not in COLD_ONES]
    columns = [[made.train.item_indices[item] for item in known] for made in (within, later)]
    np.testing.assert_allclose(found[:3, columns[1]], expected[:3, columns[0]], atol=0.02)


STEPS = FIT | {"epochs": 1, "steps_per_epoch": 2, "batch_size": 8}
AUTOENCODER = {"name": "autoencoder", "latent_dim": 6, "frozen": ["backbone"], "fit": FIT | {"epochs": 1}}
KV = {"name": "kv-prompt", "model": "LM", "history_length": 3, "fraction": 1.0, "fuse_scores": True, "fit": STEPS}
SHORT = {"model": "LM", "history_length": 3, "max_title_tokens": 4}
RANKED: dict[str, dict[str, Any]] = {
    "a-llmrec": {
        "backbone": SASREC, "align": AUTOENCODER, "text": {"name": "sbert", "model": "ENCODER", "trainable": True},
        "ranker": SHORT | {"name": "soft-prompt", "num_candidates": 4, "fit": STEPS},
    },
    "aligned-mixture": {
        "backbone": SASREC, "align": AUTOENCODER, "text": LSA,
        "ranker": {"name": "sequence-head", "model": "LM", "fuse_scores": True, "fit": STEPS},
    },
    "kv-mixture": {
        "backbone": SASREC, "text": LSA, "align": AUTOENCODER,
        "ranker": KV,
    },
    "llm-only": {"backbone": {"name": "textknn"}, "text": LSA, "ranker": SHORT | {"name": "llm-only"}},
}  # fmt: skip


@pytest.mark.parametrize("name", RANKED)
def test_a_ranker_reads_the_copy_of_an_item_without_events_like_the_item(name: str, make: Make) -> None:
    made = make(RANKED[name])
    at = made.train.item_indices
    candidates = np.array([[at["i1"], at["i3"], at["i17"], at["i8"]]] * 3)
    queries = Queries.of([[at[item] for item in history] for history in HISTORIES])
    before = made.session.ranker.score(queries, candidates)
    made.add_items([line(3, item_id="copy of 3"), line(17, item_id="copy of 17")])
    ranker = made._lists.session.ranker
    if not made.session.recipe.ranker.options().get("fuse_scores"):  # a mixture compares over the catalogue
        np.testing.assert_allclose(ranker.score(queries, candidates), before, rtol=1e-4, atol=1e-4)
    copies = ranker.score(queries, np.array([[at["i3"], 40, at["i17"], 41]] * 3))
    np.testing.assert_allclose(copies[:, [1, 3]], copies[:, [0, 2]], rtol=1e-4, atol=1e-4)
    assert {"copy of 3", "copy of 17"} <= {one.item_id for one in made.recommend(history=["i1"], k=41)}
    assert made.recommend(history=["copy of 3"], k=3)


@pytest.mark.parametrize(
    "sections", [EXACT["l3ae"] | {"text": LSA}, RECIPES["textknn-reduced"]], ids=["l3ae", "textknn"]
)
def test_a_saved_model_without_events_takes_items(sections: dict[str, Any], make: Make, tmp_path: Path) -> None:
    made = make(sections)
    again = Recommender.from_pretrained(made.save_pretrained(tmp_path / "model"), device="cpu")
    for each in (made, again):
        each.add_items([line(3, item_id="n1"), line(8, item_id="n2", title="The Lost Recipe")])
    np.testing.assert_allclose(scores(again, HISTORIES), scores(made, HISTORIES), rtol=1e-5, atol=1e-6)


def test_lists_filters_titles_and_reasons_know_a_new_item_and_an_update(make: Make) -> None:
    made = make(RECIPES["textknn"])
    changed = made.add_items(pl.DataFrame([line(3, item_id="n1", title="New Nebula", price="7")]))
    assert changed.added == ("n1",)
    assert [one.item_id for one in made.recommend(history=["i3"], k=3, items=["n1", "i5"])] == ["n1", "i5"]
    assert made.recommend(history=["i3"], k=3, filters={"price<": 10})[0].title == "New Nebula"
    assert made.similar_items("i3", 1)[0].item_id == "n1"
    assert "n1" in {one.item_id for one in made.similar_items("i3", 5)}
    (support,) = made.explain("i3", history=["n1"]).support
    assert support.title == "New Nebula"
    assert made.add_items({"item_id": "n1", "price": 12}).updated == ("n1",)
    assert made.titles[made.item_row("n1")] == "New Nebula"  # what is not given stays
    assert made.recommend(history=["i3"], filters={"price<": 10}) == []
    made.add_items([{"item_id": "i5", "title": "Renamed", "price": "3"}])
    assert [one.title for one in made.recommend(history=["i3"], filters={"price<": 10})] == ["Renamed"]
    assert made.train.num_items == 41


def test_what_is_switched_off_or_removed_never_comes_out(make: Make) -> None:
    made = make(RECIPES["textknn"])
    made.add_items([line(3, item_id="n1"), line(3, item_id="n2", available=False)])
    every = {"history": ["i3"], "k": 50}
    assert "n1" in {one.item_id for one in made.recommend(**every)}
    assert "n2" not in {one.item_id for one in made.recommend(**every)}
    assert "n2" not in {one.item_id for one in made.recommend(**every, items=["n2", "i8"])}
    assert "n2" not in {one.item_id for one in made.similar_items("i3", 41)}
    made.add_items([{"item_id": "n2", "available": "yes"}, {"item_id": "i8", "available": "no"}])
    assert "n2" in {one.item_id for one in made.recommend(**every)}
    assert "i8" not in {one.item_id for one in made.recommend(**every)}
    assert made.remove_items(["n1", "i9"]).removed == ("n1", "i9")
    assert not {"n1", "i9", "i8"} & {one.item_id for one in made.recommend(**every)}
    with pytest.raises(UnknownIdError, match="n1"):
        made.item_row("n1")
    with pytest.raises(UnknownIdError, match="nowhere"):
        made.remove_items("nowhere")
    assert made.recommend(history=["i9"], k=3)  # what people had says something still


def test_frames_of_every_kind_and_a_file(make: Make, tmp_path: Path) -> None:
    made, one = make(RECIPES["textknn"]), line(3, item_id="n1")
    pl.DataFrame([one]).write_csv(tmp_path / "new.csv")
    frames = (
        one,
        [one],
        pl.DataFrame([one]),
        pd.DataFrame([one]),
        tmp_path / "new.csv",
        {k: [v] for k, v in one.items()},
    )
    for given in (*frames, {"id": "n1", "name": one["title"], "genre": one["categories"], "plot": one["description"]}):
        made.add_items(given)
        assert made.recommend(history=["i3"], k=1)[0].item_id == "n1"
        made.remove_items("n1")
    for wrong, word in (({"title": "x"}, "item_id"), ([{"item_id": "a"}, {"item_id": None}], "item 2"), ([3], "3"),
                        ([{"item_id": "a", "available": "perhaps"}], "perhaps")):  # fmt: skip
        with pytest.raises((ConfigError, DataError), match=word):
            made.add_items(wrong)
    assert made.train.num_items == 40


@pytest.mark.parametrize("others", [[], [{"item_id": "n2", "title": "Space", "price": "cheap"}]])
def test_nan_is_no_value_and_infinity_is_refused(make: Make, others: list[dict[str, Any]]) -> None:
    made = make(RECIPES["textknn"])
    made.add_items(line(8, item_id="n0", price=5))
    for nan in (float("nan"), np.float32("nan")):
        for given in ([line(3, item_id="n1", price=nan), *others], pl.DataFrame({"item_id": ["n1"], "price": [nan]})):
            made.add_items(given)
            for filters in ("price > 1000", "price < 1000"):
                assert made.recommend(history=["i3"], filters=filters, items=["n1"]) == []
            assert [one.item_id for one in made.recommend(history=["i3"], filters="price is None", items=["n1"])]
    for infinite in (float("inf"), -np.inf, np.float32("inf")):
        for given in (
            [line(3, item_id="n1", price=infinite), *others],
            pl.DataFrame({"id": ["n1"], "price": [infinite]}),
        ):
            with pytest.raises(DataError, match=r"item 1 of \d: price is .*inf.*; give a finite number"):
                made.add_items(given)


@pytest.mark.parametrize("wrong", [float("nan"), np.float64("nan"), None, "", " ", "\t\n", True, False])
def test_what_is_no_id_is_refused_at_its_place(make: Make, wrong: Any) -> None:
    made, n = make(RECIPES["textknn"]), make(RECIPES["textknn"]).train.num_items
    word = r"2 of 2: {} is (True|False); an id is" if isinstance(wrong, bool) else "2 of 2 has no {}"
    for first in ("a", 7, 7.5):
        for name in ("item_id", "id"):
            with pytest.raises(DataError, match="item " + word.format("item_id")):
                made.add_items([{name: first, "title": "Space"}, {name: wrong, "title": "Space"}])
        for role in ("item_id", "user_id"):
            two = [
                {"user_id": first, "item_id": "i3"} | ({role: each} if each is not first else {})
                for each in (first, wrong)
            ]
            with pytest.raises(DataError, match="event " + word.format(role)):
                made.add_events(two)
    with pytest.raises(DataError, match="item 1 of 1"):
        made.add_items(pl.DataFrame({"item_id": [wrong], "title": ["Space"]}))
    assert made.train.num_items == n


def test_ids_of_several_kinds_are_written_as_they_are_asked_for(make: Make) -> None:
    made = make(RECIPES["textknn"])
    titles = [{"item_id": each, "title": "Space"} for each in (5.0, "a", 6, np.int64(7), 1.5)]
    assert made.add_items(titles).added == ("5", "a", "6", "7", "1.5")
    assert made.item_row(5.0) == made.item_row("5")
    assert made.add_items([{"item_id": each, "title": "Space"} for each in (8.0, 6.5)]).added == ("8", "6.5")
    assert made.item_row(8.0) == made.item_row("8")


def test_one_mapping_may_have_lists_and_columns_may_be_arrays(make: Make) -> None:
    made = make(RECIPES["textknn"])
    assert (
        made.add_items({"item_id": "n1", "title": "A Film", "categories": ["Space", float("nan"), "War"]}).notes == ()
    )
    for category in ("War", "Space"):
        found = made.recommend(history=[], filters={"categories": category}, items=["n1"])
        assert [one.item_id for one in found] == ["n1"]
    titles = np.array(["One", "Two"])
    assert made.add_items({"item_id": np.array(["n2", "n3"]), "title": titles}).added == ("n2", "n3")
    assert made.add_items({"item_id": ["n4", "n5"], "title": "The same"}).added == ("n4", "n5")


def test_a_column_by_both_of_its_names_is_refused(make: Make) -> None:
    recommender = make(RECIPES["textknn"])
    names = recommender.session.data.catalogue.names
    assert all(names.get(column, column) == column for column in ("title", "categories"))
    both = {"item_id": "b1", "title": "The Lost Nebula", "categories": "Space", "genre": "Cooking"}
    from dataclasses import replace

    from interlingua.runs.new_items import lines_of

    catalogue = replace(recommender.session.data.catalogue, names={"categories": "genre"})
    with pytest.raises(DataError, match="both 'categories' and 'genre', its name in the run's own data"):
        lines_of(both, catalogue)
    lines, _, _ = lines_of({key: value for key, value in both.items() if key != "categories"}, catalogue)
    assert lines["categories"].to_list() == ["Cooking"]


def test_an_empty_batch_changes_nothing(make: Make) -> None:
    made = make(RECIPES["textknn"])
    for nothing in (
        [],
        (),
        pl.DataFrame(),
        pd.DataFrame(),
        pl.DataFrame({"item_id": [], "title": []}),
        {"item_id": []},
    ):
        assert made.add_items(nothing) == Changed()
        assert made.add_events(nothing) == 0
        assert made.add_events(nothing, "key") == 0
    assert made.add_events({"user_id": "zoe", "item_id": "i3"}, "key") == 1


SECONDS = [1704067200.0, 1704067201.5]


@pytest.mark.parametrize(
    "times",
    [
        SECONDS, list(map(str, SECONDS)), ["2024-01-01", "1704067201.5"],
        ["2024-01-01 00:00:00", " 2024-01-01T00:00:01.5Z"],
        [datetime(2024, 1, 1), datetime(2024, 1, 1, 0, 0, 1, 500_000)],
    ],
)  # fmt: skip
def test_times_of_events_are_seconds_or_dates(make: Make, times: list[Any]) -> None:
    made = make(RECIPES["textknn"])
    given = [{"user_id": "zoe", "item_id": "i3", "time": each} for each in [*times, None]]
    for batch in (given, pl.DataFrame(given), pd.DataFrame(given).assign(rating=[1.0, 2.0, np.nan])):
        made.add_events(batch)
        assert [each.time for each in made._events.of_user.pop("zoe")] == [*SECONDS, None]


@pytest.mark.parametrize("time", [-1, 1e300, 1704067200_000, "yesterday", "", "2024-02-30", True, float("inf")])
def test_times_that_are_none_are_refused(make: Make, time: Any) -> None:
    made = make(RECIPES["textknn"])
    with pytest.raises(DataError, match=r"event 2 of 2: when is .*; give seconds since 1970"):
        made.add_events([{"user_id": "zoe", "item_id": "i3", "when": each} for each in (None, time)])


def test_a_mistyped_column_of_events_is_an_error_and_an_unknown_item_a_note(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    made, event = make(RECIPES["textknn"]), {"user_id": "zoe", "item_id": "i3"}
    for given in ([event | {"raitng": 5}], pl.DataFrame([event | {"raitng": 5}])):
        with pytest.raises(DataError, match=r"unknown column 'raitng' in events; did you mean 'rating'.*user_id"):
            made.add_events(given)
    assert "zoe" not in made._events.of_user
    capsys.readouterr()
    assert made.add_events([event, event | {"item_id": "later"}]) == 2
    assert "1 of 2 events are of items that the run does not know (e.g. 'later')" in capsys.readouterr().err
    made.add_events(event)
    made.add_events(event | {"item_id": "later"}, quiet=True)
    assert "note" not in capsys.readouterr().err


def test_repeated_ids_of_a_batch_are_counted(make: Make) -> None:
    made = make(RECIPES["textknn"])
    names = (("n1", "Space One"), ("n1", "Space Two"), (7, "Space Seven"), ("7", "Space Eight"), ("n1", "Space Three"))
    changed = made.add_items([{"item_id": item, "title": title} for item, title in names])
    assert changed.added == ("7", "n1")
    assert changed.notes == ("3 of 5 lines repeat an item_id: the last line of each counts",)
    assert [made.titles[made.item_row(item)] for item in changed.added] == ["Space Eight", "Space Three"]


@pytest.mark.parametrize("name", ["textknn", "textknn-item"])
def test_items_whose_texts_say_nothing_are_like_nothing(name: str, make: Make) -> None:
    made = make(RECIPES[name])
    words = {"n1": "zyzzyva", "n2": "qoph", "n3": "space galaxy", "n4": ""}
    changed = made.add_items([{"item_id": item, "title": title} for item, title in words.items()])
    assert len(changed.notes) == 1
    assert changed.notes[0].startswith("3 of the new items have texts that say nothing (e.g. 'n1')")
    assert made.similar_items("n1", 5) == made.similar_items("n4", 5) == []
    assert not {"n1", "n2", "n4"} & {one.item_id for one in made.similar_items("n3", 43)}
    answer = made.answer(history=["n1", "n4"], k=44)
    assert "ranked by popularity" in answer.notes[0]
    found = scores(made, [["n3"], ["i1", "i2"]])[:, [made.item_row(item) for item in ("n1", "n2", "n4")]]
    assert not found.any()
    assert made.add_items({"item_id": "n3", "price": 4}).notes == ()


@pytest.mark.parametrize("name", ["textknn", "textknn-item", "textknn-reduced"])
@pytest.mark.parametrize("later", [[], ["n1"]])
def test_a_changed_text_is_read_where_the_text_is_all_that_is_known(name: str, later: list[str], make: Make) -> None:
    made = make(RECIPES[name])
    before = scores(made, [["i5"], ["i1"]])
    for item in later:
        made.add_items(line(8, item_id=item))
    told = {key: value for key, value in line(3).items() if key in ("title", "description", "categories")}
    assert made.add_items({"item_id": "i5"} | told).notes == ()
    found, ids = scores(made, [["i5"], ["i3"], ["i1"]]), made.train.item_indices
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)
    np.testing.assert_allclose(found[:, ids["i5"]], found[:, ids["i3"]], atol=1e-5)
    assert made.similar_items("i3", 1)[0].item_id == "i5"
    if name != "textknn-item":
        others = [index for index in range(40) if index != ids["i5"]]
        np.testing.assert_allclose(found[2][others], before[1][others], atol=1e-6)
    made.add_items({"item_id": "i5", "price": 3})
    np.testing.assert_allclose(scores(made, [["i5"]])[0], found[0], atol=1e-6)


def test_changed_texts_of_items_of_the_run_are_said(make: Make) -> None:
    new = {"item_id": "i5", "title": "Renamed", "categories": "Space"}
    made = make(RECIPES["ridge"])
    assert (
        made.add_items([new, {"item_id": "i6", "price": 3}])
        .notes[0]
        .startswith("the texts of 1 of the run's own items changed (e.g. of 'i5')")
    )
    assert made.add_items(new).notes == ()  # they are these already
    assert made.titles[made.item_row("i5")] == "Renamed"
    assert make({"backbone": {"name": "itemknn"}}).add_items(new).notes == ()


def test_what_is_like_a_new_item_is_found_by_its_text_where_events_are_compared(make: Make) -> None:
    made = make(RECIPES["logit"])
    made.add_items([line(3, item_id="n1")])
    assert made.similar_items("n1", 1)[0].item_id == "i3"


def test_recipes_without_texts_say_what_to_use(make: Make) -> None:
    for sections in (
        {"backbone": {"name": "itemknn"}},
        {"backbone": SASREC},
        {"fuse": {"name": "rrf", "members": MEMBERS[:3]}},
    ):
        made = make(sections)
        before = made.recommend(history=["i1"], k=5)
        with pytest.raises(ConfigError, match="by events alone; use a recipe that reads texts"):
            made.add_items([line(3, item_id="n1")])
        assert made.recommend(history=["i1"], k=5) == before
        made.add_items([{"item_id": before[0].item_id, "available": False}])  # attributes need no text
        assert made.recommend(history=["i1"], k=4) == before[1:]
    made = make({"backbone": {"name": "textknn"}, "text": LSA | {"control": "shuffled"}})
    with pytest.raises(ConfigError, match="control of an experiment"):
        made.add_items([line(3, item_id="n1")])


def test_a_batch_is_there_within_a_second(make: Make) -> None:
    made = make(RECIPES["logit"])
    made.add_items([line(3, item_id="first")])
    made.recommend(history=HISTORIES[0])
    started = time.process_time()
    made.add_items([line(3, item_id=f"n{number}") for number in range(100)])
    found = made.recommend(history=HISTORIES[0], k=200)
    assert time.process_time() - started < 1
    assert len(found) == 40 + 101 - 3


READING = ("textknn", "textknn-item", "textknn-sbert", "ridge", "rlmrec", "morec", "logit")


@pytest.mark.parametrize("name", READING)
def test_a_sentence_ranks_alone_and_beside_a_history(name: str, make: Make) -> None:
    made = make(RECIPES[name])
    made.add_items([line(3, item_id="n1", title="Quiet Nebula")])
    ids, said = [f"i{n}" for n in range(40)] + ["n1"], "a space story about galaxy and orbit"
    alone = [one.item_id for one in made.recommend(text=said, text_weight=1.0, k=41)]
    assert sorted(alone) == sorted(ids)
    popular = [one.item_id for one in made.recommend(history=[], k=41)]
    nothing_said = [one.item_id for one in made.recommend(text=said, text_weight=0.0, k=41)]
    seen = [item for item in popular if made.train.item_counts[made.item_row(item)]]
    assert [item for item in nothing_said if item in seen] == seen
    assert [one.item_id for one in made.recommend(text=said, k=41)] not in (alone, nothing_said)
    beside = {w: made.recommend(history=["i1", "i2"], text=said, text_weight=w, k=41) for w in (0.0, 0.5, 1.0)}
    plain = made.recommend(history=["i1", "i2"], k=41)
    order = {w: [one.item_id for one in found] for w, found in beside.items()}
    by_history = {one.item_id: one.score for one in plain}
    assert all(by_history[a] >= by_history[b] - 1e-4 for a, b in itertools.pairwise(order[0.0]))  # equals aside
    assert order[1.0] == [item for item in alone if item not in ("i1", "i2")]
    assert order[0.5] not in (order[0.0], order[1.0])
    by_id = {w: {one.item_id: one.score for one in found} for w, found in beside.items()}
    for item in order[0.5]:  # a weighted mean of both
        np.testing.assert_allclose(by_id[0.5][item], (by_id[0.0][item] + by_id[1.0][item]) / 2, atol=1e-4)
    assert made.train.num_items == 41
    assert [one.item_id for one in made.recommend(text=said, k=2, items=["n1", "i1"], exclude=["i1"])] == ["n1"]


def test_a_sentence_finds_what_it_says(make: Make) -> None:
    made = make(RECIPES["textknn"])
    about = {f"i{n}": str(line(n)["categories"]) for n in range(40)}
    found = made.recommend(text="space galaxy orbit astronaut", text_weight=1.0, k=5)
    assert all("Space" in about[one.item_id] for one in found)
    assert {one.stage for one in found} == {"textknn"}
    answer = made.answer(text="zyzzyva", k=3)
    assert "no word of 'zyzzyva' says anything" in answer.notes[0]
    assert {one.stage for one in answer.items} == {"popularity"}


def test_a_sentence_is_refused_in_words(make: Make) -> None:
    made = make(RECIPES["textknn"])
    for options, word in (
        ({"text": "space", "text_weight": 2}, "from 0 to 1"), ({"text": " "}, "in words"),
        ({"text": "a\ud800"}, "text is 'a.*half of a character"),
        ({"text": "space", "users": ["u1"]}, "one user or history"), ({}, "or a text"),
        ({"text": "space", "user": "u1", "history": ["i1"]}, "either a user or a history"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=word):
            made.recommend(**options)
    with pytest.raises(ConfigError, match=r"text: .*itemknn scores items by events alone; use a recipe that reads"):
        make({"backbone": {"name": "itemknn"}}).recommend(text="space")
