from __future__ import annotations

import math

import pytest
import torch
import transformers
from torch.nn import functional

from interlingua.errors import ConfigError
from interlingua.injection.two_tower import pooled, read
from interlingua.lm.encoder import EncoderModel, hold_encoder
from interlingua.lm.load import hold
from interlingua.lm.prefix_attention import project, prompted, survey
from interlingua.testing.tiny_models import FAMILIES, build, tiny, tokenizer_of

ENCODERS = ("bert", "roberta")
ALL = (*FAMILIES, *ENCODERS)
IDS = torch.tensor([[5, 17, 300, 42, 8, 9], [7, 11, 13, 0, 0, 0]])
MASK = (torch.arange(6)[None] < torch.tensor([[6], [3]])).long()


def encoder(family: str, **changes) -> EncoderModel:
    torch.manual_seed(6)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 400}
    rest = {"intermediate_size": 48, "max_position_embeddings": 64, "pad_token_id": 0}
    config = {"bert": transformers.BertConfig, "roberta": transformers.RobertaConfig}[family](**sizes, **rest)
    for key, value in changes.items():
        setattr(config, key, value)
    model = transformers.AutoModel.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    return hold_encoder(model, tokenizer_of(), name=f"tiny-{family}")


def model_of(family: str, eager: bool = False):
    changes = {"_attn_implementation": "eager"} if eager else {}
    if family in ENCODERS:
        return encoder(family, **changes)
    return hold(build(family, **changes), tokenizer_of(), name=family) if eager else tiny(family)


def prompts_of(lm, count: int = 3, seed: int = 1):
    width = survey(lm, IDS, MASK).width
    generator = torch.Generator().manual_seed(seed)
    return {layer: torch.randn(2, count, width, generator=generator) for layer in range(lm.num_layers)}


def states(lm, pairs=None, visible=None, mask=MASK, ids=IDS):
    if pairs is None:
        return lm.forward(lm.embed(ids), mask).states
    with prompted(lm, pairs, visible):
        return lm.forward(lm.embed(ids), mask).states


def turned(vectors, positions, base: float):
    """Rotary positions written out: (heads, n, E) turned pair by pair, entry j with entry j + E/2."""
    half = vectors.shape[-1] // 2
    out = vectors.clone()
    for row, place in enumerate(positions):
        for j in range(half):
            angle = place / base ** (j / half)
            a, b = vectors[:, row, j], vectors[:, row, j + half]
            out[:, row, j] = a * math.cos(angle) - b * math.sin(angle)
            out[:, row, j + half] = b * math.cos(angle) + a * math.sin(angle)
    return out


