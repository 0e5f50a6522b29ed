from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interlingua.lm.likelihood import build_tree, run_prefix, target_log_likelihood, title_log_likelihood
from interlingua.lm.load import hold
from interlingua.lm.padding import last_states, prompt_states, to_front
from interlingua.testing.tiny_models import FAMILIES, build, tiny, tokenizer_of


def prompts(lm, lengths, side="left", seed=0):
    generator = torch.Generator().manual_seed(seed)
    width = max(lengths)
    mask = torch.zeros(len(lengths), width, dtype=torch.long)
    for row, length in enumerate(lengths):
        mask[row, width - length :] = 1
    if side == "right":
        mask = mask.flip(1)
    ids = torch.randint(3, 300, (len(lengths), width), generator=generator) * mask
    return lm.embed(ids), mask


def padded(answers):
    width = max(1, *(len(a) for row in answers for a in row))
    ids = np.zeros((len(answers), len(answers[0]), width), np.int64)
    for b, row in enumerate(answers):
        for c, answer in enumerate(row):
            ids[b, c, : len(answer)] = answer
    return ids, np.array([[len(a) for a in row] for row in answers])


def slow(lm, embeds, mask, answers):
    """One full forward without cache or padding per candidate, by the model's own call."""
    out = torch.zeros(len(answers), len(answers[0]))
    for b, row in enumerate(answers):
        prompt = embeds[b][mask[b].bool()]
        for c, answer in enumerate(row):
            if not answer:
                continue
            joined = torch.cat([prompt, lm.embed(torch.tensor(answer))])[None]
            logits = lm.model(inputs_embeds=joined).logits[0].float().log_softmax(-1)
            out[b, c] = sum(float(logits[len(prompt) - 1 + i, token]) for i, token in enumerate(answer))
    return out


ANSWERS = [
    [[5, 6, 7, 2], [5, 6, 2], [5, 6, 7, 2], [9, 2], [2], [], [5, 6, 7, 8, 9, 10, 2]],
    [[11, 2], [5, 6, 7, 2], [12, 13, 2], [12, 13, 14, 2], [5, 2], [2], [300, 301, 2]],
]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_shared_prefix_equals_one_forward_per_candidate(family, side):
    lm = tiny(family)
    embeds, mask = prompts(lm, [9, 4], side)
    ids, lengths = padded(ANSWERS)
    expected = slow(lm, embeds, mask, ANSWERS)
    for block in (64, 3, 1):
        got = title_log_likelihood(lm, embeds, mask, ids, lengths, block=block)
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-5)


def test_length_normalisation_divides_by_the_number_of_tokens(llama):
    embeds, mask = prompts(llama, [9, 4])
    ids, lengths = padded(ANSWERS)
    plain = title_log_likelihood(llama, embeds, mask, ids, lengths)
    normal = title_log_likelihood(llama, embeds, mask, ids, lengths, normalize=True)
    torch.testing.assert_close(normal * torch.as_tensor(lengths).clamp_min(1), plain)


@pytest.mark.parametrize("family", ["gemma3", "gemma2"])
def test_prompts_longer_than_a_sliding_window(family):
    model = build(family, layers=3, sliding_window=6)
    lm = hold(model, tokenizer_of(), name="windowed")
    embeds, mask = prompts(lm, [14, 14])
    ids, lengths = padded(ANSWERS)
    got = title_log_likelihood(lm, embeds, mask, ids, lengths)
    torch.testing.assert_close(got, slow(lm, embeds, mask, ANSWERS), atol=1e-4, rtol=1e-5)


def test_a_prefix_can_be_used_again(llama):
    embeds, mask = prompts(llama, [6, 3])
    prefix = run_prefix(llama, embeds, mask)
    before = [layer.keys.clone() for layer in prefix.cache.layers]
    cache = prefix.fresh_cache()
    llama.forward(embeds[:, :2], torch.cat([mask, torch.ones(2, 2, dtype=torch.long)], 1), cache=cache)
    assert cache.get_seq_length() == 8
    assert prefix.cache.get_seq_length() == 6
    for layer, keys in zip(prefix.cache.layers, before, strict=True):
        torch.testing.assert_close(layer.keys, keys, atol=0, rtol=0)


