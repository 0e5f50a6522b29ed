"""NextItNet: residual blocks of dilated causal convolutions over the history (Yuan et al. 2019).

"A Simple Convolutional Generative Network for Next Item Recommendation", WSDM 2019, arXiv 1808.05163: the residual
block of figure 3 b (two convolutions of width three, the second twice as dilated, each followed by a layer norm and a
ReLU), a softmax over all items at every position. Two sources differ: the authors' code (dilations 1, 2 three times,
100 channels) and the PyTorch port that A-LLMRec names (1, 4 six times, 256 channels).

Of a block with dilation a, position t reads t, t - a, t - 2a, and of these the same at 2a: the last state reads
``1 + 3 (kernel - 1) sum(a)`` events, see :func:`receptive_field`.

Shape key: B rows, L positions, D width, I items, n positions with a target.

**Deviations:**
- Padding is nothing: rows are shifted so that real events come first, and what a convolution reads before them is zero
  in every layer. Both codes pad on the left with an ordinary entry of the vocabulary and train on these positions, so
  that on short histories most of the loss is "padding follows padding": ``padding = "trained"``.
- Item inputs start from N(0, 1/D), so that biases do not drown them behind the first layer norm (the authors: 0.02;
  the port: uniform, within the root of one over the number of items); output rows from N(0, 0.01^2), as theirs. Biases
  start from zero, the authors' from .1 for all items alike, which no softmax shows.
- The authors' code has a ReLU between last state and output; here, as in the port, there is none.
- ``tied`` makes the inputs the output rows, which neither source does; dropout on inputs and last states, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn
from torch.nn import functional

from interlingua.backbones._shifted import by_length, last_state, positions_mask, shift
from interlingua.config import Config, FitConfig
from interlingua.contracts.added import AddedItems
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch, Embeddings, Encoded
from interlingua.data.interactions import Interactions
from interlingua.data.queries import PAD, Queries
from interlingua.errors import ConfigError
from interlingua.nn import losses
from interlingua.training.next_item import next_item_batches, pair_scores, with_targets


class NextItNetConfig(Config):
    """Options of :class:`NextItNet`."""

    only_with: ClassVar = {"num_negatives": ("loss", ("sampled-ce",))}

    embedding_dim: int = Field(64, ge=1)
    """D, the channels of all convolutions (authors: 100; port: 256; A-LLMRec: 50)"""
    max_history: int = Field(50, ge=1)
    """L"""
    dilations: list[int] = [1, 2]
    """a of the blocks in turn (authors: 1, 2; port: 1, 4)"""
    num_blocks: int = Field(6, ge=1)
    """residual blocks (authors: 6; port: 12)"""
    kernel: int = Field(3, ge=2)
    """width of a convolution (both: 3)"""
    dropout: float = Field(0.0, ge=0, lt=1)
    """on item inputs and on the states that score (both: none)"""
    tied: bool = False
    """one item table for input and output (both: no). True where an aligner makes the inputs: items without events are
    then scored by them too"""
    padding: Literal["ignored", "trained"] = "ignored"
    """``trained``: an ordinary entry of the vocabulary that fills rows up and is predicted, as in both codes"""
    loss: Literal["ce", "sampled-ce"] = "ce"
    """softmax over all items, or over ``num_negatives`` drawn ones (authors: either)"""
    num_negatives: int = Field(256, ge=1)
    """per position for ``sampled-ce`` (authors: a fifth of the items)"""
    long_histories: Literal["last", "windows"] = "windows"
    """histories longer than ``max_history``: train their last part, or all of it in stretches"""
    batch_by: Literal["sequences", "events"] = "sequences"
    """the unit of which all batches hold equally many, see :func:`interlingua.training.batches.sequence_batches`"""
    fit: FitConfig = FitConfig(learning_rate=1e-3, weight_decay=3e-4, batch_size=128, epochs=200, patience=10)
    """training (both: Adam, 1e-3, no L2, batches of 128; port: 200 epochs)"""

    @field_validator("dilations")
    @classmethod
    def _dilations_are_positive(cls, dilations: list[int]) -> list[int]:
        if not dilations or min(dilations) < 1:
            raise ValueError(f"give one dilation of 1 or more for each block in turn, e.g. [1, 2], not {dilations}")
        return dilations

    @model_validator(mode="after")
    def _padding_is_drawn_by_nobody(self) -> Self:
        if self.padding == "trained" and self.loss != "ce":
            raise ValueError("padding = 'trained' needs loss = 'ce': no negatives are drawn for padding")
        return self


def receptive_field(dilations: Sequence[int], num_blocks: int, kernel: int = 3) -> int:
    """Events that the last state reads."""
    return 1 + 3 * (kernel - 1) * sum(dilations[n % len(dilations)] for n in range(num_blocks))


class CausalConvolution(nn.Module):
    """A position reads itself and ``kernel - 1`` earlier ones, ``dilation`` apart; before the first there is zero."""

    def __init__(self, dim: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.reach = (kernel - 1) * dilation
        self.conv = nn.Conv1d(dim, dim, kernel, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        out: Tensor = self.conv(functional.pad(x.transpose(1, 2), (self.reach, 0)))
        return out.transpose(1, 2)


class ResidualBlock(nn.Module):
    """``x + relu(LN(conv(relu(LN(conv(x))))))``, the second convolution twice as dilated."""

    def __init__(self, dim: int, kernel: int, dilation: int) -> None:
        super().__init__()
        self.first = CausalConvolution(dim, kernel, dilation)
        self.first_norm = nn.LayerNorm(dim, eps=1e-8)
        self.second = CausalConvolution(dim, kernel, 2 * dilation)
        self.second_norm = nn.LayerNorm(dim, eps=1e-8)

    def forward(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D)."""
        inner = functional.relu(self.first_norm(self.first(x)))
        return x + functional.relu(self.second_norm(self.second(inner)))


