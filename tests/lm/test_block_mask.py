"""Tokens of one item see each other in the first layers: the model's own pass under a whole mask, and gradients."""

from dataclasses import replace

import pytest
import torch

pytest.importorskip("transformers")

from interlingua.errors import ConfigError
from interlingua.lm.abilities import Abilities
from interlingua.lm.block_mask import check_blocks, same_thing, seeing_things, things_of
from interlingua.lm.variants import truncated
from interlingua.testing.tiny_models import FAMILIES, tiny

THINGS = torch.tensor([[-1, 0, 0, 0, -1, 1, 1, -1], [0, 0, -1, -1, -1, -1, -1, -1]])
"""the second row has three tokens, the rest of it is padding"""


def embeds_of(lm):
    ids = torch.randint(3, 300, THINGS.shape, generator=torch.Generator().manual_seed(1))
    return lm.embed(ids).clone()


def test_the_thing_of_each_token():
    starts = torch.tensor([[1, -1, 5], [-1, 0, -1]])
    stops = torch.tensor([[4, -1, 7], [-1, 2, -1]])
    found = things_of(starts, stops, 8)
    assert found.tolist() == [[-1, 0, 0, 0, -1, 2, 2, -1], [1, 1, -1, -1, -1, -1, -1, -1]]
    assert things_of(starts[:, :0], stops[:, :0], 2).tolist() == [[-1, -1], [-1, -1]]
    assert same_thing(torch.tensor([[0, 0, -1, -1]]))[0].tolist() == [
        [True, True, False, False], [True, True, False, False], [False] * 4, [False] * 4,
    ]  # fmt: skip


@pytest.mark.parametrize("family", ["llama", "opt", "gpt2", "gemma2"])
def test_in_all_layers_it_is_the_model_s_own_pass_under_that_mask(family):
    lm = tiny(family)
    embeds = embeds_of(lm)
    width = embeds.shape[1]
    allowed = same_thing(THINGS) | torch.ones(width, width, dtype=torch.bool).tril()
    positions = torch.arange(width).expand(len(embeds), -1)
    with torch.no_grad():
        expected = lm.forward(embeds, allowed[:, None], positions=positions).states
        with seeing_things(lm, lm.num_layers, THINGS):
            found = lm.forward(embeds).states
        plain = lm.forward(embeds).states
        with seeing_things(lm, 0, THINGS):
            assert torch.equal(lm.forward(embeds).states, plain)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(found, plain, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_who_reads_whom_with_one_layer_of_two(family):
    """By gradients: what the state of a token depends on. The second layer is causal."""
    lm = tiny(family)
    embeds = embeds_of(lm).requires_grad_(True)
    with seeing_things(lm, 1, THINGS):
        states = lm.forward(embeds).states
    for token, read in ((0, 0), (1, 3), (3, 3), (4, 4), (5, 6), (7, 7)):  # the last token that each depends on
        (slope,) = torch.autograd.grad(states[0, token].square().sum(), embeds, retain_graph=True)
        reached = slope[0].abs().amax(-1) > 0
        assert reached.tolist() == [place <= read for place in range(8)], (family, token)
        assert not slope[1].any()


def test_only_the_first_layers_differ():
    lm = tiny("llama", 2)
    embeds = embeds_of(lm)
    with torch.no_grad(), seeing_things(lm, 1, THINGS):
        both = lm.forward(embeds, layers=True).layers
    one = truncated(lm, 1)
    with torch.no_grad():
        with seeing_things(one, 1, THINGS):
            first = one.forward(embeds, layers=True)
        plain = lm.forward(embeds, layers=True).layers
    assert torch.equal(both[0], plain[0])
    torch.testing.assert_close(lm.decoder.norm(both[1]), first.states)
    assert not torch.allclose(both[1], plain[1], atol=1e-4)


def test_a_model_without_it_is_refused():
    lm = tiny("llama")
    check_blocks(lm, "ranker.block_share")
    with pytest.raises(ConfigError, match="block_share = 0"):
        check_blocks(replace(lm, abilities=Abilities(prompts=0)), "ranker.block_share")
