"""The graph index finds almost what the exact search finds, keeps it on disk, and never gives what was seen."""

import numpy as np
import pytest
import torch

pytest.importorskip("usearch")

from interlingua.contracts.scorer import Scorer, TableScorer
from interlingua.data.queries import Queries
from interlingua.errors import ArtifactError, ConfigError
from interlingua.retrieval.ann import Ann, AnnConfig
from interlingua.retrieval.best import best
from interlingua.retrieval.topk import recall, top_k


@pytest.fixture(name="world", scope="module")
def _world():
    generator = torch.Generator().manual_seed(0)
    items = torch.randn(3000, 16, generator=generator) * torch.exp(torch.randn(3000, 1, generator=generator) / 2)
    return items, torch.randn(60, 16, generator=generator)


def test_it_finds_most_of_the_exact_results_with_their_exact_scores(world):
    items, queries = world
    exact, found = top_k(queries, items, 10), Ann.build(items).search(queries, 10)
    assert recall(found.indices, exact.indices) > 0.95
    scores = (queries @ items.T).numpy()
    np.testing.assert_allclose(found.scores, np.take_along_axis(scores, found.indices, 1), rtol=1e-5, atol=1e-5)
    assert (np.diff(found.scores, axis=1) <= 0).all()


def test_a_wider_search_finds_more(world):
    items, queries = world
    exact = top_k(queries, items, 10).indices
    narrow, wide = (Ann.build(items, AnnConfig(connectivity=4, expansion_search=n)) for n in (10, 400))
    assert recall(wide.search(queries, 10).indices, exact) > recall(narrow.search(queries, 10).indices, exact)


def test_it_comes_back_from_disk_as_it_was(world, tmp_path):
    items, queries = world
    index = Ann.build(items)
    index.save(tmp_path)
    again = Ann.load(tmp_path, items)
    np.testing.assert_array_equal(again.search(queries, 7).indices, index.search(queries, 7).indices)
    with pytest.raises(ArtifactError, match="3000 vectors of width 16, but 2999"):
        Ann.load(tmp_path, items[1:])
    with pytest.raises(ArtifactError, match="--index usearch"):
        Ann.load(tmp_path / "nowhere", items)


def test_seen_items_do_not_come_out(world):
    items, queries = world
    index = Ann.build(items)
    first = index.search(queries, 5).indices
    seen = Queries.of(list(first))
    after = index.search(queries, 5, seen=seen).indices
    assert (after >= 0).all()
    assert not any(np.isin(a, f).any() for a, f in zip(after, first, strict=True))
    exact = top_k(queries, items, 5, seen=seen).indices
    assert recall(after, exact) > 0.9


def test_small_and_empty_sides(world):
    items, queries = world
    few = Ann.build(items[:4]).search(queries, 10, seen=Queries.of([[0, 1]] * len(queries)))
    assert few.indices.shape == (60, 4)
    assert set(few.indices[0].tolist()) == {2, 3, -1}
    assert Ann.build(items).search(queries[:0], 3).indices.shape == (0, 3)
    with pytest.raises(ConfigError, match="k must be at least 1"):
        Ann.build(items[:4]).search(queries, 0)


def biased(world):
    items, users = world
    draw = torch.Generator().manual_seed(1)
    return TableScorer(items, lambda q: users[torch.as_tensor(q.users)], torch.randn(len(items), generator=draw))


def test_over_a_scorer_it_is_one_and_finds_its_best(world):
    scorer = biased(world)
    index = Ann.of(scorer)
    queries = Queries.of([[]] * 60, np.arange(60))
    queries = Queries.of(list(best(scorer, queries, 4).indices), np.arange(60))
    few = np.array([[3, 1]] * 60)
    np.testing.assert_array_equal(index.score(queries, few), scorer.score(queries, few))
    exact, found = best(scorer, queries, 10), best(index, queries, 10)
    assert recall(found.indices, exact.indices) > 0.9
    np.testing.assert_allclose(
        found.scores, np.take_along_axis(scorer.score(queries), found.indices, 1), rtol=1e-4, atol=1e-5
    )
    assert not any(np.isin(row, queries.history(at)).any() for at, row in enumerate(found.indices))
    again = best(index, queries, 4, repeat=True)
    assert recall(again.indices, queries.items.reshape(60, 4)) > 0.9


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9])
def test_whatever_is_allowed_there_are_k_results(world, share):
    scorer = biased(world)
    allowed = np.random.default_rng(0).random(3000) < share
    queries = Queries.of([np.flatnonzero(allowed)[:2]] * 60, np.arange(60))
    exact, found = best(scorer, queries, 20, allowed=allowed), best(Ann.of(scorer), queries, 20, allowed=allowed)
    np.testing.assert_array_equal(found.indices < 0, exact.indices < 0)
    assert allowed[found.indices[found.indices >= 0]].all()
    assert recall(found.indices, exact.indices) > (0.99 if share < 0.25 else 0.9)


def test_what_the_graph_finds_too_few_for_is_searched_exactly(world):
    """Only the worst tenth may come out... of the first query: no candidate of the graph is among them."""
    scorer = biased(world)
    queries = Queries.of([[]], np.array([0]))
    allowed = np.ones(3000, bool)
    allowed[best(scorer, queries, 1500).indices[0]] = False
    found = best(Ann.of(scorer), queries, 10, allowed=allowed)
    np.testing.assert_array_equal(found.indices, best(scorer, queries, 10, allowed=allowed).indices)


def test_without_dot_products_there_is_nothing_to_index(world):
    class Plain(Scorer):
        num_items = 3000

        def score(self, queries, items=None):
            return np.zeros((len(queries), 3000), np.float32)

    with pytest.raises(ConfigError, match="Plain does not score by dot products"):
        Ann.of(Plain())
    with pytest.raises(ConfigError, match="made from plain vectors"):
        Ann.build(world[0]).score(Queries.of([[1]]))
