"""Lists of which a least fraction comes from some of the items, against all lists that there are."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import interlingua
from interlingua.contracts.scorer import Scorer, TableScorer
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError
from interlingua.recommender import Recommender
from interlingua.retrieval.cascade import Candidates, RetrieveThenRerank, diversified
from interlingua.retrieval.quota import Quota, best_with


class Rows(Scorer):
    """Scores that are given."""

    def __init__(self, scores: np.ndarray) -> None:
        self.scores, self.num_items = np.asarray(scores, np.float32), scores.shape[1]

    def score(self, queries: Queries, items: Any = None) -> Any:
        scores = np.repeat(self.scores, len(queries), axis=0) if len(self.scores) == 1 else self.scores[: len(queries)]
        return scores.copy() if items is None else np.take_along_axis(scores, np.asarray(items, np.int64), axis=1)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_list_with_as_many_members_is_better(data: st.DataObject) -> None:
    count, k = data.draw(st.integers(2, 8)), data.draw(st.integers(1, 4))
    values = data.draw(st.lists(st.integers(0, 5), min_size=count, max_size=count))
    members = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    allowed = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    seen = data.draw(st.lists(st.integers(0, count - 1), max_size=3, unique=True))
    quota = Quota(data.draw(st.sampled_from([0.1, 0.3, 0.5, 1.0])), members)
    asked = Queries.of([seen])
    found = best_with(Rows(np.array([values])), asked, k, quota, allowed=allowed)
    chosen = found.indices[0][found.indices[0] >= 0]
    free = [item for item in range(count) if allowed[item] and item not in seen]
    least = min(quota.least(k), sum(bool(members[item]) for item in free))
    size = min(k, len(free))
    good = [some for some in combinations(free, size) if sum(members[list(some)]) >= min(least, size)]
    best = max(sorted((values[item] for item in some), reverse=True) for some in good)
    assert [values[item] for item in chosen] == best
    assert set(chosen.tolist()) <= set(free)
    assert len(set(chosen.tolist())) == size
    assert members[chosen].sum() >= min(least, size)
    vectors = TableScorer(torch.tensor(values, dtype=torch.float32)[:, None], lambda some: torch.ones(len(some), 1))
    by_products = best_with(vectors, asked, k, quota, allowed=allowed)
    assert by_products.scores.tolist() == found.scores.tolist()


def test_several_lists_and_only_those_that_lack() -> None:
    scores = np.array([[9, 8, 7, 6, 5, 4.0], [1, 2, 3, 4, 5, 6.0]])
    members = np.array([False, False, False, False, True, True])
    found = best_with(Rows(scores), Queries.of([[], []]), 4, Quota(0.5, members))
    assert found.indices.tolist() == [[0, 1, 4, 5], [5, 4, 3, 2]]
    assert found.scores.tolist() == [[9, 8, 5, 4], [6, 5, 4, 3]]


def test_the_ranker_sees_members_and_orders_them() -> None:
    retriever, members = Rows(np.arange(10.0, 0, -1)[None]), np.arange(10) >= 7
    ranker = Rows(np.array([[0, 1, 2, 3, 4, 5, 6, -7, -6, -5.0]]))
    listed = RetrieveThenRerank(retriever, ranker, 4).candidates(Queries.of([[]]), 3, quota=Quota(0.3, members))
    assert listed.items.tolist() == [[1, 0, 8]]  # of 0, 1, 7, 8 (two of four) the ranker's best with one of them
    assert listed.retrieved.tolist() == [[9, 10, 2]]


def test_diverse_lists_have_their_members() -> None:
    listed = Candidates(np.array([[0, 1, 2, 3, 4]]), *(2 * [np.array([[5, 4, 3, 2, 1.0]], np.float32)]))
    categories = [frozenset("a"), frozenset("b"), frozenset("c"), frozenset("a"), frozenset("a")]
    quota = Quota(0.5, np.array([False, False, False, True, True]))
    assert diversified(listed, categories, 3, 9.0).items.tolist() == [[0, 1, 2]]
    assert diversified(listed, categories, 3, 9.0, quota).items.tolist() == [[0, 3, 4]]


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Recommender:
    options = ("data.options={num_users = 60, num_items = 40}", 'evaluate.protocols=["full"]')
    session = interlingua.run(
        "textknn", out=tmp_path_factory.mktemp("runs"), data="planted", overrides=options, device="cpu"
    )
    made = interlingua.load(session)
    lines = [{"item_id": f"n{n}", "title": f"The Broken Soup {n}", "price": n, "categories": "Odd"} for n in range(4)]
    made.add_items(lines)
    return made


def test_new_items_have_their_share_with_all_other_conditions(grown: Recommender) -> None:
    user, k = "u00001", 10
    plain = [one.item_id for one in grown.recommend(user, k=44)]
    new = {item for item in plain if not grown.train.item_counts[grown.item_row(item)]}
    assert {"n0", "n1", "n2", "n3"} <= new
    for share in (0.1, 0.3, 0.45):
        found = [one.item_id for one in grown.recommend(user, k=k, new_share=share)]
        least = int(np.ceil(share * k))
        expected = set(plain[:k])
        if len(expected & new) < least:
            ahead = [item for item in plain if item in new][:least]
            expected = {*ahead, *[item for item in plain if item not in ahead][: k - least]}
        assert set(found) == expected
        assert found == [item for item in plain if item in expected]
    cheap = grown.recommend(user, k=4, new_share=0.5, filters="price <= 1 or price is None", exclude=["n0"])
    assert "n1" in [one.item_id for one in cheap]
    assert not {"n0", "n2", "n3"} & {one.item_id for one in cheap}
    odd = grown.recommend(user, k=6, new_share=0.5, diversity=2.0)
    assert sum(one.item_id in new for one in odd) >= 3
    frame = grown.recommend(users=[user, "u00002"], k=k, new_share=0.3)
    assert frame.filter(frame["user_id"] == user)["item_id"].to_list() == [
        one.item_id for one in grown.recommend(user, k=k, new_share=0.3)
    ]
    by_text = grown.recommend(text="detective alibi", k=5, new_share=0.4)
    assert sum(one.item_id in new for one in by_text) >= 2
    newcomer = grown.recommend(history=[], k=5, new_share=0.4)
    assert sum(one.item_id in new for one in newcomer) == 2


def test_fewer_new_items_than_the_share_are_all_there_and_said(
    grown: Recommender, capsys: pytest.CaptureFixture[str]
) -> None:
    new = [str(item) for item, count in zip(grown.train.item_ids, grown.train.item_counts, strict=True) if not count]
    answer = grown.answer("u00001", k=10, new_share=0.5, exclude=[item for item in new if item != "n2"])
    assert "n2" in [one.item_id for one in answer.items]
    assert len(answer.items) == 10
    assert answer.notes == ("new_share: 5 of 10 are to be new, and 1 may come out",)
    grown.recommend(users=["u00001", "u00002"], k=10, new_share=0.5, exclude=new)
    assert "2 of 2 lists have fewer than 5 new items" in capsys.readouterr().err
    for wrong in (-0.1, 1.5, float("nan"), "half", True):
        with pytest.raises(ConfigError, match="new_share must be a number from 0 to 1"):
            grown.recommend("u00001", new_share=wrong)  # type: ignore[arg-type]


def chosen_slowly(
    items: list[int], scores: list[float], categories: list[frozenset[str]], k: int, weight: float, quota: Quota
) -> list[int]:
    """The items of one list, one after the other, as the words of :func:`diversified` have it."""
    spread = float(np.std(np.array(scores, np.float32)[np.array(items) >= 0])) or 1.0
    least = min(quota.least(k), sum(bool(quota.members[item]) for item in items if item >= 0))
    chosen: list[int] = []
    size = min(k, sum(item >= 0 for item in items))
    while len(chosen) < size:
        lacking = least - sum(bool(quota.members[item]) for item in chosen)
        best, found = -np.inf, -1
        for item, score in zip(items, scores, strict=True):
            if item < 0 or item in chosen or (lacking >= min(k, len(items)) - len(chosen) and not quota.members[item]):
                continue
            apart = 0.0
            for other in chosen:
                both, own = categories[item] & categories[other], categories[item] | categories[other]
                apart += 1 - len(both) / len(own) if categories[item] and categories[other] else 0.0
            if score / spread + weight * apart > best + 1e-6:
                best, found = score / spread + weight * apart, item
        chosen.append(found)
    return chosen


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_diversity_with_a_quota_chooses_members_alone_once_so_many_places_are_left(data: st.DataObject) -> None:
    count, k = data.draw(st.integers(2, 8)), data.draw(st.integers(1, 5))
    pool = [frozenset(some) for some in ("", "a", "b", "ab", "c")]
    categories = [data.draw(st.sampled_from(pool)) for _ in range(count)]
    members = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    scores = sorted(data.draw(st.lists(st.integers(0, 20), min_size=count, max_size=count, unique=True)), reverse=True)
    order = data.draw(st.permutations(range(count)))
    quota = Quota(data.draw(st.sampled_from([0.0, 0.2, 0.4, 0.7, 1.0])), members)
    weight = data.draw(st.sampled_from([0.0, 0.37, 1.41, 3.3]))
    values = np.array([scores], np.float32)
    found = diversified(Candidates(np.array([order]), values, values), categories, k, weight, quota).items[0]
    expected = chosen_slowly(list(order), [float(score) for score in scores], categories, k, weight, quota)
    assert found[found >= 0].tolist()[: len(expected)] == expected