class Slow:
    """RA-Rec's formula for one layer and one text, head by head: keys and values of [d; h] by the frozen matrices."""

    def __init__(self, lm, family: str, layer: int) -> None:
        self.lm, self.family, self.module = lm, family, lm.attentions[layer]
        kinds = getattr(lm.config, "layer_types", None)
        parameters = getattr(lm.config, "rope_parameters", None) or {}
        own = parameters.get(kinds[layer], parameters) if kinds else parameters
        self.base = own.get("rope_theta", 10000.0)

    def three(self, states):
        """(n, H) -> queries, keys, values, (heads, n, E) each."""
        m = self.module
        if self.family == "gpt2":
            q, k, v = (states @ m.c_attn.weight + m.c_attn.bias).split(states.shape[-1], dim=-1)
        elif self.family in ENCODERS:
            q, k, v = m.query(states), m.key(states), m.value(states)
        else:
            q, k, v = m.q_proj(states), m.k_proj(states), m.v_proj(states)
        size = getattr(m, "head_dim", None) or m.attention_head_size
        q, k, v = (x.reshape(len(states), -1, size).transpose(0, 1) for x in (q, k, v))
        if hasattr(m, "q_norm"):
            q, k = m.q_norm(q), m.k_norm(k)
        return q, k, v

    def __call__(self, text, prompt, causal: bool):
        """(T, H) and (P, H) -> (T, heads * E) before the output matrix."""
        count, length = len(prompt), len(text)
        queries, _, _ = self.three(text)
        _, keys, values = self.three(torch.cat([prompt, text]))
        if self.family not in ("opt", "opt-projected", "gpt2", *ENCODERS):
            queries = turned(queries, range(length), self.base)
            keys = turned(keys, range(-count, length), self.base)
        scale = getattr(self.module, "scaling", None) or queries.shape[-1] ** -0.5
        groups = len(queries) // len(keys)
        out = []
        for head in range(len(queries)):
            rows = []
            for at in range(length):
                seen = count + (at + 1 if causal else length)
                logits = keys[head // groups, :seen] @ queries[head, at] * scale
                cap = getattr(self.module, "attn_logit_softcapping", None)
                logits = torch.tanh(logits / cap) * cap if cap else logits
                rows.append(functional.softmax(logits, 0) @ values[head // groups, :seen])
            out.append(torch.stack(rows))
        return torch.cat(out, -1)


@pytest.mark.parametrize("family", ALL)
def test_the_prompted_pass_is_the_formula_written_out(family):
    """Every text alone, its own attention replaced by a slow one that reads prompt and text together."""
    lm = model_of(family)
    prompts = prompts_of(lm)
    with torch.no_grad():
        got = states(lm, project(lm, prompts))
        handles = []
        for row, length in enumerate((6, 3)):
            for layer, module in enumerate(lm.attentions):
                slow = Slow(lm, family, layer)
                last = next((getattr(module, n) for n in ("o_proj", "out_proj", "c_proj") if hasattr(module, n)), None)

                def instead(m, args, kwargs, output, slow=slow, layer=layer, last=last, row=row):
                    text = args[0] if args else kwargs["hidden_states"]
                    mixed = slow(text[0], prompts[layer][row], causal=not isinstance(lm, EncoderModel))[None]
                    return (mixed if last is None else last(mixed), *output[1:])

                handles.append(module.register_forward_hook(instead, with_kwargs=True))
            expected = lm.forward(lm.embed(IDS[row : row + 1, :length])).states[0]
            for handle in handles:
                handle.remove()
            assert torch.allclose(got[row, :length], expected, atol=2e-4), (got[row, :length] - expected).abs().max()
    assert not torch.allclose(got, states(lm), atol=1e-2)


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("family", ALL)
def test_a_hidden_prompt_leaves_the_plain_model(family, eager):
    lm = model_of(family, eager)
    pairs = project(lm, prompts_of(lm))
    hidden = torch.zeros(2, 3, dtype=torch.bool)
    real = MASK.bool()
    assert torch.allclose(states(lm, pairs, hidden)[real], states(lm)[real], atol=1e-5)
    whole = torch.ones(1, 6, dtype=torch.long)
    one = {layer: (k[:1], v[:1]) for layer, (k, v) in pairs.items()}
    for mask in (whole, None):  # without padding some families make no mask at all
        plain = states(lm, mask=mask, ids=IDS[:1])
        assert torch.allclose(states(lm, one, hidden[:1], mask, IDS[:1]), plain, atol=1e-5)
        seen = states(lm, one, None, mask, IDS[:1])
        assert torch.allclose(seen, states(lm, one, ~hidden[:1], whole, IDS[:1]), atol=1e-5)
        assert not torch.allclose(seen, plain, atol=1e-2)


@pytest.mark.parametrize("family", ALL)
def test_padding_on_either_side_gives_the_same_states(family):
    lm = model_of(family)
    pairs = project(lm, prompts_of(lm))
    right = states(lm, pairs)
    left_ids = torch.stack([IDS[0], IDS[1].roll(3)])
    left_mask = torch.stack([MASK[0], MASK[1].roll(3)])
    left = states(lm, pairs, mask=left_mask, ids=left_ids)
    assert torch.allclose(right[0], left[0], atol=1e-4)
    assert torch.allclose(right[1, :3], left[1, 3:], atol=1e-4)
    for how in ("last", "cls", "mean"):
        assert torch.allclose(pooled(right, MASK, how), pooled(left, left_mask, how), atol=1e-4)


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_layers_may_be_left_out_and_the_hooks_leave_no_trace(family):
    lm = model_of(family)
    pairs = project(lm, prompts_of(lm))
    before = states(lm)
    only_last = states(lm, {1: pairs[1]})
    assert not torch.allclose(only_last, before, atol=1e-2)
    assert not torch.allclose(only_last, states(lm, pairs), atol=1e-2)
    with pytest.raises(RuntimeError, match="within"), prompted(lm, pairs):
        raise RuntimeError("within")
    assert torch.equal(states(lm), before)


@pytest.mark.parametrize("family", ["qwen3", "opt", "bert"])
def test_gradients_reach_the_prompt_and_nothing_of_the_model(family):
    lm = model_of(family)
    weights = {name: weight.clone() for name, weight in lm.model.named_parameters()}
    prompts = {layer: vectors.requires_grad_(True) for layer, vectors in prompts_of(lm).items()}
    out = read(lm, IDS, MASK, "last", pairs=project(lm, prompts))
    out.square().sum().backward()
    assert all(bool(p.grad.any()) for p in prompts.values())
    assert all(w.grad is None and torch.equal(w, weights[n]) for n, w in lm.model.named_parameters())


def test_a_rotary_prompt_stands_before_the_text_or_nowhere():
    lm = tiny("llama")
    prompts = prompts_of(lm)
    before, nowhere = project(lm, prompts), project(lm, prompts, "none")
    raw = lm.attentions[0].k_proj(prompts[0]).reshape(2, 3, 2, 8).transpose(1, 2)
    assert torch.allclose(nowhere[0][0], raw, atol=1e-5)
    assert torch.allclose(before[0][0][0], turned(raw[0], range(-3, 0), 10000.0), atol=1e-4)
    assert torch.equal(before[0][1], nowhere[0][1])


def test_soft_tokens_stand_in_front_of_the_text_and_are_not_pooled():
    lm = tiny("llama")
    soft = lm.embed(torch.tensor([[21, 22], [23, 24]]))
    got = read(lm, IDS, MASK, "mean", soft=soft)
    for row, length in enumerate((6, 3)):
        ids = torch.cat([torch.tensor([[21, 22], [23, 24]])[row], IDS[row, :length]])[None]
        expected = lm.forward(lm.embed(ids)).states[0, 2:].mean(0)
        assert torch.allclose(got[row], expected, atol=1e-4)


def test_a_family_whose_attention_cannot_be_reached_is_refused_with_a_way_out():
    sizes = {"hidden_size": 32, "n_layer": 2, "n_head": 4, "vocab_size": 400, "pad_token_id": 0, "eos_token_id": 2}
    model = transformers.AutoModelForCausalLM.from_config(transformers.BloomConfig(**sizes))
    lm = hold(model, tokenizer_of(), name="tiny-bloom")
    assert lm.abilities.prompts == 0
    with pytest.raises(ConfigError, match="injection = 'input'"):
        project(lm, {})
