"""GRU4Rec: a gated recurrent network over the history whose state scores the next item (Hidasi et al. 2016).

"Session-based Recommendations with Recurrent Neural Networks", arXiv 1511.06939; losses TOP1, BPR, TOP1-max and BPR-max
of that paper and of Hidasi & Karatzoglou, "Recurrent Neural Networks with Top-k Gains", arXiv 1706.03847;
cross-entropy over all or sampled items.

Two ways to make batches. ``batch_of = "stretches"``: a row is a stretch of a user's whole history with a target at
every position, and negatives are uniform over the items that the user does not have. ``"sessions"``, the papers' way:
histories run side by side, a row's state is carried from batch to batch and reset once where another user's history
begins, and the negatives of a target are the targets of the other rows at the same step.

Shape key: B rows, L positions, D width, H recurrent width, Q width of a state that scores, I items, N negatives, n
positions with a target.

**Deviations:**
- A linear map with bias joins the state and the item table, even if both have the same width, so that the width of
  the recurrent layer is free, and there is one item table for input and output (the second paper's "constrained
  embeddings"). ``tied = false``: output rows of their own with a bias, as the first paper and the port.
- Adam in place of Adagrad; no samples by popularity beside the batch's targets.
- Sessions: a gradient reaches back ``gradient_steps`` events, those of one batch; an epoch ends when fewer than two
  rows have a target, while the PyTorch port that A-LLMRec names ends with the stock of sessions and loses the tails of
  those that still run. Also otherwise than there, a row is no negative of itself, BPR-max is a mean of logarithms (the
  port: the logarithm of one mean over the matrix), and it has the second paper's penalty.
- ``gradient_steps = 1`` and ``resets = "port"`` are the port's: a gradient that never leaves its step, and rows that
  have begun a session are reset again at every step until another session begins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
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
from interlingua.training.sessions import session_batches


class Gru4RecConfig(Config):
    """Options of :class:`Gru4Rec`."""

    only_with: ClassVar = {
        "long_histories": ("batch_of", ("stretches",)),
        "batch_by": ("batch_of", ("stretches",)),
        "gradient_steps": ("batch_of", ("sessions",)),
        "resets": ("batch_of", ("sessions",)),
        "scores": ("loss", ("sampled-ce", "bce", "bpr", "top1", "bpr-max", "top1-max")),
    }

    embedding_dim: int = Field(64, ge=1)
    """D"""
    hidden_dim: int | None = Field(None, ge=1)
    """H (papers: 100); None: as wide as the embeddings"""
    num_layers: int = Field(1, ge=1)
    """recurrent layers (papers: 1)"""
    max_history: int = Field(50, ge=1)
    """L"""
    dropout: float = Field(0.2, ge=0, lt=1)
    """on item inputs and on the states that score"""
    loss: Literal["ce", "sampled-ce", "bce", "bpr", "top1", "bpr-max", "top1-max"] = "ce"
    """``ce``: softmax over all items; the others compare with ``num_negatives`` sampled ones, or among sessions with
    the other rows' targets (papers: ``top1`` at first, then ``bpr-max``; port: ``top1-max``)"""
    num_negatives: int = Field(32, ge=1)
    """per position of stretches, for all losses but ``ce``"""
    bpr_penalty: float = Field(1.0, ge=0)
    """``bpr-max``: weight of the negatives' squared scores"""
    tied: bool = True
    """one item table for input and output; else a state scores output rows of its own, with a bias"""
    scores: Literal["linear", "tanh"] = "linear"
    """what a loss other than ``ce`` reads (port: ``tanh`` of them); the order of items is the same"""
    batch_of: Literal["stretches", "sessions"] = "stretches"
    """rows of a batch, see the module's docstring (papers: ``sessions``)"""
    gradient_steps: int = Field(10, ge=1)
    """``sessions``: events of a row in a batch, and how far back a gradient reaches (port: 1)"""
    resets: Literal["once", "port"] = "once"
    """``sessions``: a state is forgotten once, where a session begins, or again until another one begins"""
    long_histories: Literal["last", "windows"] = "windows"
    """histories longer than ``max_history``: train their last part, or all of it in stretches"""
    batch_by: Literal["sequences", "events"] = "sequences"
    """the unit of which all batches hold equally many, see :func:`interlingua.training.batches.sequence_batches`"""
    fit: FitConfig = FitConfig(learning_rate=1e-3, batch_size=32, epochs=100, patience=5)
    """training"""


