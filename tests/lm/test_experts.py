"""Mixtures of LoRA experts against matrices that are added up one by one, and what a pass does not use."""

import copy

import pytest
import torch

pytest.importorskip("transformers")
pytest.importorskip("peft")

from interlingua.errors import ConfigError
from interlingua.lm.expert_search import drawn_in_training, to_try, values_up_to, widest
from interlingua.lm.experts import MixtureOptions, Shape, mixing, with_experts
from interlingua.testing.tiny_models import FAMILIES, tiny

OPTIONS = MixtureOptions(experts=4, rank=4, alpha=6, modules=["q_proj", "v_proj"])
SHAPE = Shape((2, 4), (4, 1))


def learned(lm, options=OPTIONS, seed=3):
    torch.manual_seed(seed)
    made = with_experts(lm, options)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return made


def embeds_of(lm, *sizes):
    generator = torch.Generator().manual_seed(1)
    return [lm.embed(torch.randint(3, 300, (1, size), generator=generator)) for size in sizes]


def by_hand(lm, made, embeds, shape, options=OPTIONS):
    """States of one row, each layer's matrices written over by W + alpha / R * sum of g_k B_k A_k."""
    model = copy.deepcopy(lm.model)
    held = type(lm)(model, lm.tokenizer, lm.name, lm.revision)
    learned_now = dict(made.named_parameters())
    for layer, (count, rank) in enumerate(zip(shape.experts, shape.ranks, strict=True)):
        with torch.no_grad():
            read = held.forward(embeds, layers=True).layers[layer][0]
            gate = learned_now[f"model/layers/{layer}/lora_gate/weight"]
            weights = torch.softmax(torch.stack([gate[k] @ read.mean(0) for k in range(count)]), 0)
            for name in options.modules:
                place = f"model/layers/{layer}/self_attn/{name}"
                down, up = learned_now[f"{place}/lora_A"], learned_now[f"{place}/lora_B"]
                base = model.get_submodule(place.replace("/", "."))
                for k in range(count):
                    for row in range(rank):
                        at = k * options.rank + row
                        base.weight += weights[k] * options.alpha / options.rank * torch.outer(up[:, at], down[at])
    with torch.no_grad():
        return held.forward(embeds).states[0]


def test_states_are_those_of_matrices_added_up_one_by_one():
    lm = tiny("llama")
    made = learned(lm)
    rows = embeds_of(lm, 7, 4)
    padded = torch.cat([rows[0], torch.cat([rows[1], torch.full((1, 3, rows[1].shape[2]), 5.0)], 1)])
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3])
    with torch.no_grad(), mixing(mask, SHAPE):
        found = made.lm.forward(padded).states
    for row, embeds in enumerate(rows):
        expected = by_hand(lm, made, embeds, SHAPE)
        torch.testing.assert_close(found[row, : embeds.shape[1]], expected, rtol=1e-4, atol=1e-4)
        with torch.no_grad():
            assert not torch.allclose(expected, lm.forward(embeds).states[0], atol=1e-2)
            assert not torch.allclose(expected, by_hand(lm, made, embeds, Shape((4, 4), (4, 1))), atol=1e-3)


def test_without_what_was_learned_or_outside_it_is_the_model_it_was():
    lm = tiny("llama")
    (embeds,) = embeds_of(lm, 6)
    mask = torch.ones(1, 6)
    with torch.no_grad():
        plain = lm.forward(embeds).states
        assert torch.equal(learned(lm).lm.forward(embeds).states, plain)
        with mixing(mask, SHAPE):
            assert torch.equal(lm.forward(embeds).states, plain), "the given model is left as it was"
            torch.testing.assert_close(with_experts(lm, OPTIONS).lm.forward(embeds).states, plain)


def test_what_a_shape_does_not_use_gets_no_gradient():
    lm = tiny("llama")
    made = learned(lm)
    (embeds,) = embeds_of(lm, 6)
    with mixing(torch.ones(1, 6), SHAPE):
        made.lm.forward(embeds).states.square().sum().backward()
    slopes = {name: p.grad for name, p in made.named_parameters()}
    for layer, (count, rank) in enumerate(zip(SHAPE.experts, SHAPE.ranks, strict=True)):
        used = torch.tensor([k < count and row < rank for k in range(4) for row in range(4)])
        for name in OPTIONS.modules:
            place = f"model/layers/{layer}/self_attn/{name}"
            assert torch.equal(slopes[f"{place}/lora_A"].any(1), used)
            assert torch.equal(slopes[f"{place}/lora_B"].any(0), used)
        assert torch.equal(slopes[f"model/layers/{layer}/lora_gate/weight"].any(1), torch.arange(4) < count)
    assert all(p.grad is None for p in lm.model.parameters())


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_matrices_for_them(family):
    lm = tiny(family)
    made = learned(lm, MixtureOptions(experts=2, rank=2))
    (embeds,) = embeds_of(lm, 5)
    with torch.no_grad(), mixing(torch.ones(1, 5), widest(MixtureOptions(experts=2, rank=2), 2)):
        assert not torch.allclose(made.lm.forward(embeds).states, lm.forward(embeds).states, atol=1e-3)
    made.check_it_changes_something("here")


def test_matrices_that_are_not_there_are_refused_and_all_may_be_meant():
    lm = tiny("llama")
    with pytest.raises(ConfigError, match=r"no such matrix; it has down_proj, .*v_proj"):
        with_experts(lm, MixtureOptions(modules=["wrong"]))
    every = {name.split("/")[-2] for name, _ in with_experts(lm, MixtureOptions(modules="all")).named_parameters()}
    assert every == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lora_gate"}


def test_dropout_is_there_while_training_alone():
    lm = tiny("llama")
    made = learned(lm, OPTIONS.model_copy(update={"dropout": 0.5}))
    (embeds,) = embeds_of(lm, 6)

    def states():
        with torch.no_grad(), mixing(torch.ones(1, 6), SHAPE):
            return made.lm.forward(embeds).states

    assert torch.equal(states(), states())
    made.train(True)
    assert not torch.equal(states(), states())


def test_shapes_that_a_search_tries():
    assert [values_up_to(n) for n in (8, 4, 3, 2, 1)] == [(2, 4, 8), (1, 2, 4), (1, 3), (1, 2), (1,)]
    options = MixtureOptions(experts=4, rank=8)
    tried = to_try(options, 50, 3, seed=1)
    assert tried[0] == widest(options, 50) == Shape((4,) * 50, (8,) * 50)
    assert len(set(tried)) == 4
    assert all((set(s.experts), set(s.ranks)) == ({1, 2, 4}, {2, 4, 8}) for s in tried[1:])
    assert to_try(options, 50, 3, seed=1) == tried != to_try(options, 50, 3, seed=2)
    torch.manual_seed(1)
    first = drawn_in_training(options, 50)
    assert first != drawn_in_training(options, 50)
    torch.manual_seed(1)
    assert first == drawn_in_training(options, 50)
