"""What is looked for in words: it ranks alone and beside a history, by every recipe that reads texts."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from tests.runs.new_items_world import RECIPES, Make, line

from interlingua.errors import ConfigError

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
    beside = {w: made.recommend(history=["i1", "i2"], text=said, text_weight=w, k=41) for w in (0.0, 0.25, 0.5, 1.0)}
    plain = made.recommend(history=["i1", "i2"], k=41)
    order = {w: [one.item_id for one in found] for w, found in beside.items()}
    by_history = {one.item_id: one.score for one in plain}
    assert all(by_history[a] >= by_history[b] - 1e-4 for a, b in itertools.pairwise(order[0.0]))  # equals aside
    assert order[1.0] == [item for item in alone if item not in ("i1", "i2")]
    assert order[0.5] not in (order[0.0], order[1.0])
    by_id = {w: {one.item_id: one.score for one in found} for w, found in beside.items()}
    assert by_id[0.0] == by_history, "a text without weight is no text"
    for item in order[0.5]:  # a weighted mean of both: linear in the weight
        half, quarter, whole = by_id[0.5][item], by_id[0.25][item], by_id[1.0][item]
        np.testing.assert_allclose(whole - half, 2 * (half - quarter), atol=1e-3)
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
