"""TIGER: exact scores against a decoder that reads everything anew, and searches that cannot leave the trie."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from tests.align.test_whitening_experts import world

from interlingua.backbones.tiger import Tiger, TigerConfig
from interlingua.config import build
from interlingua.contracts.added import AddedItems
from interlingua.contracts.aligner import Aligner
from interlingua.contracts.fitting import Fitting
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError, DataError
from interlingua.lm.code_trie import SKIPPED, levels_of
from interlingua.retrieval.best import best
from interlingua.training.joint import Joint
from interlingua.training.loop import seed_all
from interlingua.vectors.frozen import FrozenRows

SIZES: dict[str, Any] = {"embedding_dim": 16, "max_history": 6, "dropout": 0.0, "same_codes": 4}
SMALL_BOOKS = {"levels": 2, "size": 4, "code_dim": 4, "hidden": [8], "epochs": 5}


def tiger(seed: int = 0, scale: float = 6.0, **options: Any) -> Tiger:
    """A model of random weights, large enough to have opinions, over codes that collide."""
    train, text = world()
    seed_all(seed)
    made = Tiger(TigerConfig.model_validate(SIZES | {"quantiser": SMALL_BOOKS} | options), train)
    made.start(train, text)
    with torch.no_grad():
        for parameter in made.parameters():
            if parameter.dim() > 1:
                parameter.mul_(scale if parameter is made.positions else 1.5)
    return made.eval()


def some_queries(made: Tiger) -> Queries:
    rng = np.random.default_rng(0)
    lists = [rng.integers(0, made.num_items, n) for n in (0, 1, 3, 6, 9)]
    return Queries.of(lists, np.full(len(lists), -1))


@torch.no_grad()
def by_reading_anew(made: Tiger, history: Any, item: int) -> float:
    """Sum of the codes' log-probabilities, from one pass over history and item; the last among its equals' numbers."""
    row = torch.tensor([[*history[-made.config.max_history :], item]], dtype=torch.int64)
    x, _, tokens = made._read(row, 0)
    states = made.decoder(x[:, :-1])[0].view(1, row.shape[1], len(made.sizes), -1)[0, -1]
    total = 0.0
    for level, start in enumerate(made.starts.tolist()):
        logits = states[level] @ made.tokens[start : start + made.sizes[level]].T
        same = (made.codes[:, :level] == made.codes[item, :level]).all(dim=1)
        allowed = made.codes[same, level].unique()
        if made.config.normalised == "trie" or level == len(made.sizes) - 1:
            logits = torch.full_like(logits, -math.inf).index_copy(0, allowed, logits[allowed])
        total += float(logits.log_softmax(-1)[tokens[0, -1, level] - start])
    return total


@pytest.mark.parametrize("normalised", ["codes", "trie"])
def test_scores_are_sums_of_log_probabilities_of_codes(normalised: str) -> None:
    made = tiger(normalised=normalised)
    assert made.report is not None
    assert made.report.collisions > 0
    queries = some_queries(made)
    scores = made.score(queries)
    for row in range(len(queries)):
        expected = [by_reading_anew(made, queries.history(row).tolist(), item) for item in range(made.num_items)]
        np.testing.assert_allclose(scores[row], expected, rtol=1e-4, atol=1e-4)
    assert scores.std(axis=1).min() > 0.5


@pytest.mark.parametrize("seed", range(3))
def test_all_probability_is_on_items(seed: int) -> None:
    """Among the trie's codes the catalogue is everything; among all codes, a part."""
    made = tiger(seed, normalised="trie")
    levels = levels_of(made.codes)
    first = np.unique(levels.items.numpy(), return_index=True)[1]  # one item of each tuple
    distinct = np.exp(made.score(some_queries(made)))[:, first]
    np.testing.assert_allclose(distinct.sum(1), 1.0, rtol=1e-4)
    among_all = np.exp(tiger(seed, normalised="codes").score(some_queries(made)))[:, first]
    assert (among_all.sum(1) < 1.0).all()


@pytest.mark.parametrize("beams", [None, 1, 2, 5])
@pytest.mark.parametrize("normalised", ["codes", "trie"])
def test_the_leaves_of_the_trie_are_the_catalogues_codes(beams: int | None, normalised: str) -> None:
    """Nothing else can come out, whatever the weights, and a list has each item once."""
    for seed in range(4):
        made = tiger(seed, beams=beams, normalised=normalised)
        levels = made.levels
        steps = zip(levels.levels, levels.levels[-1].path.T, strict=True)
        leaves = torch.stack([level.codes[nodes] for level, nodes in steps], dim=1)
        assert torch.equal(leaves[levels.items], made.codes)
        assert len(leaves) == len(made.codes.unique(dim=0))
        scores = made.score(some_queries(made))
        assert np.isfinite(scores).all()
        found = best(made, some_queries(made), 8)
        assert all(len(set(row)) == 8 for row in found.indices.tolist())
        chosen = np.arange(5)[:, None] + np.arange(3)
        assert np.array_equal(made.score(some_queries(made), chosen), np.take_along_axis(scores, chosen, axis=1))


