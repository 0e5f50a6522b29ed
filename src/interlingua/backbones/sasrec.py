"""SASRec: a causal transformer over the history whose last state scores the next item (Kang & McAuley 2018).

Each training row has a target at every position. Losses: binary cross-entropy with sampled negatives (the paper's
eq. 7), cross-entropy over all items, or over sampled items. With ``loss = "gbce"`` it is gSASRec (Petrov & Macdonald,
RecSys 2023, arXiv 2308.07192); with ``block = "ligr"`` and ``loss = "sampled-ce"`` eSASRec (Tikhonovich et al.,
RecSys 2025, arXiv 2508.06450).

Shape key: B rows, L positions, D width, I items, N negatives.

**Deviations:**
- ``norm = "pre"``: x + f(LN(x)) in both sub-layers. ``"authors"``: the PyTorch port that A-LLMRec builds on, where
  the attention's residual is the *normalised* input, ``LN(x) + MHA(LN(x), x, x)``, and likewise for the feed-forward.
- Padding never enters a computation: rows are shifted so that real events come first, and positions are numbered from
  the end, so a row gives the same states whatever its padding.
- No dropout mask or position vector on padding, and no L2 term (the authors' weight for it is 0).
- Uniform negatives are items that the user does not have; gSASRec and eSASRec draw from all items.
- eSASRec's authors do not scale inputs by sqrt(D), and leave the sampled softmax uncorrected (``log_q = "none"``); as
  theirs, LiGR blocks have no norm behind the last one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from interlingua.backbones._heads import WithHeads
from interlingua.backbones._shifted import by_length, last_state, positions_mask, shift
from interlingua.config import FitConfig
from interlingua.contracts.added import AddedItems
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch, Embeddings, Encoded
from interlingua.data.interactions import Interactions
from interlingua.data.queries import IntArray, Queries
from interlingua.errors import ConfigError
from interlingua.nn import losses
from interlingua.nn.causal_attention import Block, LigrBlock
from interlingua.nn.in_batch import debiased_softmax
from interlingua.training.mixed_negatives import MixedNegatives
from interlingua.training.next_item import next_item_batches, pair_scores, sequences_of, with_targets

QUERY_POSITIONS = 1600
"""of histories encoded at once when scoring, sorted by length: short ones are not padded to the longest, and what is
computed for them stays in the cache"""


class SasRecConfig(WithHeads):
    """Options of :class:`SasRec`."""

    only_with: ClassVar = {
        "norm": ("block", ("transformer",)),
        "inner_factor": ("block", ("ligr",)),
        "calibration": ("loss", ("gbce",)),
        "log_q": ("loss", ("sampled-ce",)),
        "popular_negatives": ("loss", ("sampled-ce",)),
        "temperature": ("similarity", ("cosine",)),
    }

    embedding_dim: int = Field(default=64, ge=1)
    """D (A-LLMRec: 50)"""
    max_history: int = Field(default=50, ge=1)
    """L (A-LLMRec: 50)"""
    num_blocks: int = Field(2, ge=1)
    """transformer blocks (paper: 2)"""
    num_heads: int = Field(default=1, ge=1)
    """attention heads (paper: 1)"""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """on embeddings, attention and feed-forward (A-LLMRec: 0.5)"""
    block: Literal["transformer", "ligr"] = "transformer"
    """``ligr``: gated residuals and a SwiGLU feed-forward part (eSASRec)"""
    norm: Literal["pre", "authors"] = "pre"
    """where the residual is taken, see the module's deviations"""
    inner_factor: int = Field(4, ge=1)
    """``ligr``: width of the feed-forward part, in D (eSASRec: 4; 1 to 4 chosen per dataset)"""
    loss: Literal["bce", "gbce", "ce", "sampled-ce", "shared-ce", "in-batch"] = "ce"
    """``bce`` (paper), ``gbce`` (gSASRec), ``ce``: softmax over all items, ``sampled-ce``: over ``num_negatives``
    sampled ones, ``shared-ce``: over the batch's targets and ``num_negatives`` sampled ones that all positions share,
    ``in-batch``: over the batch's items, each less the logarithm of its popularity (MoRec)"""
    num_negatives: int = Field(1, ge=1)
    """per position for ``bce``, ``gbce`` and ``sampled-ce`` (gSASRec, eSASRec: 256), per batch for ``shared-ce`` (say
    1,000)"""
    calibration: float = Field(0.75, ge=0, le=1)
    """``gbce``: t, from 0 (``bce``) to 1 (the bias of sampling undone; gSASRec: 0.75)"""
    popular_negatives: float = Field(0.0, ge=0, le=1)
    """``sampled-ce``: fraction of the negatives that is drawn by numbers of events (rounded to whole negatives)"""
    log_q: Literal["negatives", "all", "none"] = "negatives"
    """``sampled-ce``: whose scores lose the logarithm of how often they are drawn: the negatives' (the expected
    partition function is that of the full softmax), the target's too (Yi et al. 2019), or nobody's (eSASRec)"""
    similarity: Literal["dot", "cosine"] = "dot"
    """of a state and an item"""
    temperature: float = Field(0.07, gt=0)
    """``cosine``: scores are divided by it (UniSRec: 0.07)"""
    init: Literal["normal", "xavier"] = "normal"
    """``normal``: N(0, 0.02); ``xavier``: Xavier normal on every matrix, as the A-LLMRec authors"""
    long_histories: Literal["last", "windows"] = "last"
    """histories longer than ``max_history``: train their last part (paper), or all of it in stretches"""
    batch_by: Literal["sequences", "events"] = "sequences"
    """the unit of which all batches hold equally many, see :func:`interlingua.training.batches.sequence_batches`"""
    fit: FitConfig = FitConfig(learning_rate=1e-3, batch_size=128, epochs=200, patience=10)
    """training"""


