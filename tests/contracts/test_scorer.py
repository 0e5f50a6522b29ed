"""Every scorer answers every question: what a new one does not say has a default, and what wraps another asks it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from interlingua.contracts.scorer import Scorer, TableScorer, TopK, Towers
from interlingua.data.queries import Queries
from interlingua.data.sources.planted import generate
from interlingua.errors import ConfigError
from interlingua.evaluate.protocol import evaluate
from interlingua.evaluate.rules import scorer_for
from interlingua.fuse.rrf import Rrf
from interlingua.retrieval.ann import Ann
from interlingua.retrieval.best import best
from interlingua.retrieval.cascade import RetrieveThenRerank

QUERIES = Queries.of([[0, 3], [5]])


class Falling(Scorer):
    """The first item is the best one."""

    num_items = 8

    def score(self, queries: Queries, items: Any = None) -> np.ndarray:
        table = np.tile(-np.arange(8, dtype=np.float32), (len(queries), 1))
        return table if items is None else np.take_along_axis(table, np.asarray(items), axis=1)


class Indexed(Falling):
    """Finds by itself, and says what it was asked."""

    def best(self, queries: Queries, k: int, **options: Any) -> TopK:
        self.options = options
        return TopK(np.full((len(queries), k), 7), np.zeros((len(queries), k), np.float32))


def table(unseen: TableScorer | None = None) -> TableScorer:
    draw = torch.Generator().manual_seed(3)
    return TableScorer(
        torch.randn(8, 4, generator=draw),
        lambda queries: torch.ones(len(queries), 4),
        torch.randn(8, generator=draw),
        unseen,
    )


def test_a_scorer_of_a_stranger_needs_a_score_and_no_more() -> None:
    scorer = Falling()
    assert scorer.ranks_catalogue
    assert scorer.towers() is None
    assert scorer.score_unseen(QUERIES) is None
    assert scorer.with_repeats() is scorer
    assert best(scorer, QUERIES, 2).indices.tolist() == [[1, 2], [0, 1]]


def test_one_that_finds_by_itself_is_asked() -> None:
    scorer, allowed = Indexed(), np.arange(8) > 1
    assert best(scorer, QUERIES, 2, allowed=allowed, repeat=True).indices.tolist() == [[7, 7], [7, 7]]
    assert scorer.options["repeat"] is True
    assert scorer.options["allowed"] is allowed


def test_what_is_no_scorer_is_refused_in_words() -> None:
    class Loose:
        num_items = 8

        def score(self, queries: Queries, items: Any = None) -> np.ndarray:
            return np.zeros((len(queries), 8))

    with pytest.raises(ConfigError, match=r"a Loose is no Scorer: derive its class from interlingua\.contracts"):
        evaluate(Loose(), generate(num_users=20, num_items=8).split)


def same(one: Towers | None, other: Towers | None) -> bool:
    assert one is not None
    assert other is not None
    products = [each.users(QUERIES) @ each.folded().items[:, :4].T for each in (one, other)]
    return torch.equal(*products)


def test_what_only_retrieves_says_what_its_retriever_says() -> None:
    inner = table(unseen=table())
    alone, reranked = RetrieveThenRerank(inner, None, 5), RetrieveThenRerank(inner, Falling(), 5)
    assert same(alone.towers(), inner.towers())
    assert reranked.towers() is None
    unseen = alone.score_unseen(QUERIES)
    assert unseen is not None
    np.testing.assert_array_equal(unseen, inner.score_unseen(QUERIES))
    assert reranked.score_unseen(QUERIES) is None


def test_an_index_says_what_is_indexed() -> None:
    inner = table(unseen=table())
    index = Ann.of(inner)
    assert same(index.towers(), inner.towers())
    np.testing.assert_array_equal(index.score_unseen(QUERIES), inner.score_unseen(QUERIES))
    again = index.with_repeats()
    np.testing.assert_array_equal(again.score(QUERIES), inner.score(QUERIES))
    assert again.index is index.index


@pytest.mark.parametrize(("protocol", "repeats"), [("full-repeat", True), ("full", False)])
def test_a_protocol_with_repeats_reaches_what_retrieves_inside(protocol: str, repeats: bool) -> None:
    train = generate(num_users=20, num_items=8).split.train
    inner = RetrieveThenRerank(RetrieveThenRerank(Falling(), table(), 4), Falling(), 3)
    asked: Any = scorer_for(Rrf(Rrf.Config(), [inner, Falling()], train), protocol)
    member = asked.members[0]
    assert (member.repeat, member.retriever.repeat) == (repeats, repeats)
    assert inner.repeat is False