def test_rows_scored_together_are_counted_with_the_heads_of_their_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attention's weights, (heads, nodes, 1 + history) for a row, are the widest where histories are long."""
    queries, rows = some_queries(tiger()), list[int]()
    read = Tiger._searched
    monkeypatch.setattr(Tiger, "_searched", lambda own, padded: rows.append(len(padded)) or read(own, padded))
    for heads in (1, 8):
        made = tiger(num_heads=heads, max_history=40)
        nodes = max(len(level.codes) for level in made.levels.levels)
        monkeypatch.setattr("interlingua.backbones.tiger.CALL_NUMBERS", 8 * (1 + 40 * 3) * nodes)
        made.score(queries)
    assert rows == [5, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("normalised", ["codes", "trie"])
def test_a_beam_finds_exact_scores_and_leaves_the_rest_behind(normalised: str) -> None:
    made = tiger(normalised=normalised)
    queries = some_queries(made)
    exact = made.score(queries)
    wide = tiger(beams=1000, normalised=normalised).score(queries)
    np.testing.assert_allclose(wide, exact, rtol=1e-5)
    found = tiger(beams=3, normalised=normalised).score(queries)
    inside = found > -SKIPPED
    assert inside.any(axis=1).all()
    assert not inside.all(axis=1).any()
    np.testing.assert_allclose(found[inside], exact[inside], rtol=1e-4)
    assert np.isfinite(found).all()
    best = exact.argmax(1)  # each step's three best hold the best item of at least most rows
    assert inside[np.arange(len(queries)), best].mean() > 0.5


def test_the_loss_of_a_model_without_opinions_is_the_mean_logarithm_of_the_sizes() -> None:
    made = tiger()
    with torch.no_grad():
        made.tokens.zero_()
    train, _ = world()
    batch = next(made.batches(train, made.config.fit)(0, np.random.default_rng(0)))
    loss = Joint(made, Aligner(Aligner.Config(), 0, 0))(batch)
    assert float(loss["codes"]) == pytest.approx((2 * math.log(4) + math.log(4)) / 3)


def test_later_codes_do_not_reach_earlier_states() -> None:
    made = tiger()
    rows = torch.tensor([[1, 2, 3, 4], [1, 2, 9, 5]])
    states, _ = made.decoder(made._read(rows, 0)[0])
    same = 1 + 2 * len(made.sizes)  # the beginning and two items
    torch.testing.assert_close(states[0, :same], states[1, :same])
    assert not torch.allclose(states[0, -1], states[1, -1])


def test_an_item_that_comes_later_has_the_codes_of_its_text() -> None:
    made = tiger(same_codes=60)
    train, text = world()
    vectors = text.rows("items")
    new = torch.cat([vectors[4:5], 100 * torch.randn(1, vectors.shape[1])])
    grown = made.extended(AddedItems(2, Fitting(train, text), text=new))
    assert grown is not None
    assert torch.equal(grown.codes[: made.num_items], made.codes)
    assert torch.equal(grown.codes[-2, :-1], made.codes[4, :-1])
    equal = (made.codes[:, :-1] == made.codes[4, :-1]).all(dim=1)
    assert int(grown.codes[-2, -1]) == int(equal.sum())
    scores = grown.score(some_queries(made))
    assert scores.shape == (5, made.num_items + 2)
    assert np.isfinite(scores).all()
    assert made.extended(AddedItems(2, Fitting(train, text))) is None


def test_items_beyond_the_numbers_share_codes_and_scores() -> None:
    made = tiger(same_codes=1)
    assert not made.codes[:, -1].any()
    scores = made.score(some_queries(made))
    _, groups, counts = np.unique(made.codes.numpy(), axis=0, return_inverse=True, return_counts=True)
    shared = np.flatnonzero(groups == counts.argmax())
    assert len(shared) > 1
    assert (scores[:, shared] == scores[:, shared[:1]]).all()


def test_an_estimate_trains_no_codebooks() -> None:
    train, text = world()
    made = Tiger(TigerConfig.model_validate(SIZES | {"quantiser": SMALL_BOOKS | {"epochs": 10**9}}), train)
    made.start_for_estimate(train, text)
    assert made.report is None
    assert len(made.codes.unique(dim=0)) > 4
    assert bool((made.codes < torch.tensor(made.sizes)).all())
    assert np.isfinite(made.score(some_queries(made))).all()


def test_bad_options_and_missing_texts_are_said_in_words() -> None:
    train, _ = world()
    with pytest.raises(ConfigError, match=r"embedding_dim = 10 is not divisible by num_heads = 4"):
        build(TigerConfig, {"embedding_dim": 10, "num_heads": 4})
    alike = FrozenRows(torch.ones(train.num_items, 4))
    with pytest.raises(DataError, match="texts have one vector"):
        Tiger(TigerConfig(), train).start(train, alike)
    with pytest.raises(ConfigError, match=r"no \[text\] section"):
        Tiger(TigerConfig(), train).start(train, None)
