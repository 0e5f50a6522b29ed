"""Items like one: one space for each answer, in which new items are neighbours of old ones; notes where none is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.runs.new_items_world import LSA, events, items, line

import interlingua
from interlingua.errors import ConfigError
from interlingua.recommender import Recommender

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient

from interlingua.serve.app import create_app


def made(recipe: dict[str, Any], out: Path, more: pl.DataFrame | None = None) -> Recommender:
    known = events().drop("part")
    known = known if more is None else pl.concat([known, more.select(known.columns)])
    data = {"interactions": known, "items": pl.concat([items(), pl.DataFrame([line(5, item_id="n0")])], how="diagonal")}
    recipe = recipe | {"evaluate": {"protocols": ["full"], "max_users": 5}}
    return interlingua.load(interlingua.run(recipe, data=data, out=out, device="cpu"))


TWO = {
    "l3ae": {"backbone": {"name": "l3ae"}, "text": LSA},
    "mf": {
        "backbone": {"name": "mf", "embedding_dim": 8, "fit": {"epochs": 1}},
        "text": LSA,
        "align": {"name": "ridge"},
    },
}


@pytest.mark.parametrize("name", TWO)
def test_old_and_new_items_are_equally_alike_from_either_side(name: str, tmp_path: Path) -> None:
    recommender = made(TWO[name], tmp_path)
    recommender.add_items([line(5, item_id="n5"), line(9, item_id="n9")])
    everything = {
        item: {each.item_id: each for each in recommender.similar_items(item, k=50)}
        for item in ("i5", "i9", "n5", "n9")
    }
    assert len({each.space for near in everything.values() for each in near.values()}) == 1
    for one, near in everything.items():
        for other, back in everything.items():
            if one != other:
                assert (other in near) == (one in back)
                if other in near:
                    assert near[other].score == pytest.approx(back[one].score, abs=1e-5)
    if name == "l3ae":
        assert recommender.similar_items("i5", k=2)[0].item_id == "n5"  # of the same texts


def test_what_the_service_says_of_the_space_is_the_same_everywhere(tmp_path: Path) -> None:
    recommender = made(TWO["l3ae"], tmp_path)
    with TestClient(create_app(recommender)) as client:
        client.post("/v1/items", json={"items": [{"item_id": "n1", "title": "Golden Police Companion"}]})
        space = client.get("/v1/page/map").json()["space"]
        for item in ("i5", "n1"):
            near = client.post("/v1/similar", json={"item_id": item, "k": 3}).json()
            shown = client.post("/v1/page/item", json={"item_id": item, "users": 0}).json()
            assert near["space"] == shown["space"] == space == "text vectors"
            assert [each["item_id"] for each in shown["alike"][:3]] == [each["item_id"] for each in near["items"]]
        by_events = client.post("/v1/similar", json={"item_id": "i5", "k": 3, "space": "events"}).json()
        assert by_events["space"] == "who had the items"
        none = client.post("/v1/similar", json={"item_id": "n1", "space": "events"}).json()
        assert none["items"] == []
        assert none["notes"] == [
            "by who had the items this item is not like any of the 40 other items: only cosines above 0 count"
        ]
        assert client.post("/v1/similar", json={"item_id": "i5", "space": "x"}).status_code == 422
        assert client.post("/v1/similar", json={"item_id": "i5", "space": "vectors"}).status_code == 422


def test_an_item_of_one_user_is_compared_by_its_texts_or_the_answer_says_why_not(tmp_path: Path) -> None:
    alone = pl.DataFrame({"user_id": ["zoe"], "item_id": ["n0"], "timestamp": [1_700_000_000]})
    filtered = {"data": {"filter": {"min_user": 1, "min_item": 1}}}
    more = alone.with_columns(pl.col("timestamp").cast(events()["timestamp"].dtype))
    recommender = made(TWO["l3ae"] | filtered, tmp_path / "texts", more)
    assert recommender.similar_items("n0", k=1)[0].item_id == "i5"
    without = made({"backbone": {"name": "itemknn"}} | filtered, tmp_path / "events", more)
    found = without.like("n0", 3)
    assert (found.items, found.space) == ([], "who had the items")
    assert "not like any of the 40 other items: only cosines above 0" in found.notes[0]
    with pytest.raises(ConfigError, match=r"space 'texts'\): it has none"):
        without.similar_items("i5", space="texts")


def test_a_list_that_leaves_items_which_are_not_alike_says_so(tmp_path: Path) -> None:
    recommender = made(TWO["l3ae"], tmp_path)
    near = {each.item_id for each in recommender.similar_items("i5", k=50)}
    far = [str(item) for item in recommender.train.item_ids if item not in near and item != "i5"][:2]
    assert len(far) == 2
    found = recommender.like("i5", 3, items=[*far, "gone"])
    assert found.items == []
    assert "'gone'" in found.notes[0]
    assert found.notes[1] == (
        "by text vectors this item is not like any of the 2 other items that may come out (the list items leaves 2 of "
        "40 items): only cosines above 0 count"
    )
    (itself,) = recommender.like("i5", 3, items=["i5"]).notes
    assert itself.endswith("the list items leaves 1 of 40 items; an item is not compared with itself")
    (nothing,) = recommender.like("i5", 3, filters='title == "?"').notes
    assert nothing.startswith("nothing may come out: the filter")
    assert "itself" not in nothing