class NextItNet(Backbone):
    """Causal convolutions over item embeddings; the last state scores rows of an output table, plus a bias."""

    Config = NextItNetConfig
    sampling = "sequences"

    def __init__(self, config: NextItNetConfig, train: Interactions) -> None:
        super().__init__(config, train)
        dim, steps = config.embedding_dim, config.dilations
        self.items = nn.Parameter(torch.empty(train.num_items, dim).normal_(std=dim**-0.5))
        self.blocks = nn.ModuleList(
            ResidualBlock(dim, config.kernel, steps[n % len(steps)]) for n in range(config.num_blocks)
        )
        self.outputs = None if config.tied else nn.Parameter(torch.empty(train.num_items, dim).normal_(std=0.01))
        self.bias = nn.Parameter(torch.zeros(train.num_items))
        trained = config.padding == "trained"
        self.padding = nn.Parameter(torch.empty(1, dim).normal_(std=dim**-0.5)) if trained else None
        self.padding_row = nn.Parameter(torch.empty(1, dim).normal_(std=0.01)) if trained else None
        self.padding_bias = nn.Parameter(torch.zeros(1)) if trained else None

    def batches(self, train: Interactions, fit: FitConfig) -> Callable[[int, np.random.Generator], Iterator[Batch]]:
        """Rows of all users with a target at every position."""
        return next_item_batches(train, self.config, fit)

    def extended(self, added: AddedItems) -> NextItNet | None:
        """An item without an event is its input, of mean popularity; None with output rows, which it has none of."""
        other = self.with_inputs(added) if self.outputs is None else None
        if other is None:
            return None
        own = self.bias.detach()
        return other.longer(AddedItems(0, added.job), bias=torch.cat([own, own.mean().expand(added.count)]))

    def input_embeddings(self) -> Embeddings:
        """What the convolutions read; there is no user table."""
        return Embeddings(None, self.items)

    def encode(self, inputs: Embeddings, batch: Batch) -> Encoded:
        """Last states of the batch's histories, and the output rows; ``private``: states (B, L, D), lengths (B,)."""
        if batch.histories is None:
            raise ConfigError("nextitnet needs batches with histories: use sequence_batches or last_position_batches")
        states, lengths = self.states(inputs.items, batch.histories)
        outputs = inputs.items if self.outputs is None else self.outputs
        return Encoded(Embeddings(None, outputs), last_state(states, lengths), (states, lengths))

    def losses(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy over all positions with a target, or over the last one for (B,) positives."""
        (states, lengths), table = encoded.private, encoded.tables.items
        if self.padding_row is not None and self.padding_bias is not None and batch.positives.dim() == 2:
            assert batch.histories is not None
            read = self._filled_up(batch.histories, len(table))
            targets = torch.cat([read[:, 1:], batch.positives[:, -1:]], dim=1)
            outputs, bias = torch.cat([table, self.padding_row]), torch.cat([self.bias, self.padding_bias])
            return {"ce": losses.full_softmax(states.flatten(0, 1), outputs, targets.flatten(), bias)}
        real = positions_mask(lengths, states.shape[1])
        flat, targets, negatives = with_targets(encoded, batch, real)
        if self.config.loss == "ce":
            return {"ce": losses.full_softmax(flat, table, targets, self.bias)}
        if negatives is None:
            raise ConfigError("nextitnet with loss 'sampled-ce' needs negatives in its batches")
        positive, negative = pair_scores(flat, table, targets, negatives)
        positive, negative = positive + self.bias[targets], negative + self.bias[negatives.reshape(negative.shape)]
        return {"sampled_ce": losses.sampled_softmax(positive, negative, self.num_items)}

    def states(self, table: Tensor, histories: Tensor) -> tuple[Tensor, Tensor]:
        """States of every position; padding ahead is shifted behind the events, or filled up where it is trained.

        Args:
            table: (I, D) item inputs.
            histories: (B, L) left-padded rows; only their last ``max_history`` events are read.

        Returns:
            states (B, L, D) and lengths (B,); columns from a row's length on have no meaning.
        """
        if self.padding is not None:
            indices = self._filled_up(histories, len(table))
            lengths = indices.new_full((len(indices),), indices.shape[1])
            x = functional.embedding(indices, torch.cat([table, self.padding]))
        else:
            shifted = shift(histories, self.config.max_history)
            x, lengths = functional.embedding(shifted.indices, table) * shifted.real[..., None], shifted.lengths
        x = functional.dropout(x, self.config.dropout, self.training)
        for block in self.blocks:
            x = block(x)
        return functional.dropout(x, self.config.dropout, self.training), lengths

    def _filled_up(self, histories: Tensor, padding: int) -> Tensor:
        """(B, max_history) the last events of rows (B, L), with the index ``padding`` on their left."""
        width = self.config.max_history
        padded = functional.pad(histories[:, -width:], (max(width - histories.shape[1], 0), 0), value=PAD)
        return torch.where(padded == PAD, padding, padded)

    def user_embeddings(self, queries: Queries) -> Tensor:
        """(B, D) last states; histories of similar length are read together."""
        self.at_rest()
        out = self.items.new_empty(len(queries), self.items.shape[1])

        def read(histories: Tensor) -> Tensor:
            return last_state(*self.states(self.items, histories))

        return by_length(queries, self.config.max_history, out, read)

    def item_embeddings(self) -> Tensor:
        """(I, D) output rows: their product with a state, plus :meth:`item_bias`, is the score."""
        return (self.items if self.outputs is None else self.outputs).detach()

    def item_bias(self) -> Tensor:
        """(I,) the learned popularity."""
        return self.bias.detach()
