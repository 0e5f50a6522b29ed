"""Encoders of token sequences with types and item positions: the state of the first token stands for the sequence.

Shape key: B rows, S tokens, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from interlingua.backbones._attribute_tokens import START, Sequences, Words
from interlingua.errors import ConfigError, MissingExtraError
from interlingua.runtime.repeatable import undisturbed

TYPES = 4
MASKED, REPLACED = 0.8, 0.1
"""of the chosen tokens: so many become the mask, so many another token, the rest stays"""


class TokenEncoder(Protocol):
    """What reads sequences: (B, S) -> hidden states (B, S, D)."""

    @property
    def word_table(self) -> Tensor:
        """(V, D)"""
        ...

    def __call__(self, read: Sequences) -> Tensor: ...


class Reader(Protocol):
    """What makes token ids of texts."""

    pad: int
    start: int
    mask: int
    unknown: int

    def ids(self, text: str) -> list[int]:
        """Token ids of a text, without special ones."""
        ...


class SmallEncoder(nn.Module):
    """A transformer of full attention with weights from scratch; the vocabulary may be set later."""

    def __init__(self, dim: int, heads: int, blocks: int, dropout: float, most_tokens: int, most_items: int) -> None:
        super().__init__()
        if dim % heads:
            raise ConfigError(
                f"backbone.embedding_dim = {dim} is not divisible by num_heads = {heads}; change one of them"
            )
        self.dim = dim
        self.words = nn.Parameter(torch.zeros(0, dim))
        self.positions = nn.Parameter(torch.empty(most_tokens, dim).normal_(std=0.02))
        self.types = nn.Parameter(torch.empty(TYPES, dim).normal_(std=0.02))
        self.places = nn.Parameter(torch.empty(most_items + 1, dim).normal_(std=0.02))
        self.norm, self.dropout = nn.LayerNorm(dim), dropout
        layer = nn.TransformerEncoderLayer(dim, heads, 4 * dim, dropout, "gelu", batch_first=True)
        self.blocks = nn.TransformerEncoder(layer, blocks, enable_nested_tensor=False)

    def set_vocabulary(self, size: int) -> None:
        """Random vectors of ``size`` words."""
        dim = self.words.shape[1]
        self.words = nn.Parameter(torch.empty(size, dim).normal_(std=dim**-0.5))

    def reader(self, words: Sequence[str]) -> Reader:
        """The vocabulary."""
        return Words(words)

    @property
    def word_table(self) -> Tensor:
        """(V, D)"""
        return self.words

    def forward(self, read: Sequences) -> Tensor:
        """(B, S, D): word + token position + token type + item position, normalised, through the blocks."""
        x = functional.embedding(read.ids, self.words) + self.positions[: read.ids.shape[1]]
        x = x + functional.embedding(read.types, self.types)
        x = x + functional.embedding(read.places.clamp(max=len(self.places) - 1), self.places)
        x = functional.dropout(self.norm(x), self.dropout, self.training)
        states: Tensor = self.blocks(x, src_key_padding_mask=~read.mask)
        return states

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        """The vocabulary takes the stored size."""
        stored = state_dict.get(f"{prefix}words")
        if stored is not None and stored.shape != self.words.shape:
            self.words = nn.Parameter(self.words.new_empty(stored.shape))
        super()._load_from_state_dict(state_dict, prefix, *args)


class CheckpointEncoder(nn.Module):
    """A bidirectional transformer of a folder (Longformer, RoBERTa, BERT), with types and item positions before it."""

    def __init__(self, folder: Path, most_tokens: int, most_items: int) -> None:
        super().__init__()
        try:
            from transformers import AutoModel, AutoTokenizer
        except ImportError:
            raise MissingExtraError("transformers", "text", f"the encoder in {folder}") from None
        try:
            with undisturbed():
                self.model: Any = _without_pooler(AutoModel, folder)
            self.tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(f"{folder} cannot be read as an encoder: {error}") from None
        config, dim = self.model.config, int(self.model.config.hidden_size)
        longest = int(getattr(config, "max_position_embeddings", most_tokens))
        if most_tokens > longest - 2:
            raise ConfigError(
                f"backbone.max_tokens = {most_tokens}, and the encoder in {folder} reads {longest - 2}: lower it"
            )
        self.globally = config.model_type == "longformer"
        self.dim = dim
        own = self.tokenizer
        self.pad, self.unknown = _first(own.pad_token_id, 0), _first(own.unk_token_id, own.pad_token_id, 0)
        self.start = _first(own.cls_token_id, own.bos_token_id, self.unknown)
        self.mask = _first(own.mask_token_id, self.unknown)
        self.types = nn.Parameter(torch.empty(TYPES, dim).normal_(std=0.02))
        self.places = nn.Parameter(torch.empty(most_items + 1, dim).normal_(std=0.02))

    def set_vocabulary(self, size: int) -> None:
        """Nothing: it has its own."""

    def reader(self, words: Sequence[str]) -> Reader:
        """Its tokenizer."""
        return self

    def ids(self, text: str) -> list[int]:
        """Token ids of a text, without special ones."""
        found: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    @property
    def word_table(self) -> Tensor:
        """(V, D)"""
        table: Tensor = self.model.get_input_embeddings().weight
        return table

    def forward(self, read: Sequences) -> Tensor:
        """(B, S, D); a Longformer's first token reads and is read by all others."""
        x = functional.embedding(read.ids, self.word_table) + functional.embedding(read.types, self.types)
        x = x + functional.embedding(read.places.clamp(max=len(self.places) - 1), self.places)
        more = {"global_attention_mask": (read.types == START).long()} if self.globally else {}
        states: Tensor = self.model(inputs_embeds=x, attention_mask=read.mask.long(), **more).last_hidden_state
        return states


def _without_pooler(cls: Any, folder: Path) -> Any:
    """The model of a folder; a pooler, which nothing here reads, is left out where there can be one."""
    options = {"use_safetensors": True, "dtype": torch.float32}
    try:
        return cls.from_pretrained(str(folder), add_pooling_layer=False, **options)
    except TypeError:  # a family without that option
        return cls.from_pretrained(str(folder), **options)


def _first(*ids: int | None) -> int:
    return next(int(each) for each in ids if each is not None)


class MaskedWords(nn.Module):
    """Masked language modelling: a part of the tokens is hidden, and is guessed from the word table."""

    def __init__(self, dim: int, fraction: float = 0.15) -> None:
        super().__init__()
        self.fraction = fraction
        self.transform = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.LayerNorm(dim))

    def forward(self, encoder: TokenEncoder, read: Sequences, mask: int) -> Tensor:
        """Mean cross-entropy of the hidden tokens; 0 where none is hidden."""
        chance = torch.rand(read.ids.shape, device=read.ids.device)
        hidden = read.mask & (read.types != START) & (chance < self.fraction)
        table = encoder.word_table
        how = torch.rand(read.ids.shape, device=read.ids.device)
        other = torch.randint(len(table), read.ids.shape, device=read.ids.device)
        shown = torch.where(hidden & (how < MASKED), mask, read.ids)
        shown = torch.where(hidden & (how >= MASKED) & (how < MASKED + REPLACED), other, shown)
        states = encoder(Sequences(shown, read.types, read.places, read.mask))[hidden]
        if not len(states):
            return table.new_zeros(())
        return functional.cross_entropy(self.transform(states) @ table.T, read.ids[hidden])
