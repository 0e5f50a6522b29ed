"""RECFORMER: an item is a sentence of its attributes, a history a text of items, and both go through one encoder.

Li et al., "Text Is All You Need: Learning Language Representations for Sequential Recommendation", KDD 2023, arXiv
2305.13731, and the authors' code. Tokens: for title, brand and category the key's words, then the value's; the newest
item first, behind ``<s>``. Embedding: word + token position + token type + item position. A vector is the state of
``<s>``; ``score = cos(h_history, h_item) / 0.05``, an item being a history of one. No ID anywhere: an item without an
event is like all others.

Pre-training (the first ``fit.pretrain_epochs`` epochs): a history against the item that follows, among the batch's,
plus 0.1 times masked words of both. Fine-tuning, a softmax over all items: in the first stage their vectors are made
anew at the start of every epoch and are constant in it; the second (the last ``fit.second_stage_epochs``) begins from
the best state of the first, whose vectors stay.

Shape key: B rows, L events, S tokens, W tokens of an item, I items, D width.

**Nothing is pre-trained here:** the authors' checkpoint (seven Amazon categories) is not in any registry. By default
the encoder starts from random weights, over the words of the catalogue: "RECFORMER without pre-training", not the
paper's method. ``checkpoint`` starts from a Longformer, RoBERTa or BERT (the tokens' types and item positions are new).

**Deviations:**
- A small encoder of full attention over ``max_tokens`` tokens, where the authors' Longformer has windows of 64; with a
  Longformer's folder the windows are its own, and ``<s>`` has global attention as theirs.
- Whole words of the catalogue are the vocabulary, so that masking whole words is masking tokens; of a checkpoint's
  pieces each is masked by itself, and its word vectors learn (the authors freeze them in pre-training).
- The first stage has a fixed number of epochs; the authors' patience (5 validations) ends it too.
- In pre-training a row with the same next item is no negative. In evaluation histories are masked, theirs are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Self

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from interlingua.backbones._attribute_tokens import (
    BEHIND,
    NONE,
    VALUE,
    ItemTokens,
    Sequences,
    Words,
    attributes_of,
    columns_of,
    item_tokens,
    joined,
    read_back,
    sequences,
    written,
)
from interlingua.backbones._heads import WithHeads
from interlingua.backbones._shifted import by_length
from interlingua.backbones._token_encoder import CheckpointEncoder, MaskedWords, Reader, SmallEncoder
from interlingua.backbones._two_stages import TwoStageFit
from interlingua.config import FitConfig
from interlingua.contracts.added import AddedItems
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch, Embeddings, Encoded, FloatArray
from interlingua.contracts.scorer import BoolArray
from interlingua.contracts.text import Text
from interlingua.data.catalogue import Catalogue
from interlingua.data.interactions import Interactions
from interlingua.data.queries import IntArray, Queries
from interlingua.errors import ConfigError
from interlingua.lm.encoder_here import missing
from interlingua.lm.sentence_model import identity, locate
from interlingua.nn import losses
from interlingua.nn.in_batch import contrast
from interlingua.runtime.missing import Missing
from interlingua.training.batches import last_position_batches
from interlingua.training.random_targets import drawn_targets

USUAL = ("title", "brand", "categories")  # the paper's
CALL_TOKENS = 8_192
"""tokens, padding included, that are encoded at once without gradients"""
QUERY_ROWS = 64
"""histories of similar length that are padded together"""


class RecformerFit(TwoStageFit):
    """Training of :class:`Recformer`."""

    decoupled: ClassVar[bool] = True

    learning_rate: float = Field(default=1e-3, gt=0)
    """AdamW's step size (the authors, from their checkpoint: 5e-5)"""
    batch_size: int = Field(default=16, ge=1)
    """histories (the authors: 16, eight batches a step)"""
    epochs: int = Field(default=60, ge=0)
    """of pre-training and both stages together (the authors: 128 each at most)"""
    warmup_steps: int = Field(default=100, ge=0)
    """the authors: 100"""
    schedule: str = "linear"
    """the authors: linear, over both stages"""
    clip_norm: float | None = Field(default=1.0, gt=0)
    """the authors: 1.0"""
    patience: int | None = Field(default=3, ge=1)
    """validations of the second stage without a better metric (the authors: 3)"""
    patience_steps: int = Field(default=0, ge=0)
    """nor stop before so many steps without a better metric"""


