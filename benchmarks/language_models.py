"""Measures what Interlingua can do with the families of language models that transformers has.

Each family is built tiny and random (no download), with weights large enough that a wrong mask shows, and loaded as any
model is: the probe says what is exact. Then twelve prompts of different lengths, longer than any attention window, are
ranked by the likelihood of candidates, and the order is compared with one plain forward pass per candidate.

    python benchmarks/language_models.py --out benchmarks/quality/results/language-models.json

About two minutes on two cores; nothing is downloaded.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import torch
import transformers
from header import header

from interlingua.errors import ConfigError
from interlingua.lm.abilities import ANY
from interlingua.lm.likelihood import title_log_likelihood
from interlingua.lm.load import hold
from interlingua.lm.models import LanguageModel

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 400}
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
GATED = {"intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 512, **SIZES, **IDS}
HEADS = {"head_dim": 16}
MOE = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
OLD = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 400, "n_positions": 512, **IDS}
LAYERS = {"layer_types": ["sliding_attention", "full_attention"]}
FAMILIES: dict[str, tuple[str, dict]] = {
    "Apertus": ("Apertus", GATED),
    "Arcee": ("Arcee", GATED),
    "BioGPT": ("BioGpt", {**SIZES, **IDS, "intermediate_size": 48}),
    "BLOOM": ("Bloom", {"hidden_size": 32, "n_layer": 2, "n_head": 4, "vocab_size": 400, **IDS}),
    "CodeGen": ("CodeGen", {**OLD, "rotary_dim": 4}),
    "Cohere": ("Cohere", GATED),
    "Cohere 2": ("Cohere2", {**GATED, "sliding_window": 12, **LAYERS}),
    "CTRL": ("CTRL", {**OLD, "dff": 48}),
    "DeepSeek V3": (
        "DeepseekV3",
        {**GATED, **MOE, "num_key_value_heads": 4, "n_routed_experts": 4, "n_group": 1, "topk_group": 1,
         "kv_lora_rank": 8, "q_lora_rank": 8, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8},
    ),
    "DiffLlama": ("DiffLlama", GATED),
    "ERNIE 4.5": ("Ernie4_5", GATED),
    "EXAONE 4": ("Exaone4", {**GATED, "sliding_window": 12, "sliding_window_pattern": 2}),
    "Falcon (rotary)": ("Falcon", {**SIZES, **IDS, "alibi": False, "max_position_embeddings": 512}),
    "Falcon (alibi)": ("Falcon", {**SIZES, **IDS, "alibi": True}),
    "Falcon H1": (
        "FalconH1",
        {**GATED, "mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1},
    ),
    "Gemma": ("Gemma", {**GATED, **HEADS}),
    "Gemma 2": ("Gemma2", {**GATED, **HEADS, "sliding_window": 12, "query_pre_attn_scalar": 16}),
    "Gemma 3": ("Gemma3Text", {**GATED, **HEADS, "sliding_window": 12, "query_pre_attn_scalar": 16, **LAYERS}),
    "Gemma 3n": (
        "Gemma3nText",
        {**GATED, **HEADS, "sliding_window": 12, "hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": 400,
         "num_kv_shared_layers": 0, "activation_sparsity_pattern": [0.0, 0.0], **LAYERS},
    ),
    "GLM": ("Glm", {**GATED, **HEADS}),
    "GLM 4": ("Glm4", {**GATED, **HEADS}),
    "GPT": ("OpenAIGPT", OLD),
    "GPT-2": ("GPT2", OLD),
    "GPT-BigCode": ("GPTBigCode", OLD),
    "GPT-J": ("GPTJ", {**OLD, "rotary_dim": 4}),
    "GPT-Neo": (
        "GPTNeo",
        {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "vocab_size": 400, "max_position_embeddings": 512,
         "attention_types": [[["global", "local"], 1]], "window_size": 12, **IDS},
    ),
    "GPT-NeoX (Pythia)": ("GPTNeoX", {**SIZES, **IDS, "intermediate_size": 48, "max_position_embeddings": 512}),
    "gpt-oss": ("GptOss", {**GATED, **HEADS, **MOE, "sliding_window": 12, **LAYERS}),
    "Granite": ("Granite", {**GATED, "logits_scaling": 2.0, "embedding_multiplier": 3.0}),
    "Granite MoE": ("GraniteMoe", {**GATED, **MOE, "logits_scaling": 2.0}),
    "Helium": ("Helium", {**GATED, "head_dim": 8}),
    "HunYuan dense": ("HunYuanDenseV1", {**GATED, "head_dim": 8}),
    "Jamba": (
        "Jamba",
        {**GATED, **MOE, "attn_layer_period": 2, "attn_layer_offset": 1, "expert_layer_period": 2,
         "expert_layer_offset": 1, "mamba_d_state": 8, "mamba_dt_rank": 4, "use_mamba_kernels": False},
    ),
    "LFM2": ("Lfm2", {**GATED, "layer_types": ["conv", "full_attention"], "block_ff_dim": 48}),
    "Llama": ("Llama", GATED),
    "Llama 4": (
        "Llama4Text",
        {**GATED, **HEADS, **MOE, "intermediate_size_mlp": 48, "attention_chunk_size": 12,
         "interleave_moe_layer_step": 2, "layer_types": ["chunked_attention", "full_attention"],
         "no_rope_layers": [1, 0]},
    ),
    "Mamba": ("Mamba", {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 400, "state_size": 8, **IDS}),
    "Mamba 2": (
        "Mamba2",
        {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 400, "state_size": 8, "num_heads": 8, "head_dim": 8,
         "n_groups": 1, "chunk_size": 16, **IDS},
    ),
    "Mistral": ("Mistral", {**GATED, "sliding_window": 12}),
    "Mixtral": ("Mixtral", {**GATED, **MOE, "sliding_window": None}),
    "MPT": ("Mpt", {"d_model": 32, "n_layers": 2, "n_heads": 4, "vocab_size": 400, "max_seq_len": 512, **IDS}),
    "Nemotron": ("Nemotron", GATED),
    "OLMo": ("Olmo", GATED),
    "OLMo 2": ("Olmo2", GATED),
    "OLMo 3": ("Olmo3", {**GATED, "sliding_window": 12, **LAYERS}),
    "OLMoE": ("Olmoe", {**GATED, **MOE}),
    "OPT": ("OPT", {**SIZES, **IDS, "ffn_dim": 48, "word_embed_proj_dim": 32, "max_position_embeddings": 512}),
    "OPT (projected)": (
        "OPT", {**SIZES, **IDS, "ffn_dim": 48, "word_embed_proj_dim": 16, "max_position_embeddings": 512},
    ),
    "Persimmon": ("Persimmon", GATED),
    "Phi": ("Phi", GATED),
    "Phi 3": ("Phi3", {**GATED, "sliding_window": 12}),
    "Qwen 2": ("Qwen2", GATED),
    "Qwen 2 (window)": ("Qwen2", {**GATED, "use_sliding_window": True, "sliding_window": 12, "max_window_layers": 1}),
    "Qwen 2 MoE": ("Qwen2Moe", {**GATED, **MOE, "shared_expert_intermediate_size": 16}),
    "Qwen 3": ("Qwen3", {**GATED, **HEADS}),
    "Qwen 3 MoE": ("Qwen3Moe", {**GATED, **HEADS, **MOE}),
    "Qwen 3 Next": (
        "Qwen3Next",
        {**GATED, **HEADS, **MOE, "layer_types": ["linear_attention", "full_attention"], "linear_num_value_heads": 4,
         "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8,
         "shared_expert_intermediate_size": 16},
    ),
    "RecurrentGemma": (
        "RecurrentGemma",
        {**GATED, "lru_width": 32, "attention_window_size": 12, "block_types": ["recurrent", "attention"]},
    ),
    "RWKV": (
        "Rwkv",
        {"hidden_size": 32, "attention_hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 400,
         "context_length": 512, **IDS},
    ),
    "Seed-OSS": ("SeedOss", {**GATED, "head_dim": 8}),
    "SmolLM 3": ("SmolLM3", GATED),
    "StableLM": ("StableLm", GATED),
    "StarCoder 2": ("Starcoder2", {**GATED, "sliding_window": 12}),
    "XGLM": (
        "XGLM",
        {"d_model": 32, "ffn_dim": 48, "num_layers": 2, "attention_heads": 4, "vocab_size": 400,
         "max_position_embeddings": 512, **IDS},
    ),
}  # fmt: skip
"""name -> class in transformers, options of a tiny model; windows are 12 tokens"""
PROMPTS, LONGEST, CANDIDATES, ANSWER = 12, 60, 6, 4


class Tokenizer:
    """Ids are all that is needed here."""

    padding_side = "left"
    eos_token_id, pad_token_id = 2, 0

    def __call__(self, text: str, **_: object) -> dict[str, list[int]]:
        return {"input_ids": [3 + ord(letter) % 300 for letter in text]}


def build(family: str, **changes: object) -> torch.nn.Module:
    """A tiny random model; its weights are made larger, so that differences show."""
    name, options = FAMILIES[family]
    torch.manual_seed(5)
    config = getattr(transformers, f"{name}Config")(**{**options, **changes})
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    return model.eval()


def questions(lm: LanguageModel) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """(N, T) ids, (N, T) mask with padding on the left, (N, C, K) answers."""
    generator = np.random.default_rng(3)
    lengths = np.linspace(LONGEST // 3, LONGEST, PROMPTS).astype(int)
    ids = torch.as_tensor(generator.integers(3, 390, (PROMPTS, LONGEST)))
    mask = torch.as_tensor(np.arange(LONGEST)[None] >= LONGEST - lengths[:, None]).long()
    answers = generator.integers(3, 390, (PROMPTS, CANDIDATES, ANSWER))
    answers[:, 1, :2] = answers[:, 0, :2]
    return ids * mask, mask, answers


@torch.no_grad()
def by_hand(lm: LanguageModel, ids: torch.Tensor, mask: torch.Tensor, answers: np.ndarray) -> torch.Tensor:
    """(N, C) log-likelihoods by the model's own call on ids, one row at a time."""
    out = torch.zeros(answers.shape[:2])
    for row, options in enumerate(answers):
        prompt = ids[row][mask[row].bool()]
        for column, answer in enumerate(torch.as_tensor(options)):
            whole = torch.cat([prompt, answer])[None]
            logits = lm.model(input_ids=whole, use_cache=False).logits[0].float().log_softmax(-1)
            out[row, column] = logits[len(prompt) - 1 : -1].gather(1, answer[:, None]).sum()
    return out


