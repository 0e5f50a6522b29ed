"""The best k that are allowed: one answer, whatever the scorer, the masks and the blocks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interlingua.contracts.scorer import Scorer, TableScorer, Towers
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError, DataError
from interlingua.retrieval import best as room
from interlingua.retrieval.best import best
from interlingua.retrieval.cascade import RetrieveThenRerank


class Plain(Scorer):
    """The same numbers as another scorer's, without its vectors."""

    ranks_catalogue = True

    def __init__(self, scorer: TableScorer) -> None:
        self.scorer, self.num_items, self.widest = scorer, scorer.num_items, 0

    def score(self, queries: Queries, items: np.ndarray | None = None) -> np.ndarray:
        self.widest = max(self.widest, len(queries))
        return self.scorer.score(queries, items)


class Halved(Plain):
    """Ranks by vectors, but says twice their products."""

    def score(self, queries: Queries, items: np.ndarray | None = None) -> np.ndarray:
        return 2 * self.scorer.score(queries, items)

    def towers(self) -> Towers:
        made = self.scorer.towers()
        return Towers(made.users, made.items, made.bias, exact=False)


def world(seed: int, users: int, items: int, bias: bool, whole: bool = True) -> tuple[TableScorer, Queries]:
    """Vectors of whole numbers, whose products are the same in any order of adding, with many ties."""
    draw = np.random.default_rng(seed)
    sides = [draw.integers(-3, 4, (n, 4)) if whole else draw.normal(size=(n, 4)) for n in (users, items)]
    tables = [torch.as_tensor(side, dtype=torch.float32) for side in sides]
    offset = torch.as_tensor(draw.integers(-2, 3, items), dtype=torch.float32) if bias else None
    histories = [draw.integers(0, items, draw.integers(0, items + 2)) for _ in range(users)]
    queries = Queries.of(histories, np.arange(users))
    return TableScorer(tables[1], lambda q: tables[0][torch.as_tensor(q.users)], offset), queries


def by_sorting(scorer: TableScorer, queries: Queries, k: int, allowed: np.ndarray | None, repeat: bool) -> list:
    """Item rows of each query: all scores, sorted; worked out with Python's own sort."""
    out = []
    for row, scores in enumerate(scorer.score(queries)):
        may = [i for i in range(scorer.num_items) if (allowed is None or allowed[i])
               and (repeat or i not in queries.history(row))]  # fmt: skip
        out.append(sorted(may, key=lambda i: (-scores[i], i))[:k])
    return out


@given(
    st.integers(0, 10_000), st.sampled_from([1, 5, 40]), st.integers(1, 30), st.integers(1, 35),
    st.sampled_from([None, 0.0, 0.1, 0.6]), st.booleans(), st.booleans(),
)  # fmt: skip
def test_every_way_gives_the_sorted_answer(seed, users, items, k, share, repeat, bias) -> None:
    scorer, queries = world(seed, users, items, bias)
    allowed = None if share is None else np.random.default_rng(seed).random(items) < share
    expected = by_sorting(scorer, queries, k, allowed, repeat)
    for each in (scorer, Plain(scorer), Halved(scorer), RetrieveThenRerank(scorer, None, 3)):
        found = best(each, queries, k, allowed=allowed, repeat=repeat)
        assert found.indices.shape == found.scores.shape == (users, min(k, items))
        assert [row[row >= 0].tolist() for row in found.indices] == expected
        scores = each.score(queries)
        for row, at, values in zip(scores, found.indices, found.scores, strict=True):
            np.testing.assert_array_equal(values, np.where(at < 0, -np.inf, row[at]))


def test_an_answer_does_not_depend_on_how_many_ask() -> None:
    scorer, queries = world(3, 60, 500, True, whole=False)
    together = best(scorer, queries, 20)
    for at in range(60):
        alone = best(scorer, queries.slice(at, at + 1), 20)
        np.testing.assert_array_equal(alone.indices[0], together.indices[at])
        np.testing.assert_array_equal(alone.scores[0], together.scores[at])


def test_users_are_scored_in_blocks_of_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, queries = world(1, 50, 30, False)
    whole = best(Plain(scorer), queries, 5)
    monkeypatch.setattr(room, "BLOCK_BYTES", 4 * 30 * 7)
    monkeypatch.setattr(room, "MOST_USERS", 11)
    plain = Plain(scorer)
    np.testing.assert_array_equal(best(plain, queries, 5).indices, whole.indices)
    assert plain.widest == 7
    np.testing.assert_array_equal(best(scorer, queries, 5).indices, whole.indices)


def test_where_few_are_allowed_only_their_vectors_are_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, queries = world(2, 3, 400, False)
    widths = []
    original = room.top_k_of_few

    def counted(users, items, *rest, **options):
        widths.append(len(items))
        return original(users, items, *rest, **options)

    monkeypatch.setattr(room, "top_k_of_few", counted)
    best(scorer, queries, 5, allowed=np.arange(400) < 20)
    best(scorer, queries, 5)
    assert widths == [20, 400]


def test_nobody_asks() -> None:
    scorer, queries = world(2, 3, 40, False)
    for each in (scorer, Plain(scorer)):
        assert best(each, queries.slice(0, 0), 5).indices.shape == (0, 5)


def test_what_cannot_be_ranked_is_said() -> None:
    scorer, queries = world(2, 3, 40, False)
    with pytest.raises(ConfigError, match="k must be at least 1"):
        best(scorer, queries, 0)
    with pytest.raises(ConfigError, match=r"expected \(40,\)"):
        best(scorer, queries, 3, allowed=np.ones(39, bool))
    scorer.items[7, 2] = torch.nan
    with pytest.raises(DataError, match="NaN"):
        best(Plain(scorer), queries, 3)
    with pytest.raises(DataError, match="not finite"):
        best(scorer, queries, 3)