class RecformerConfig(WithHeads):
    """Options of :class:`Recformer`."""

    only_with: ClassVar = dict.fromkeys(
        ("embedding_dim", "num_blocks", "num_heads", "dropout", "max_words"), ("checkpoint", (None,))
    )
    named_models: ClassVar = {"checkpoint": identity}

    fields: list[str] | None = None
    """columns of the catalogue, in the order in which they are read; None: title, brand and categories (paper), as far
    as there are such"""
    attribute_tokens: int = Field(default=32, ge=2)
    """of a key and its value together (paper: 32)"""
    max_history: int = Field(default=50, ge=1)
    """L (paper: 50)"""
    max_tokens: int = Field(default=256, ge=8)
    """S (paper: 1,024; 512 and 256 do as well)"""
    temperature: float = Field(default=0.05, gt=0)
    """of cosines (paper: 0.05)"""
    targets: int = Field(default=1, ge=1)
    """random positions of each user that are learned in an epoch (paper: 1)"""
    mlm_weight: float = Field(default=0.1, ge=0)
    """of the masked words in the pre-training (paper: 0.1)"""
    embedding_dim: int = Field(default=64, ge=1)
    """D of the small encoder"""
    num_blocks: int = Field(default=2, ge=1)
    """its transformer layers"""
    num_heads: int = Field(default=2, ge=1)
    """its attention heads"""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """in it (paper: 0.1)"""
    max_words: int = Field(default=20_000, ge=1)
    """its vocabulary: the most frequent words of the catalogue"""
    checkpoint: str | None = None
    """model to start from in place of the small encoder: a folder, or a hub name (allenai/longformer-base-4096)"""
    revision: str | None = None
    """commit or tag of it on the hub"""
    fit: RecformerFit = RecformerFit()
    """training"""

    def lacks(self) -> list[Missing]:
        """The checkpoint and its package."""
        return super().lacks() + (missing(self.checkpoint, self.revision) if self.checkpoint else [])


