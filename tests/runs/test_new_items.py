"""Items that come after training: they are what training would have made of them without an event."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from tests.runs.new_items_world import (
    COLD,
    FIT,
    HISTORIES,
    LSA,
    MEMBERS,
    RECIPES,
    SASREC,
    Letters,
    Make,
    line,
    scores,
)

from interlingua.data.queries import Queries
from interlingua.errors import ConfigError, UnknownIdError
from interlingua.recommender import Recommender


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
    sections = EXACT[name] | {"text": {"name": f"{Letters.__module__}:Letters"}, "evaluate": VALID}
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


@pytest.mark.parametrize("name", ["textknn", "textknn-item"])
def test_items_whose_texts_say_nothing_are_like_nothing(name: str, make: Make) -> None:
    made = make(RECIPES[name])
    words = {"n1": "zyzzyva", "n2": "qoph", "n3": "space galaxy", "n4": "-"}
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