def test_last_state_on_both_sides():
    states = torch.arange(8.0).view(2, 4, 1)
    left = torch.tensor([[0, 1, 1, 1], [0, 0, 0, 1]])
    right = torch.tensor([[1, 1, 1, 0], [1, 0, 0, 0]])
    assert last_states(states, left).flatten().tolist() == [3.0, 7.0]
    assert last_states(states, right).flatten().tolist() == [2.0, 4.0]


answer = st.lists(st.integers(0, 4), max_size=4)


@given(st.integers(1, 3).flatmap(lambda c: st.lists(st.lists(answer, min_size=c, max_size=c), min_size=1, max_size=3)))
@settings(max_examples=80, deadline=None)
def test_tree_holds_exactly_the_distinct_prefixes(answers):
    ids, lengths = padded(answers)
    tree = build_tree(ids, lengths)
    expected = {(b, tuple(a[: n + 1])) for b, row in enumerate(answers) for a in row for n in range(len(a))}

    def spell(node):
        out = []
        while node >= 0:
            out.append(int(tree.tokens[node]))
            node = tree.parents[node]
        return -1 - node, tuple(reversed(out))

    assert {spell(node) for node in range(len(tree.tokens))} == expected
    assert len(tree.tokens) == len(expected)
    for b, row in enumerate(answers):
        for c, a in enumerate(row):
            assert spell(tree.ends[b, c]) == (b, tuple(a))


@pytest.mark.parametrize("family", ["llama", "opt", "gemma"])
def test_training_loss_equals_scoring_and_has_finite_gradients(family):
    lm = tiny(family)
    embeds, mask = prompts(lm, [9, 4])
    embeds = embeds.clone().requires_grad_(True)
    chosen = [[ANSWERS[0][0]], [ANSWERS[1][3]]]
    ids, lengths = padded(chosen)
    loss = target_log_likelihood(lm, embeds, mask, ids[:, 0], lengths[:, 0])
    torch.testing.assert_close(loss.detach(), slow(lm, embeds.detach(), mask, chosen)[:, 0], atol=1e-4, rtol=1e-5)
    loss.sum().backward()
    assert torch.isfinite(embeds.grad).all()
    assert (embeds.grad[mask.bool()].abs().sum(-1) > 0).all()
    assert (embeds.grad[~mask.bool()] == 0).all()
    assert all(p.grad is None for p in lm.model.parameters())


@pytest.mark.parametrize("family", ["llama", "gpt2", "opt", "qwen3"])
def test_padding_side_changes_neither_loss_nor_gradient(family):
    lm = tiny(family)
    found = []
    for side in ("left", "right"):
        generator = torch.Generator().manual_seed(4)
        rows = [lm.embed(torch.randint(3, 300, (n,), generator=generator)).requires_grad_(True) for n in (9, 4, 6)]
        pads = [torch.full((9 - len(row), row.shape[1]), 7.0) for row in rows]
        embeds = torch.stack([torch.cat([p, r] if side == "left" else [r, p]) for p, r in zip(pads, rows, strict=True)])
        lengths = torch.tensor([[9], [4], [6]])
        mask = (torch.arange(9) < lengths).long()
        ids, counts = padded([[a] for a in ANSWERS[1][:3]])
        loss = target_log_likelihood(lm, embeds, mask.flip(1) if side == "left" else mask, ids[:, 0], counts[:, 0])
        loss.sum().backward()
        found.append([loss.detach(), *(row.grad for row in rows)])
    for left, right in zip(*found, strict=True):
        torch.testing.assert_close(left, right, atol=1e-6, rtol=1e-5)


@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_to_front_keeps_the_order_of_tokens(kept):
    mask = torch.tensor(kept).long()
    embeds = torch.arange(mask.numel(), dtype=torch.float32).view(*mask.shape, 1)
    moved, front = to_front(embeds, mask)
    for row in range(len(mask)):
        assert front[row].tolist() == sorted(mask[row].tolist(), reverse=True)
        assert moved[row, : int(mask[row].sum()), 0].tolist() == embeds[row, mask[row].bool(), 0].tolist()


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_state_of_a_prompt_does_not_depend_on_its_neighbours(family):
    lm = tiny(family)
    embeds, mask = prompts(lm, [7, 3])
    together = prompt_states(lm, embeds, mask)
    alone = torch.cat([lm.forward(embeds[b : b + 1, 7 - n :]).states[:, -1] for b, n in enumerate((7, 3))])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
