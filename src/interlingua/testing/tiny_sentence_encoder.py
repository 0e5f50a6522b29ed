"""A tiny sentence encoder with a tokenizer trained on the spot: random weights, no download."""

from __future__ import annotations

from pathlib import Path

import torch

WORDS = ["river", "mountain", "robot", "love", "space", "war", "comedy", "drama", "title", "categories", "movie", "no"]


def tiny_encoder(folder: Path, dim: int = 16, layers: int = 2, max_tokens: int = 24, seed: int = 0) -> Path:
    """Writes a BERT of random weights as a plain transformers folder (sentence-transformers pools it by the mean)."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, *"abcdefghijklmnopqrstuvwxyz", *"0123456789"]
    vocabulary += [f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz0123456789"]
    ids = {word: row for row, word in enumerate(dict.fromkeys(vocabulary))}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        model_max_length=max_tokens,
    ).save_pretrained(folder)  # fmt: skip
    config = BertConfig(
        vocab_size=len(ids), hidden_size=dim, num_hidden_layers=layers, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64, initializer_range=0.5,
    )  # fmt: skip
    torch.manual_seed(seed)
    BertModel(config).save_pretrained(folder)
    return folder