class SasRec(Backbone):
    """Causal self-attention over item embeddings, which are also the output table."""

    Config: ClassVar[type[SasRecConfig]] = SasRecConfig
    sampling = "sequences"

    popularity: Tensor | None
    """(I,) fraction of all events, where negatives are drawn by it"""

    def __init__(self, config: SasRecConfig, train: Interactions) -> None:
        super().__init__(config, train)
        dim = config.embedding_dim
        self.items = nn.Parameter(torch.empty(train.num_items, dim))
        self.positions = nn.Parameter(torch.empty(config.max_history, dim))
        self.blocks = nn.ModuleList(_block(config) for _ in range(config.num_blocks))
        self.norm = nn.LayerNorm(dim, eps=1e-8) if config.block == "transformer" else nn.Identity()
        self.register_buffer("popularity", None, persistent=False)
        if config.popular_negatives or config.log_q == "all" or config.loss == "in-batch":
            self.popularity = torch.as_tensor(train.item_counts / max(len(train), 1), dtype=torch.float32)
        self._initialise()

    def _initialise(self) -> None:
        for parameter in self.parameters():
            if parameter.dim() < 2:
                continue
            if self.config.init == "xavier":
                nn.init.xavier_normal_(parameter)
            else:
                nn.init.normal_(parameter, std=0.02)

    @classmethod
    def reads_all_items(cls, config: Any) -> bool:
        """Only for a softmax over all items, or over drawn ones that the batch does not name."""
        return config.loss in ("ce", "shared-ce")

    @property
    def state_width(self) -> int:
        """Width of a state, and of an item vector that is compared with it."""
        return self.items.shape[1]

    def batches(self, train: Interactions, fit: FitConfig) -> Callable[[int, np.random.Generator], Iterator[Batch]]:
        """Rows of all users with a target at every position."""
        fraction = self.config.popular_negatives
        return next_item_batches(train, self.config, fit, MixedNegatives(train, fraction) if fraction else None)

    def extended(self, added: AddedItems) -> SasRec | None:
        """An item without an event is its input, in histories too."""
        return self.with_inputs(added)

    def input_embeddings(self) -> Embeddings:
        """The item embeddings; there is no user table."""
        return Embeddings(None, self.items)

    def encode(self, inputs: Embeddings, batch: Batch) -> Encoded:
        """Last states of the batch's histories; all states in ``private``, as (states (B, L, D), lengths (B,))."""
        if batch.histories is None:
            raise ConfigError("sasrec needs batches with histories: use sequence_batches or last_position_batches")
        states, lengths = self.states(inputs.items, batch.histories)
        return Encoded(inputs, last_state(states, lengths), (states, lengths))

    def losses(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        """The configured loss over all positions with a target, or over the last one for (B,) positives."""
        states, lengths = encoded.private
        table = encoded.tables.items
        real = positions_mask(lengths, states.shape[1])
        flat, targets, negatives = with_targets(encoded, batch, real)
        loss, flat, table = self.config.loss, self._query(flat), self._compared(table)
        if loss == "ce":
            return {"ce": losses.full_softmax(flat, table, targets)}
        if loss == "shared-ce":
            return {"shared_ce": losses.shared_softmax(flat, table, targets, self.config.num_negatives)}
        if loss == "in-batch":
            assert self.popularity is not None
            owners, sequences = sequences_of(batch, real)
            return {"in_batch": debiased_softmax(flat, table, targets, owners, sequences, self.popularity)}
        if negatives is None:
            raise ConfigError(f"sasrec with loss {loss!r} needs negatives in its batches")
        positive, negative = pair_scores(flat, table, targets, negatives)
        if loss == "bce":
            return {"bce": losses.bce(positive, negative)}
        if loss == "gbce":
            return {"gbce": losses.gbce(positive, negative, self.num_items, self.config.calibration)}
        return {"sampled_ce": self._sampled_softmax(positive, negative, targets, negatives.reshape(negative.shape))}

    def _sampled_softmax(self, positive: Tensor, negative: Tensor, targets: Tensor, negatives: Tensor) -> Tensor:
        """Softmax over scores (n,) of targets (n,) and (n, N) of negatives (n, N), corrected as ``log_q`` says."""
        if self.popularity is None:
            return losses.sampled_softmax(positive, negative, self.num_items if self.config.log_q != "none" else None)
        negative = negative.masked_fill(negatives == targets[:, None], -math.inf)  # drawn by chance
        if self.config.log_q == "none":
            return losses.sampled_softmax(positive, negative)
        popular = round(self.config.popular_negatives * negatives.shape[1])
        uniform = (negatives.shape[1] - popular) / max(self.num_items - 1, 1)
        expected = uniform + popular * self.popularity
        own = expected[targets] if self.config.log_q == "all" else None
        return losses.log_q_softmax(positive, negative, expected[negatives], own)

    def _compared(self, table: Tensor) -> Tensor:
        """(I, D) the item vectors whose dot product with :meth:`_query` is the score."""
        return table if self.config.similarity == "dot" else functional.normalize(table, dim=-1)

    def _query(self, states: Tensor) -> Tensor:
        """(n, D) states as they are compared with items."""
        if self.config.similarity == "dot":
            return states
        return functional.normalize(states, dim=-1) / self.config.temperature

    def states(self, table: Tensor, histories: Tensor) -> tuple[Tensor, Tensor]:
        """States of every position, shifted so that a row's first event is at column 0.

        Args:
            table: (I, D) item inputs.
            histories: (B, L) left-padded rows; only their last ``max_history`` events are read.

        Returns:
            states (B, L, D) and lengths (B,); columns from a row's length on have no meaning.
        """
        x, lengths = self._inputs(table, histories)
        for block in self.blocks:
            x = block(x)
        return self.norm(x), lengths

    def last_states(self, table: Tensor, histories: Tensor) -> Tensor:
        """(B, D) the states of the last events alone: the last block has one query position instead of L."""
        x, lengths = self._inputs(table, histories)
        for block in self.blocks[:-1]:
            x = block(x)
        return self.norm(self.blocks[-1](x, (lengths - 1).clamp(min=0)))[:, 0]

    def _inputs(self, table: Tensor, histories: Tensor) -> tuple[Tensor, Tensor]:
        shifted, most = shift(histories, self.config.max_history), self.config.max_history
        place = (shifted.columns + most - shifted.columns.shape[1]).clamp(max=most - 1)
        x = self._placed(table, shifted.indices, functional.embedding(place, self.positions))
        return x * shifted.real[..., None], shifted.lengths

    def _placed(self, table: Tensor, indices: Tensor, positions: Tensor) -> Tensor:
        """(B, L, D) what the blocks read: items ``indices`` (B, L) of ``table`` (I, D) at ``positions`` (B, L, D)."""
        x = functional.embedding(indices, table) * math.sqrt(table.shape[1]) + positions
        return functional.dropout(x, self.config.dropout, self.training)

    def user_embeddings(self, queries: Queries) -> Tensor:
        """(B, D) last states; histories of similar length are encoded together."""
        out = self.items.new_empty(len(queries), self.state_width)
        self.at_rest()

        def read(histories: Tensor) -> Tensor:
            return self._query(self.last_states(self.items, histories))

        return by_length(queries, self.config.max_history, out, read, _similar)

    def item_embeddings(self) -> Tensor:
        """(I, D) item embeddings; for the cosine, divided by their lengths."""
        return self._compared(self.items.detach())


def _block(config: SasRecConfig) -> Block | LigrBlock:
    dim, heads, dropout = config.embedding_dim, config.num_heads, config.dropout
    if config.block == "ligr":
        return LigrBlock(dim, heads, dropout, config.inner_factor)
    return Block(dim, heads, dropout, config.norm)


def _similar(order: IntArray, lengths: IntArray) -> Iterator[IntArray]:
    """Parts of ``order`` (ascending lengths) of at most :data:`QUERY_POSITIONS` positions, padding included."""
    start = 0
    while start < len(order):
        filled = np.arange(1, len(order) - start + 1) * lengths[start:]
        stop = start + max(1, int(np.searchsorted(filled, QUERY_POSITIONS, side="right")))
        yield order[start:stop]
        start = stop
