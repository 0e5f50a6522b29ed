from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interlingua.data.queries import PAD
from interlingua.errors import ConfigError
from interlingua.lm.constrain import Trie, constrained_search
from interlingua.lm.likelihood import title_log_likelihood
from interlingua.lm.prompt import compile_template, embed_prompts
from interlingua.testing.tiny_models import tiny

answer = st.lists(st.integers(3, 6), max_size=4)
catalogue = st.lists(answer, min_size=1, max_size=6)


def padded(answers, prompts=2):
    width = max(1, *(len(a) for a in answers))
    ids = np.zeros((prompts, len(answers), width), np.int64)
    for c, a in enumerate(answers):
        ids[:, c, : len(a)] = a
    return ids, np.array([[len(a) for a in answers]] * prompts)


def prompt(lm, seed):
    ids = torch.randint(3, 300, (2, 5), generator=torch.Generator().manual_seed(seed))
    mask = torch.tensor([[1, 1, 1, 1, 1], [0, 0, 1, 1, 1]])
    return lm.embed(ids), mask


@given(catalogue, st.integers(1, 8), st.integers(0, 50), st.booleans())
@settings(max_examples=30, deadline=None)
def test_only_candidates_come_out_with_their_own_probability(answers, beams, seed, ended):
    lm = tiny("llama")
    answers = [[*a, lm.eos_token_id] for a in answers] if ended else answers
    ids, lengths = padded(answers)
    embeds, mask = prompt(lm, seed)
    found = constrained_search(lm, embeds, mask, ids, lengths, beams=beams)
    exact = title_log_likelihood(lm, embeds, mask, ids, lengths).numpy()
    for b in range(2):
        out = [c for c in found.candidates[b] if c != PAD]
        assert out
        assert len(set(out)) == len(out)
        assert set(out) <= set(range(len(answers)))
        scores = found.log_probs[b][: len(out)]
        np.testing.assert_allclose(scores, exact[b][out], atol=1e-3)
        assert (np.diff(scores) <= 1e-6).all()
        if beams >= len(answers):
            assert len(out) == len(answers)
            np.testing.assert_allclose(scores, np.sort(exact[b])[::-1], atol=1e-3)
    assert found.collisions.tolist() == [len(answers) - len({tuple(a) for a in answers})] * 2


def test_equal_titles_come_out_in_the_candidates_order(llama):
    ids, lengths = padded([[5, 2], [7, 8, 2], [5, 2]])
    embeds, mask = prompt(llama, 0)
    found = constrained_search(llama, embeds, mask, ids, lengths, beams=3)
    for row in found.candidates.tolist():
        assert row.index(0) + 1 == row.index(2)
    assert found.collisions.tolist() == [1, 1]


def test_greedy_takes_the_best_allowed_token_each_time(llama):
    ids, lengths = padded([[5, 9, 2], [5, 11, 2], [7, 8, 2]])
    embeds, mask = prompt(llama, 3)
    found = constrained_search(llama, embeds, mask, ids, lengths)
    for b in range(2):
        given_ids, node = embeds[b][mask[b].bool()][None], []
        options = [[5, 9, 2], [5, 11, 2], [7, 8, 2]]
        while len(options) > 1:
            logits = llama.model(
                inputs_embeds=torch.cat([given_ids, llama.embed(torch.tensor([node]).long())], 1)
            ).logits
            best = max({o[len(node)] for o in options}, key=lambda t: float(logits[0, -1, t]))
            node = [*node, best]
            options = [o for o in options if o[: len(node)] == node]
        assert found.candidates[b, 0] == [[5, 9, 2], [5, 11, 2], [7, 8, 2]].index(options[0])


def test_real_titles_with_unicode_blanks_and_duplicates(llama, titles):
    compiled = compile_template("next-item-titles", llama, titles, slots=())
    rows = np.array([np.arange(len(titles))])
    prompts = compiled.assemble(np.array([[0, 1]]), rows)
    ids, lengths = compiled.target_ids(rows.ravel())
    found = constrained_search(
        llama,
        embed_prompts(llama, prompts),
        torch.as_tensor(prompts.attention_mask),
        ids[None],
        lengths[None],
        beams=len(titles),
    )
    assert sorted(found.items(rows)[0].tolist()) == list(range(len(titles)))
    assert found.collisions.tolist() == [1]  # "Alien" twice


def test_trie_counts_and_refuses_nonsense(llama):
    trie = Trie([[1, 2], [1], [1, 2], []])
    assert trie.collisions == 1
    assert trie.candidates[0] == [3]
    assert len(trie.children) == 3
    embeds, mask = prompt(llama, 0)
    ids, lengths = padded([[5, 2]])
    with pytest.raises(ConfigError, match="beams"):
        constrained_search(llama, embeds, mask, ids, lengths, beams=0)
    with pytest.raises(ConfigError, match="candidate"):
        constrained_search(llama, embeds, mask, ids[:, :0], lengths[:, :0])
