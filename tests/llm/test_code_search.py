"""A search along the catalogue's codes: scores of the plain model, the constrained search, nothing but items."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interlingua.lm import code_search
from interlingua.lm.added_tokens import AddedTokens, Grown
from interlingua.lm.code_search import answer_scores, code_scores
from interlingua.lm.code_trie import SKIPPED, levels_of
from interlingua.lm.constrain import constrained_search
from interlingua.lm.continuation import Continuation
from interlingua.testing.tiny_models import tiny


def world(seed: int, items: int = 24, levels: int = 3, size: int = 4, scale: float = 3.0) -> Any:
    """A grown model of random new rows, (I, K) token ids with some equal ones, two prompts of other lengths."""
    lm = tiny("llama")
    torch.manual_seed(seed)
    added = AddedTokens(lm, levels * size)
    with torch.no_grad():
        for rows in added.parameters():
            rows.mul_(scale)
    grown = Grown.of(lm, added)
    tokens = added.ids(torch.randint(size, (items, levels)) + size * torch.arange(levels))
    ids = torch.tensor([[5, 6, int(tokens[0, 0]), 9], [7, 8, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    return grown, tokens, grown.embed(ids), mask


@torch.no_grad()
def plainly(lm: Any, embeds: torch.Tensor, mask: torch.Tensor, tokens: torch.Tensor) -> np.ndarray:
    """(B, I): every item read alone behind its prompt, without a cache or a tree."""
    out = np.zeros((len(embeds), len(tokens)), np.float32)
    for row in range(len(embeds)):
        prompt = embeds[row, : int(mask[row].sum())]
        for item, own in enumerate(tokens):
            states = lm.forward(torch.cat([prompt, lm.embed(own)])[None]).states[0]
            steps = lm.logits(states[len(prompt) - 1 : -1]).log_softmax(-1)
            out[row, item] = float(steps[torch.arange(len(own)), own].sum())
    return out


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_with_room_for_every_code_scores_are_the_models_own(seed: int) -> None:
    lm, tokens, embeds, mask = world(seed)
    expected = plainly(lm, embeds, mask, tokens)
    found = code_scores(lm, embeds, mask, levels_of(tokens), 99)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-3)
    given_items = np.array([[3, 0, 3], [7, 23, 1]])
    read = answer_scores(lm, embeds, mask, tokens.numpy()[given_items])
    np.testing.assert_allclose(read, np.take_along_axis(expected, given_items, 1), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("beams", [1, 2, 5])
def test_few_beams_find_what_the_constrained_search_finds(beams: int) -> None:
    lm, tokens, embeds, mask = world(4)
    ids = np.broadcast_to(tokens.numpy(), (2, *tokens.shape))
    expected = constrained_search(lm, embeds, mask, ids, np.full(ids.shape[:2], tokens.shape[1]), beams=beams)
    exact = plainly(lm, embeds, mask, tokens)
    scores = code_scores(lm, embeds, mask, levels_of(tokens), beams).numpy()
    for row in range(2):
        found = scores[row] > -SKIPPED / 2
        np.testing.assert_allclose(scores[row, found], exact[row, found], rtol=1e-4, atol=1e-3)
        assert not found.all()
        assert scores[row, ~found].max() < scores[row, found].min()
        if beams > 1:  # greedy there ends with one item; here with all that have the beginning that was followed
            count = int((expected.candidates[row] >= 0).sum())
            best = np.sort(scores[row])[::-1][:count]
            np.testing.assert_allclose(best, expected.log_probs[row, :count], rtol=1e-4, atol=1e-3)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 12), st.floats(0.01, 30))
def test_whatever_the_weights_and_beams_nothing_but_an_items_codes_is_written(
    seed: int, items: int, beams: int, scale: float
) -> None:
    lm, tokens, embeds, mask = world(seed, items=items, scale=scale)
    written: list[list[tuple[int, ...]]] = []

    class Watched(Continuation):
        rows: list[tuple[int, ...]] = [(), ()]

        def add(self, new: torch.Tensor, indices: torch.Tensor | None = None) -> None:
            assert indices is not None
            pairs = zip(new.tolist(), indices.tolist(), strict=True)
            self.rows = [(*self.rows[row], token) for token, row in pairs]
            written.append(self.rows)
            super().add(new, indices)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(code_search, "Continuation", Watched)
        scores = code_scores(lm, embeds, mask, levels_of(tokens), beams)
    beginnings = {tuple(own[:n]) for own in tokens.tolist() for n in range(1, tokens.shape[1])}
    assert len(written) == tokens.shape[1] - 1
    assert all(row in beginnings for rows in written for row in rows)
    assert scores.shape == (2, items)
    assert bool(scores.isfinite().all())
    same = (tokens[:, None] == tokens[None]).all(-1)
    assert bool((scores[:, :, None] == scores[:, None, :])[:, same].all())  # and equal codes have equal scores
