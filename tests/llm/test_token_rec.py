"""TokenRec: what the language model reads, put together by hand; the loss by torch's own; a set has no order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.llm.vector_rankers import ITEMS, asked, inputs
from torch.nn import functional

from interlingua.config import FitConfig
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError
from interlingua.lm.adapters import LoraOptions
from interlingua.rankers.token_rec import TokenRec, TokenRecConfig, cosine_loss
from interlingua.training.loop import fit_best

CODES = torch.stack([torch.arange(ITEMS) // 3, torch.arange(ITEMS) % 3], dim=1)


def make(folder: Any, given: Any = None, **options: Any) -> TokenRec:
    torch.manual_seed(1)
    fit = FitConfig(learning_rate=1e-2, batch_size=8, epochs=2)
    config = TokenRecConfig(model=folder, **({"history_length": 6, "output_tokens": 2, "fit": fit} | options))
    return TokenRec(config, replace(inputs(), item_codes=CODES) if given is None else given).eval()


@torch.no_grad()
def by_hand(ranker: TokenRec, history: list[int]) -> torch.Tensor:
    """(I,) cosines: one token after the other, and the two answers behind them."""
    first, second = ranker.tokens[: ITEMS // 3 + 2], ranker.tokens[ITEMS // 3 + 1 :]
    read = [part for item in history for part in (first[item // 3], second[item % 3])]
    states = ranker.lm.forward(torch.stack([*read, *ranker.answers])[None]).states[0, -2:]
    return functional.cosine_similarity(ranker.out(states.flatten()), ranker.inputs.items, dim=1)


def test_scores_are_cosines_with_what_the_model_answers_to_the_codes(folder: Any) -> None:
    ranker = make(folder, order="sequence")
    assert ITEMS % 3 == 0
    for history in ([], [4], [5, 2, 7], [1, 2, 3, 4, 5, 6, 7, 8]):
        queries = Queries.of([np.array(history, int), np.arange(5)], np.array([-1, -1]))
        expected = by_hand(ranker, history[-6:])
        np.testing.assert_allclose(ranker.score(queries)[0], expected, rtol=1e-3, atol=1e-5)
    towers = ranker.towers()
    products = towers.users(asked()) @ towers.items.T
    np.testing.assert_allclose(ranker.score(asked()), products, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("order", ["set", "sequence"])
def test_a_history_is_read_once_for_a_set_of_weights(folder: Any, order: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ranker, read = make(folder, order=order), list[int]()
    vectors = TokenRec.vectors
    monkeypatch.setattr(TokenRec, "vectors", lambda own, padded: read.append(len(padded)) or vectors(own, padded))
    monkeypatch.setattr("interlingua.rankers.token_rec.AT_ONCE", 2)
    histories = [np.array(h, int) for h in ([5, 2, 7, 1], [], [4], [7, 2, 5, 1], [5, 2, 7, 1])]
    queries = Queries.of(histories, np.full(5, -1))
    alone = np.concatenate([make(folder, order=order).score(queries.slice(row, row + 1)) for row in range(5)])
    read.clear()
    scores = ranker.score(queries)
    np.testing.assert_allclose(scores, alone, rtol=0, atol=1e-6)
    assert sum(read) == (3 if order == "set" else 4)
    items = np.array([[1, 0, 1]] * 5)
    np.testing.assert_allclose(ranker.score(queries, items), scores[:, [1, 0, 1]], rtol=1e-5, atol=1e-6)
    assert ranker.score(queries.slice(0, 0)).shape == (0, ITEMS)
    assert sum(read) == (3 if order == "set" else 4)
    with torch.no_grad():
        ranker.train().tokens.neg_()
    assert not np.allclose(ranker.score(queries), scores)
    ranker.load_state_dict(make(folder, order=order).state_dict())
    np.testing.assert_array_equal(ranker.score(queries), scores)


def test_a_set_has_no_order_and_is_shuffled_in_training(folder: Any) -> None:
    queries = Queries.of([np.array([5, 2, 7]), np.array([7, 5, 2])], np.array([-1, -1]))
    scores = make(folder).score(queries)
    np.testing.assert_allclose(scores[0], scores[1], rtol=0, atol=1e-6)  # rows of one product
    ordered = make(folder, order="sequence").score(queries)
    assert not np.allclose(ordered[0], ordered[1])
    as_set, as_sequence = (
        next(iter(make(folder, order=order).batches(0, np.random.default_rng(0)))) for order in ("set", "sequence")
    )
    assert not torch.equal(as_set.histories, as_sequence.histories)
    assert torch.equal(as_set.histories.sort(1).values, as_sequence.histories.sort(1).values)
    assert torch.equal(as_set.histories < 0, as_sequence.histories < 0)  # padding stays in front


def test_the_loss_is_the_cosine_embedding_loss_with_one_negative() -> None:
    torch.manual_seed(0)
    made, good, bad = torch.randn(3, 7, 5)
    signs = torch.cat([torch.ones(7), -torch.ones(7)])
    expected = functional.cosine_embedding_loss(made.repeat(2, 1), torch.cat([good, bad]), signs)
    torch.testing.assert_close(cosine_loss(made, good, bad), expected)


def test_it_learns_to_answer_with_the_next_item(folder: Any) -> None:
    ranker = make(folder, fit=FitConfig(learning_rate=1e-2, batch_size=16, epochs=6), dropout=0.0)
    log = fit_best(ranker, ranker.batches, ranker.config.fit, seed=1, device="cpu")
    losses = [record["losses"]["cosine"] for record in log.epochs]
    assert losses[-1] < 0.85 * losses[0]
    assert not any(p.requires_grad for p in ranker.lm.model.parameters())


def test_codes_that_came_later_and_items_without_a_vector(folder: Any) -> None:
    given = replace(inputs(), item_codes=torch.cat([CODES[:-1], torch.tensor([[99, 1]])]), added=1)
    ranker = make(folder, given)
    assert np.isfinite(ranker.score(Queries.of([np.array([ITEMS - 1])], np.array([-1])))).all()
    cold = np.zeros(ITEMS, bool)
    cold[3] = True
    bare = replace(inputs(), item_codes=CODES, cold_items=cold, items_from_text=None)
    assert (make(folder, bare).score(asked())[:, 3] == 0).all()


def test_lora_learns_and_without_codes_it_is_refused(folder: Any) -> None:
    ranker = make(folder, tune="lora", lora=LoraOptions(rank=2))
    assert ranker.tuned is not None
    with pytest.raises(ConfigError, match=r"choose the aligner masked-vq or rq-vae"):
        make(folder, inputs())
    assert "item_codes" in TokenRec.needs(ranker.config)
    assert ranker.lm.name == f"{ranker.config.model} (lora)"
