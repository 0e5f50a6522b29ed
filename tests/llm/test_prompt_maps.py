from __future__ import annotations

import pytest
import torch

from interlingua.injection.prompt_maps import PromptMaps

SCALES = torch.tensor([1.0, 2.0, 4.0])


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("full", 3 * (12 * 5 + 12)),
        ("shared", 12 * 5 + 12),
        ("low-rank", 3 * (2 * 5 + 12 * 2 + 12)),
        ("diagonal", 3 * (12 + 12)),
        ("none", 0),
    ],
)
def test_each_kind_has_the_parameters_of_its_formula(kind, count):
    maps = PromptMaps(5, SCALES, 12, 4, kind, 2)
    assert sum(p.numel() for p in maps.parameters()) == count + 3 * 4 * 12
    out = maps(torch.randn(7, 5))
    assert out.shape == (7, 3, 4 + (kind != "none"), 12)
    assert maps.length == out.shape[2]
    assert torch.equal(out[0, :, :4], out[6, :, :4])  # the context is everybody's


def test_a_prompt_is_context_then_the_mapped_vector():
    torch.manual_seed(0)
    vectors = torch.randn(2, 5)
    full = PromptMaps(5, SCALES, 12, 1)
    torch.nn.init.normal_(full.bias)
    for layer in range(3):
        expected = vectors @ full.weight[layer].T + full.bias[layer]
        assert torch.allclose(full(vectors)[:, layer, 1], expected, atol=1e-6)
        assert torch.equal(full(vectors)[1, layer, 0], full.context[layer, 0])
    shared = PromptMaps(5, SCALES, 12, 1, "shared")
    got = shared(vectors)
    assert torch.equal(got[:, 0, 1], got[:, 2, 1])
    assert not torch.equal(got[:, 0, 0], got[:, 2, 0])
    diagonal = PromptMaps(5, SCALES, 12, 0, "diagonal")
    assert float(diagonal(vectors)[0, 2, 0, 7]) == pytest.approx(float(vectors[0, 2] * diagonal.weight[2, 7]))
    low = PromptMaps(5, SCALES, 12, 0, "low-rank", 2)
    assert torch.allclose(low(vectors)[0, 1, 0], low.up[1] @ low.down[1] @ vectors[0], atol=1e-6)


@pytest.mark.parametrize("kind", ["full", "low-rank", "diagonal"])
def test_prompts_start_at_the_size_of_what_their_layer_reads(kind):
    torch.manual_seed(0)
    out = PromptMaps(64, SCALES, 256, 8, kind, 8)(torch.randn(200, 64))
    for layer, size in enumerate(SCALES):
        for part in (out[:, layer, :8], out[:, layer, 8:]):
            assert float(part.detach().square().mean().sqrt()) == pytest.approx(float(size), rel=0.15)


def test_no_vector_is_the_bias():
    maps = PromptMaps(5, SCALES, 12, 0)
    torch.nn.init.normal_(maps.bias)
    assert torch.equal(maps(torch.zeros(1, 5))[0, :, 0], maps.bias)
