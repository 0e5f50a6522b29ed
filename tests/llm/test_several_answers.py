"""Several answers to one prompt have the likelihoods and gradients that each has alone, whichever way they are read."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from interlingua.lm import packed, several_answers, token_loss
from interlingua.lm.abilities import Abilities
from interlingua.lm.several_answers import answers_log_likelihood
from interlingua.lm.token_loss import token_log_likelihood
from interlingua.testing.tiny_models import build, hold, tiny, tokenizer_of

PROMPTS = (70, 5, 9)
LENGTHS = np.array([[3, 1, 5], [0, 4, 0], [2, 2, 0]])
"""of each prompt's answers; 0: none"""


def given(lm):
    generator = torch.Generator().manual_seed(7)
    embeds = torch.randn(3, max(PROMPTS), lm.hidden_size, generator=generator) * 0.5
    mask = torch.stack([(torch.arange(max(PROMPTS)) >= max(PROMPTS) - n).long() for n in PROMPTS])
    ids = np.random.default_rng(3).integers(3, 300, (3, 3, 5))
    return embeds.requires_grad_(True), mask, ids


def alone(lm, embeds, mask, ids):
    """Each answer after its prompt by the model's own logits."""
    rows = []
    for row in range(3):
        for at, length in enumerate(LENGTHS[row]):
            prompt, answer = embeds[row][mask[row].bool()], torch.as_tensor(ids[row, at, :length])
            states = lm.forward(torch.cat([prompt, lm.embed(answer)])[None]).states[0]
            logits = lm.logits(states[len(prompt) - 1 : len(prompt) - 1 + int(length)]).log_softmax(-1)
            rows.append(logits.gather(1, answer[:, None]).sum())
    return torch.stack(rows).view(3, 3)


WAYS = ("packed", "masked", "rows")


def by_way(lm, way, monkeypatch):
    """The model so that its answers are read in one of the three ways, of which the others fail."""
    if way != "packed":
        monkeypatch.setattr(several_answers, "can_pack", lambda *_: False)
        monkeypatch.setattr(several_answers, "_packed", None)
    if way == "rows":
        monkeypatch.setattr(several_answers, "_masked", None)
        return replace(lm, abilities=Abilities(tree=0))
    if way == "masked":
        monkeypatch.setattr(several_answers, "target_log_likelihood", None)
    return lm


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", ["llama", "opt", "gpt2", "gemma3"])
def test_likelihoods_and_gradients_are_those_of_each_answer_alone(family, way, monkeypatch):
    lm = by_way(tiny(family), way, monkeypatch)
    embeds, mask, ids = given(lm)
    expected = alone(lm, embeds, mask, ids)
    weight = torch.randn(3, 3, generator=torch.Generator().manual_seed(1))
    (slope,) = torch.autograd.grad((expected * weight).sum(), embeds)
    got = answers_log_likelihood(lm, embeds, mask, ids, LENGTHS)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    (own,) = torch.autograd.grad((got * weight).sum(), embeds)
    torch.testing.assert_close(own, slope, atol=2e-4, rtol=1e-3)


def test_a_prompt_runs_once_for_all_of_its_answers(monkeypatch):
    lm = tiny("llama")
    embeds, mask, ids = given(lm)
    seen = []
    plain = type(lm).forward

    def watched(self, given, *args, **kwargs):
        seen.append(given.shape[:2])
        return plain(self, given, *args, **kwargs)

    monkeypatch.setattr(type(lm), "forward", watched)
    answers_log_likelihood(lm, embeds, mask, ids, LENGTHS)
    assert seen == [(1, sum(PROMPTS) + int(np.maximum(LENGTHS - 1, 0).sum()))]


def test_no_answer_at_all_is_a_row_of_zeros():
    lm = tiny("llama")
    embeds, mask, ids = given(lm)
    assert not answers_log_likelihood(lm, embeds, mask, ids, np.zeros((3, 3), int)).any()


@pytest.mark.parametrize("block", [1, 3, 100])
@pytest.mark.parametrize("family", ["llama", "gemma2"])
def test_losses_of_tokens_in_blocks_equal_those_of_all_logits_at_once(family, block, monkeypatch):
    monkeypatch.setattr(token_loss, "BLOCK", block)
    lm = tiny(family)
    generator = torch.Generator().manual_seed(2)
    width = lm.forward(lm.embed(torch.tensor([[3]]))).states.shape[-1]
    states = torch.randn(7, width, generator=generator).requires_grad_(True)
    tokens, weight = torch.randint(3, 300, (7,), generator=generator), torch.randn(7, generator=generator)
    expected = lm.logits(states).log_softmax(-1).gather(1, tokens[:, None])[:, 0]
    (slope,) = torch.autograd.grad((expected * weight).sum(), states)
    got = token_log_likelihood(lm, states, tokens)
    torch.testing.assert_close(got, expected)
    (own,) = torch.autograd.grad((got * weight).sum(), states)
    torch.testing.assert_close(own, slope, atol=1e-6, rtol=1e-4)
    with torch.no_grad():
        torch.testing.assert_close(token_log_likelihood(lm, states, tokens), expected)


def test_an_output_matrix_that_learns_gets_its_gradient():
    lm = hold(build("llama"), tokenizer_of())
    matrix = lm.model.get_output_embeddings().weight.requires_grad_(True)
    states = torch.randn(4, lm.hidden_size, generator=torch.Generator().manual_seed(2)).requires_grad_(True)
    token_log_likelihood(lm, states, torch.tensor([3, 4, 5, 6])).sum().backward()
    assert matrix.grad.any()
    assert states.grad.any()


def test_a_stretch_sees_its_prompt_and_itself_alone():
    blocks = list(packed.Stretch(130, 200, (4, 10)).blocks)
    assert blocks == [(130, 194, ((4, 10), (130, 194))), (194, 200, ((4, 10), (130, 200)))]
