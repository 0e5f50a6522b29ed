"""Tiny random language models of the real families, with a tokenizer trained here: no download."""

from __future__ import annotations

from functools import cache

import torch
import transformers
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors, trainers
from tokenizers import models as token_models

from interlingua.lm.load import hold
from interlingua.lm.models import LanguageModel

TITLES = [
    "The Matrix (1999)",
    "Toy Story (1995)",
    "Toy Story 2 (1999)",
    "Heat",
    "Heat (1995)",
    "Amélie — Le fabuleux destin",
    "七人の侍",
    '"Great Performances" Cats',
    "Alien",
    "Alien",
    " ",
    "</s> ends",
]
CORPUS = [
    *TITLES,
    "This user has watched movies in the previous. Recommend one next movie for this user to watch next from the",
    "following movie title set. The recommendation is a user representation. The favourite genre of this user is drama",
]
FAMILIES = ("llama", "smollm2", "opt", "opt-projected", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "gpt2")


@cache
def tokenizer_of(bos: bool = False):
    inner = Tokenizer(token_models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<pad>", "<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(CORPUS, trainer)
    if bos:
        inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


def config_of(family: str, layers: int = 2):
    sizes = {"hidden_size": 32, "num_hidden_layers": layers, "num_attention_heads": 4, "vocab_size": 400}
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    gated = {"intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 512, **sizes, **ids}
    t = transformers
    makers = {
        "llama": lambda: t.LlamaConfig(**gated, tie_word_embeddings=False),
        "smollm2": lambda: t.LlamaConfig(**gated, tie_word_embeddings=True),
        "opt": lambda: t.OPTConfig(**sizes, **ids, ffn_dim=48, word_embed_proj_dim=32, max_position_embeddings=512),
        "opt-projected": lambda: t.OPTConfig(
            **sizes, **ids, ffn_dim=48, word_embed_proj_dim=16, max_position_embeddings=512
        ),
        "qwen2": lambda: t.Qwen2Config(**gated),
        "qwen3": lambda: t.Qwen3Config(**gated, head_dim=16),
        "gemma": lambda: t.GemmaConfig(**gated, head_dim=16),
        "gemma2": lambda: t.Gemma2Config(**gated, head_dim=16, sliding_window=512, query_pre_attn_scalar=16),
        "gemma3": lambda: t.Gemma3TextConfig(**gated, head_dim=16, sliding_window=512, query_pre_attn_scalar=16),
        "gpt2": lambda: t.GPT2Config(
            n_embd=32, n_layer=layers, n_head=4, vocab_size=400, n_positions=512, bos_token_id=1, eos_token_id=2
        ),
    }
    return makers[family]()


def build(family: str, layers: int = 2, **changes):
    torch.manual_seed(5)
    config = config_of(family, layers)
    for key, value in changes.items():
        setattr(config, key, value)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():  # larger weights than at the start of training: differences show
        for weight in model.parameters():
            weight.add_(torch.randn_like(weight) * 0.1)
    return model


@cache
def tiny(family: str = "llama", layers: int = 2, bos: bool = False) -> LanguageModel:
    return hold(build(family, layers), tokenizer_of(bos), name=f"tiny-{family}")
