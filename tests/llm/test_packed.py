"""Prompts packed without padding give the states and gradients that the model gives each of them alone."""

import pytest
import torch
from torch.nn import functional

from interlingua.lm import packed
from interlingua.lm import padding as causal
from interlingua.lm.load import hold
from interlingua.lm.packed import CausalBlocks, can_pack, in_a_row, packed_states
from interlingua.testing.tiny_models import FAMILIES, build, tiny, tokenizer_of

LENGTHS = (1, 2 * packed.BLOCK + 5, packed.BLOCK, 3)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (6, 2), (3, 1)])
def test_blocks_equal_plain_attention_forward_and_backward(keep, heads, groups):
    generator = torch.Generator().manual_seed(0)
    total = sum(LENGTHS)
    given = [
        torch.randn(n, total, 8, generator=generator, dtype=torch.float64, requires_grad=True)
        for n in (heads, groups, groups)
    ]
    weight = torch.randn(heads, total, 8, generator=generator, dtype=torch.float64)
    out = CausalBlocks.apply(*given, in_a_row(LENGTHS), 0.3, keep)
    own = torch.autograd.grad((out * weight).sum(), given)
    parts = [each.split(LENGTHS, 1) for each in given]
    repeats = heads // groups
    plain = torch.cat(
        [
            functional.scaled_dot_product_attention(
                q, k.repeat_interleave(repeats, 0), v.repeat_interleave(repeats, 0), is_causal=True, scale=0.3
            )
            for q, k, v in zip(*parts, strict=True)
        ],
        1,
    )
    expected = torch.autograd.grad((plain * weight).sum(), given)
    torch.testing.assert_close(out, plain, atol=1e-12, rtol=1e-10)
    for mine, theirs in zip(own, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("limit", [packed.KEPT_BYTES, 0])
@pytest.mark.parametrize("family", FAMILIES)
def test_states_and_gradients_are_those_of_each_prompt_alone(family, limit, monkeypatch):
    monkeypatch.setattr(packed, "KEPT_BYTES", limit)
    lm = tiny(family)
    if not can_pack(lm, torch.ones(1, 90, 1, requires_grad=True)):
        assert lm.config.attn_logit_softcapping, family
        return
    sizes = (90, 1, 17)
    generator = torch.Generator().manual_seed(4)
    rows = [lm.embed(torch.randint(3, 300, (n,), generator=generator)).requires_grad_(True) for n in sizes]
    alone = [lm.forward(row[None]).states[0] for row in rows]
    weight = [torch.randn(each.shape, generator=generator) for each in alone]
    expected = torch.autograd.grad(sum((a * w).sum() for a, w in zip(alone, weight, strict=True)), rows)
    embeds = torch.stack([functional.pad(row, (0, 0, 90 - len(row), 0), value=7.0) for row in rows])
    mask = torch.stack([(torch.arange(90) >= 90 - n).long() for n in sizes])
    states, starts = packed_states(lm, embeds, mask)
    assert starts.tolist() == [0, 90, 91]
    torch.testing.assert_close(states, torch.cat(alone), atol=1e-5, rtol=1e-4)
    own = torch.autograd.grad((states * torch.cat(weight)).sum(), rows)
    for mine, theirs in zip(own, expected, strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-5, rtol=1e-3)


def test_last_states_are_the_same_packed_or_padded(monkeypatch):
    lm = tiny("qwen3")
    embeds = lm.embed(torch.arange(3, 27).view(3, 8)).requires_grad_(True)
    mask = torch.tensor([[0, 1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0, 0, 0]])
    expected = causal.prompt_states(lm, embeds, mask)
    monkeypatch.setattr(causal, "prompt_states", None)  # packed: not asked
    torch.testing.assert_close(packed.prompt_states(lm, embeds, mask), expected, atol=1e-5, rtol=1e-4)


def test_without_gradients_the_model_is_left_as_it_is(monkeypatch):
    lm = tiny("qwen3")
    embeds, mask = lm.embed(torch.arange(3, 27).view(3, 8)).requires_grad_(True), torch.ones(3, 8)
    expected = causal.prompt_states(lm, embeds, mask)
    monkeypatch.setattr(packed, "packed_states", None)
    with torch.no_grad():
        assert torch.equal(packed.prompt_states(lm, embeds, mask), expected)
    assert torch.equal(packed.prompt_states(lm, embeds.detach(), mask), expected)


def test_the_model_attends_as_before_afterwards_even_after_an_error(monkeypatch):
    lm = tiny("llama")
    embeds = lm.embed(torch.arange(3, 11).view(2, 4))
    before = lm.forward(embeds).states

    def fails(*_, **__):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(packed.CausalBlocks, "apply", fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        packed_states(lm, embeds, torch.ones(2, 4))
    assert torch.equal(lm.forward(embeds).states, before)


def test_a_short_window_and_other_attention_are_not_packed():
    def fits(lm, length):
        return can_pack(lm, torch.ones(1, length, 1, requires_grad=True))

    windowed = hold(build("gemma3", sliding_window=8), tokenizer_of())
    assert fits(windowed, 8)
    assert not fits(windowed, 9)
    assert not fits(hold(build("gemma2"), tokenizer_of()), 8)