def row(family: str) -> dict[str, object]:
    """What the table says of one family."""
    try:
        model = build(family)
    except (AttributeError, ImportError) as error:
        return {"family": family, "read": f"not in this version ({error})"}
    found: dict[str, object] = {"family": family, "class": type(model).__name__}
    try:
        lm = hold(model, Tokenizer(), name=family)
    except ConfigError as error:
        return {**found, "read": "refused", "why": str(error)}
    ids, mask, answers = questions(lm)
    expected = by_hand(lm, ids, mask, answers)
    begun = time.perf_counter()
    got = title_log_likelihood(lm, lm.embed(ids), mask, answers, np.full(answers.shape[:2], ANSWER))
    same = int((got.argsort(1) == expected.argsort(1)).all(1).sum())
    able = lm.abilities.to_dict()
    reasons = able.pop("reasons")
    said = {name: "yes" if limit == ANY else "no" if not limit else f"{limit} tokens" for name, limit in able.items()}
    off = float((got - expected).abs().max())
    return {
        **found, "read": "exact" if off < 1e-2 else "WRONG", **said, "orders": f"{same} of {PROMPTS}", "error": off,
        "ms": round(1000 * (time.perf_counter() - begun), 1), "why": reasons,
    }  # fmt: skip


def main() -> None:
    warnings.simplefilter("ignore")
    transformers.utils.logging.set_verbosity_error()
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path)
    options.add_argument("--only", nargs="*", choices=sorted(FAMILIES), help="these families alone")
    chosen = options.parse_args()
    rows = []
    for family in chosen.only or FAMILIES:
        rows.append(row(family))
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    if chosen.out:
        out = {
            **header(__file__), "transformers": transformers.__version__,
            "families": len(rows), "exact": sum(each["read"] == "exact" for each in rows), "rows": rows,
        }  # fmt: skip
        chosen.out.write_text(json.dumps(out, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