class Gru4Rec(Backbone):
    """A GRU over item embeddings, which are also the output table."""

    Config = Gru4RecConfig
    sampling = "sequences"

    def __init__(self, config: Gru4RecConfig, train: Interactions) -> None:
        super().__init__(config, train)
        dim, hidden = config.embedding_dim, config.hidden_dim or config.embedding_dim
        self.items = nn.Parameter(torch.empty(train.num_items, dim).normal_(std=dim**-0.5))
        self.gru = nn.GRU(dim, hidden, config.num_layers, batch_first=True)
        self.out = nn.Linear(hidden, dim) if config.tied else nn.Identity()
        std = hidden**-0.5
        self.outputs = None if config.tied else nn.Parameter(torch.empty(train.num_items, hidden).normal_(std=std))
        self.bias = None if config.tied else nn.Parameter(torch.zeros(train.num_items))
        self._carried: Tensor | None = None
        """(layers, B, H) states of the rows of sessions after the last batch"""

    def batches(self, train: Interactions, fit: FitConfig) -> Callable[[int, np.random.Generator], Iterator[Batch]]:
        """Rows of all users with a target at every position, or sessions side by side."""
        config = self.config
        if config.batch_of == "stretches":
            return next_item_batches(train, config, fit)

        def make(epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
            return session_batches(
                train, fit.batch_size, config.gradient_steps, generator,
                least=1 if config.loss == "ce" else 2, resets=config.resets,
            )  # fmt: skip

        return make

    def extended(self, added: AddedItems) -> Gru4Rec | None:
        """An item without an event is its input, in histories too; None with output rows, of which it has none."""
        return self.with_inputs(added) if self.outputs is None else None

    def input_embeddings(self) -> Embeddings:
        """The item embeddings; there is no user table."""
        return Embeddings(None, self.items)

    def encode(self, inputs: Embeddings, batch: Batch) -> Encoded:
        """Last states of the batch's histories; all states in ``private``, as (states (B, L, D), lengths (B,))."""
        if batch.histories is None:
            raise ConfigError("gru4rec needs batches with histories: use sequence_batches or last_position_batches")
        tables = inputs if self.outputs is None else Embeddings(None, self.outputs)
        if batch.fresh is not None:
            states = self._carry(inputs.items, batch.histories, batch.fresh)
            return Encoded(tables, states[:, -1], (states, None))
        states, lengths = self.states(inputs.items, batch.histories)
        return Encoded(tables, last_state(states, lengths), (states, lengths))

    def losses(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        """The configured loss over all positions with a target, or over the last one for (B,) positives."""
        states, lengths = encoded.private
        table = encoded.tables.items
        if lengths is None:
            return self._among_rows(states, table, batch.positives)
        real = positions_mask(lengths, states.shape[1])
        flat, targets, negatives = with_targets(encoded, batch, real)
        if self.config.loss == "ce":
            return {"ce": losses.full_softmax(flat, table, targets, self.bias)}
        if negatives is None:
            raise ConfigError(f"gru4rec with loss {self.config.loss!r} needs negatives in its batches")
        positive, negative = pair_scores(flat, table, targets, negatives)
        if self.bias is not None:
            positive, negative = positive + self.bias[targets], negative + self.bias[negatives.reshape(negative.shape)]
        return self._compared(positive, negative, self.num_items)

    def _compared(self, positive: Tensor, negative: Tensor, num_items: int | None) -> dict[str, Tensor]:
        """The configured loss of scores (n,) of targets and (n, N) of negatives; uniform ones of ``num_items``."""
        if self.config.scores == "tanh":
            positive, negative = positive.tanh(), negative.tanh()
        loss = self.config.loss
        if loss == "bpr-max":
            return {"bpr_max": bpr_max(positive, negative, self.config.bpr_penalty)}
        if loss == "sampled-ce":
            return {"sampled_ce": losses.sampled_softmax(positive, negative, num_items)}
        functions = {"bce": losses.bce, "bpr": losses.bpr, "top1": top1, "top1-max": top1_max}
        return {loss.replace("-", "_"): functions[loss](positive, negative)}

    def _among_rows(self, states: Tensor, table: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The loss of states (B, L, Q) and targets (B, L), step by step among the rows that have a target."""
        real = targets != PAD
        if self.config.loss == "ce":
            return {"ce": losses.full_softmax(states[real], table, targets[real], self.bias)}
        sums: dict[str, Tensor] = {}
        for step in range(targets.shape[1]):
            own = targets[real[:, step], step]
            matrix = states[real[:, step], step] @ functional.embedding(own, table).T  # (n, n), right on the diagonal
            matrix = matrix if self.bias is None else matrix + self.bias[own]
            apart = ~torch.eye(len(own), dtype=torch.bool, device=own.device)
            found = self._compared(matrix.diagonal(), matrix[apart].view(len(own), -1), None)
            weighted = {name: len(own) * value for name, value in found.items()}
            sums = {name: value + sums[name] if sums else value for name, value in weighted.items()}
        return {name: value / int(real.sum()) for name, value in sums.items()}

    def _carry(self, table: Tensor, read: Tensor, fresh: Tensor) -> Tensor:
        """(B, L, Q) states after each of the events ``read`` (B, L), from where the batch before ended."""
        x = functional.embedding(read.clamp_min(0), table)
        x = functional.dropout(x, self.config.dropout, self.training)
        carried, steps = self._carried, []
        if carried is None or carried.shape[1] != len(read):
            carried = x.new_zeros(self.gru.num_layers, len(read), self.gru.hidden_size)
        for step in range(read.shape[1]):
            carried = carried * ~fresh[None, :, step, None]
            state, carried = self.gru(x[:, step : step + 1], carried)
            steps.append(state)
        self._carried = carried.detach()
        return self._scoring(torch.cat(steps, dim=1))

    def _scoring(self, states: Tensor) -> Tensor:
        """(..., Q) what recurrent states (..., H) score with."""
        made: Tensor = self.out(functional.dropout(states, self.config.dropout, self.training))
        return made

    def states(self, table: Tensor, histories: Tensor) -> tuple[Tensor, Tensor]:
        """States of every position, shifted so that a row's first event is at column 0.

        Args:
            table: (I, D) item inputs.
            histories: (B, L) left-padded rows; only their last ``max_history`` events are read.

        Returns:
            states (B, L, Q) and lengths (B,); columns from a row's length on have no meaning.
        """
        shifted = shift(histories, self.config.max_history)
        x = functional.dropout(functional.embedding(shifted.indices, table), self.config.dropout, self.training)
        states, _ = self.gru(x * shifted.real[..., None])
        return self._scoring(states), shifted.lengths

    @torch.no_grad()
    def user_embeddings(self, queries: Queries) -> Tensor:
        """(B, Q) last states; histories of similar length are read together."""
        self.at_rest()
        out = self.items.new_empty(len(queries), self.item_embeddings().shape[1])

        def read(histories: Tensor) -> Tensor:
            return last_state(*self.states(self.items, histories))

        return by_length(queries, self.config.max_history, out, read)

    def item_embeddings(self) -> Tensor:
        """(I, Q) item embeddings, or output rows."""
        return (self.items if self.outputs is None else self.outputs).detach()

    def item_bias(self) -> Tensor | None:
        """(I,) the output rows' bias."""
        return None if self.bias is None else self.bias.detach()


def top1(positive: Tensor, negative: Tensor) -> Tensor:
    """``mean_j (sigmoid(r_j - r) + sigmoid(r_j^2))`` over scores (n,) of targets and (n, N) of negatives."""
    return (torch.sigmoid(negative - positive[:, None]) + torch.sigmoid(negative.square())).mean()


def bpr_max(positive: Tensor, negative: Tensor, penalty: float) -> Tensor:
    """``-log sum_j s_j sigmoid(r - r_j) + penalty * sum_j s_j r_j^2``, s the softmax of the negatives' scores.

    Args:
        positive: (n,) scores r of observed items.
        negative: (n, N) scores r_j of sampled items.
        penalty: weight of the second term.
    """
    log_weights = torch.log_softmax(negative, dim=-1)
    better = torch.logsumexp(log_weights + functional.logsigmoid(positive[:, None] - negative), dim=-1)
    return (penalty * (log_weights.exp() * negative.square()).sum(-1) - better).mean()


def top1_max(positive: Tensor, negative: Tensor) -> Tensor:
    """``sum_j s_j (sigmoid(r_j - r) + sigmoid(r_j^2))``, s as in :func:`bpr_max`."""
    weights = torch.softmax(negative, dim=-1)
    terms = torch.sigmoid(negative - positive[:, None]) + torch.sigmoid(negative.square())
    return (weights * terms).sum(-1).mean()