class Recformer(Backbone):
    """Texts of items through one encoder."""

    Config = RecformerConfig
    version = 3
    sampling = "sequences"
    draws_negatives = False
    learns_first_events = True

    tokens: Tensor
    types: Tensor
    written: Tensor
    matrix: Tensor

    def __init__(self, config: RecformerConfig, train: Interactions) -> None:
        super().__init__(config, train)
        self.encoder = _encoder(config)
        dim = self.encoder.dim
        self.masked = MaskedWords(dim) if config.fit.pretrain_epochs and config.mlm_weight else None
        self.register_buffer("tokens", torch.zeros(train.num_items, 0, dtype=torch.int64))
        self.register_buffer("types", torch.zeros(train.num_items, 0, dtype=torch.int64))
        self.register_buffer("written", torch.zeros(0, dtype=torch.uint8))
        self.register_buffer("matrix", torch.zeros(train.num_items, dim))
        self.pretraining = False
        self._begun: int | None = None  # number of the epoch whose item vectors these are
        self._known: tuple[list[str], Reader] | None = None

    @classmethod
    def makes(cls, config: Any) -> frozenset[str]:
        """No inputs that an aligner may change: it has texts already."""
        return super().makes(config) - {"inputs"}

    @classmethod
    def width(cls, config: Any) -> int | None:
        """D of the small encoder; a checkpoint's is known when it is read."""
        return config.embedding_dim if config.checkpoint is None else None

    def learned_items(self, train: Interactions) -> Tensor:
        """(I,) all with an attribute."""
        return (self.tokens != NONE).any(dim=1)

    def read_catalogue(self, catalogue: Catalogue) -> None:
        """Takes in the items' attributes, and makes the vocabulary."""
        columns = columns_of(catalogue, self.config.fields, USUAL)
        items = attributes_of(catalogue, columns)
        words = Words.of(items, self.config.max_words) if self.config.checkpoint is None else Words([])
        self.encoder.set_vocabulary(len(words))
        self.written, self._known = written(columns, words.words).to(self.matrix.device), None
        found = item_tokens(items, self.reader.ids, self.config.attribute_tokens)
        self.tokens, self.types = found.ids.to(self.matrix.device), found.types.to(self.matrix.device)

    def start(self, train: Interactions, text: Text | None) -> None:
        """Sees that there is something to read; item vectors are made by the epochs that read them, or here if none is.

        Raises:
            ConfigError: the catalogue was not read, or has no attribute of any item.
        """
        self._check_read()
        self._begun = None
        if not self.config.fit.epochs:
            self.refresh()

    def _what(self) -> tuple[list[str], Reader]:
        """Columns that are read, and what makes tokens of them."""
        if self._known is None:
            columns, words = read_back(self.written)
            self._known = columns, self.encoder.reader(words)
        return self._known

    @property
    def reader(self) -> Reader:
        """Makes token ids of texts."""
        return self._what()[1]

    def _read(self, histories: Tensor) -> Sequences:
        """Histories (B, L) as tokens; an item is a history of one."""
        items, reader = ItemTokens(self.tokens, self.types), self.reader
        return sequences(histories, items, reader.start, reader.pad, self.config.max_tokens)

    @torch.no_grad()
    def _vectors(self, histories: Tensor) -> Tensor:
        """(B, D) unit vectors of any number of histories (B, L), without dropout."""
        training = self.encoder.training
        self.encoder.eval()
        longest = min(self.config.max_tokens, 1 + self.tokens.shape[1] * max(histories.shape[1], 1))
        made = [self.encoder(self._read(part))[:, 0] for part in histories.split(max(1, CALL_TOKENS // longest))]
        self.encoder.train(training)
        return functional.normalize(torch.cat(made), dim=-1) if made else self.matrix.new_zeros(0, self.matrix.shape[1])

    def _check_read(self) -> None:
        if not self.tokens.shape[1]:
            raise ConfigError(
                "the backbone 'recformer' reads the catalogue's attributes, and no item has any: give the dataset an "
                "items table with titles, or in Python Fitting(..., catalogue=...)"
            )

    def refresh(self) -> None:
        """Item vectors by the encoder as it stands."""
        self.matrix = self._vectors(torch.arange(len(self.tokens), device=self.tokens.device)[:, None])

    def batches(self, train: Interactions, fit: FitConfig) -> Callable[[int, np.random.Generator], Iterator[Batch]]:
        """Random positions of every user with all before; the item vectors are made at the start of an epoch."""
        count, length = self.config.targets, self.config.max_history

        def make(epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
            self.begin(epoch)
            stops = drawn_targets(train, generator, 1 if self.pretraining else count, later_half=self.pretraining)
            return last_position_batches(train, length, fit.batch_size, generator, num_negatives=0, stops=stops)

        return make

    def begin(self, epoch: int) -> None:
        """The phase of an epoch (from 0); in the first stage item vectors anew."""
        self._check_read()
        fit = self.config.fit
        self.pretraining = epoch < fit.pretrain_epochs
        if fit.pretrain_epochs <= epoch < fit.first_stage_end and epoch != self._begun:
            self.refresh()
        self._begun = epoch

    def input_embeddings(self) -> Embeddings:
        """The item vectors."""
        return Embeddings(None, self.matrix)

    def encode(self, inputs: Embeddings, batch: Batch) -> Encoded:
        """The batch's histories; their tokens in ``private``."""
        if batch.histories is None:
            raise ConfigError("recformer needs batches with histories: use last_position_batches")
        read = self._read(batch.histories[:, -self.config.max_history :])
        return Encoded(inputs, self._query(self.encoder(read)[:, 0]), read)

    def _query(self, states: Tensor) -> Tensor:
        """(B, D) what is multiplied with unit item vectors."""
        return functional.normalize(states, dim=-1) / self.config.temperature

    def losses(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        """A softmax over all items, whose vectors are constants; in the pre-training a contrast and masked words."""
        if not self.pretraining:
            return {"ce": losses.full_softmax(encoded.query, encoded.tables.items, batch.positives)}
        read = self._read(batch.positives[:, None])
        items = self.encoder(read)[:, 0]
        out = {"contrast": contrast(encoded.query, items, batch.positives, self.config.temperature)}
        if self.masked is not None:
            both = [self.masked(self.encoder, each, self.reader.mask) for each in (encoded.private, read)]
            out["mlm"] = self.config.mlm_weight * torch.stack(both).sum()
        return out

    @torch.no_grad()
    def user_embeddings(self, queries: Queries) -> Tensor:
        """(B, D) of the histories; those of similar length are encoded together."""
        self.at_rest()
        out = self.matrix.new_empty(len(queries), self.matrix.shape[1])
        return by_length(queries, self.config.max_history, out, self._vectors, _evenly) / self.config.temperature

    def item_embeddings(self) -> Tensor:
        """(I, D) unit vectors."""
        return self.matrix

    def score_unseen(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """The same scores: only texts are read."""
        return self.score(queries, items)

    def extended(self, added: AddedItems) -> Self | None:
        """An item that comes later is its attributes, through the encoder as it is now."""
        found = self._later(added)
        if found is None:
            return None
        other = self.longer(
            added, tokens=joined(self.tokens, found.ids, NONE), types=joined(self.types, found.types, BEHIND)
        )
        new = torch.arange(self.num_items, other.num_items, device=self.tokens.device)[:, None]
        other.matrix = torch.cat([self.matrix, other._vectors(new)])
        return other

    def heard(self, added: AddedItems) -> BoolArray | None:
        """(n,) whether any word of an attribute is known."""
        found = self._later(added)
        if found is None:
            return None
        known: BoolArray = ((found.types == VALUE) & (found.ids != self.reader.unknown)).any(dim=1).numpy()
        return known

    def _later(self, added: AddedItems) -> ItemTokens | None:
        if added.lines is None:
            return None
        columns, reader = self._what()
        return item_tokens(attributes_of(added.lines, columns), reader.ids, self.config.attribute_tokens)


def _evenly(order: IntArray, lengths: IntArray) -> list[IntArray]:
    """Parts of equally many rows, see :func:`by_length`."""
    return np.array_split(order, max(1, len(order) // QUERY_ROWS)) if len(order) else []


def _encoder(config: RecformerConfig) -> SmallEncoder | CheckpointEncoder:
    if config.checkpoint is not None:
        return CheckpointEncoder(locate(config.checkpoint, config.revision).path, config.max_tokens, config.max_history)
    sizes = config.embedding_dim, config.num_heads, config.num_blocks, config.dropout
    return SmallEncoder(*sizes, config.max_tokens, config.max_history)
