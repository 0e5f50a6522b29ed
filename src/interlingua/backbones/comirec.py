"""ComiRec: several interest vectors per user; an item's score is that of its best interest (Cen et al. 2020).

arXiv 2005.09347. Interests come from the history's item vectors by dynamic routing (ComiRec-DR, algorithm 1) or by
self-attention (ComiRec-SA). Training: softmax over sampled items, on the one interest that scores the target highest.
Serving: the maximum over interests. The paper's controllable aggregation (algorithm 2), which also wants items of
different categories, chooses among what any model retrieved: :func:`interlingua.retrieval.cascade.diversified`,
``interlingua recommend --diversity``.

Shape key: B rows, L positions, K interests, D width, I items, N negatives.

**Deviations:**
- ``maps = "interest"``: one routing map per interest. The paper's W_ij, one per position and interest too, is
  ``maps = "position"``; positions count from the end of the history.
- Negatives are uniform over the items that their user does not have (authors' code: log-uniform over all), with the
  correction for uniform sampling; all negatives of a batch serve every row, as in the code.
- Every event but a user's first is a target once per epoch (code: a random one per user and step).
- Where one vector per user is needed (aligners, rankers), it is the best interest of the last item; while an
  aligner trains, that of the target, as in the paper's own training. Scores never use it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from interlingua.config import Config, FitConfig
from interlingua.contracts.added import AddedItems
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch, Embeddings, Encoded, FloatArray
from interlingua.data.interactions import Interactions
from interlingua.data.queries import PAD, IntArray, Queries
from interlingua.errors import ConfigError
from interlingua.nn import losses
from interlingua.training.batches import Negatives, last_position_batches

QUERY_ROWS = 256
"""histories turned into interests at once when scoring"""


class ComiRecConfig(Config):
    """Options of :class:`ComiRec`."""

    embedding_dim: int = Field(64, ge=1)
    """D (paper: 64)"""
    num_interests: int = Field(4, ge=1)
    """K (paper: 4)"""
    max_history: int = Field(50, ge=1)
    """L (paper: 20 on Amazon books, 50 on Taobao)"""
    extraction: Literal["dr", "sa"] = "sa"
    """``dr``: dynamic routing between capsules; ``sa``: self-attention"""
    routing_iterations: int = Field(3, ge=1)
    """``dr``: rounds of routing (paper: 3)"""
    maps: Literal["interest", "position"] = "interest"
    """``dr``: see the module's deviations"""
    attention_factor: int = Field(4, ge=1)
    """``sa``: width of the attention's hidden layer in units of D (authors' code: 4)"""
    dropout: float = Field(0.0, ge=0, lt=1)
    """on the history's item vectors (paper: none)"""
    loss: Literal["sampled-ce", "ce"] = "sampled-ce"
    """``sampled-ce`` (paper) or ``ce``: softmax over all items"""
    num_negatives: int = Field(10, ge=1)
    """per row of a batch, for ``sampled-ce`` (paper: 10)"""
    fit: FitConfig = FitConfig(learning_rate=1e-3, batch_size=128, epochs=100, patience=5)
    """training (paper: Adam, 0.001, batches of 128)"""


class ComiRec(Backbone):
    """K interests per history over one item table; score = the best interest's dot product."""

    Config = ComiRecConfig
    sampling = "sequences"
    dot_product = False

    def __init__(self, config: ComiRecConfig, train: Interactions) -> None:
        super().__init__(config, train)
        dim, interests, length = config.embedding_dim, config.num_interests, config.max_history
        self.items = nn.Parameter(torch.empty(train.num_items, dim).normal_(std=dim**-0.5))
        if config.extraction == "dr":
            places = 1 if config.maps == "interest" else length
            self.maps = nn.Parameter(torch.empty(places, interests, dim, dim).normal_(std=dim**-0.5))
        else:
            self.positions = nn.Parameter(torch.empty(length, dim).normal_(std=dim**-0.5))
            self.hidden = nn.Linear(dim, config.attention_factor * dim, bias=False)
            self.attention = nn.Linear(config.attention_factor * dim, interests, bias=False)

    def batches(self, train: Interactions, fit: FitConfig) -> Callable[[int, np.random.Generator], Iterator[Batch]]:
        """Every event but a user's first as a target, with the events before it."""
        num = self.config.num_negatives if self.config.loss == "sampled-ce" else 0
        source = Negatives(train) if num else None

        def make(epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
            return last_position_batches(
                train, self.config.max_history, fit.batch_size, generator,
                negatives=source, num_negatives=num, all_positions=True,
            )  # fmt: skip

        return make

    def extended(self, added: AddedItems) -> ComiRec | None:
        """An item without an event is its input, in histories too."""
        return self.with_inputs(added)

    def input_embeddings(self) -> Embeddings:
        """The item embeddings; there is no user table."""
        return Embeddings(None, self.items)

    def encode(self, inputs: Embeddings, batch: Batch) -> Encoded:
        """The best interest of each target of the batch; all (B, K, D) interests in ``private``."""
        if batch.histories is None:
            raise ConfigError("comirec needs batches with histories: use last_position_batches")
        interests = self.interests(inputs.items, batch.histories)
        targets = batch.positives if batch.positives.dim() == 1 else batch.positives[:, -1]
        goal = functional.embedding(targets.clamp(min=0), inputs.items)
        return Encoded(inputs, fitting(interests, goal), interests)

    def losses(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        """Softmax of the chosen interest's scores, over all items or over the batch's negatives."""
        table, targets = encoded.tables.items, batch.positives
        if targets.dim() != 1:
            raise ConfigError("comirec needs one target per row: use last_position_batches")
        if self.config.loss == "ce":
            return {"ce": losses.full_softmax(encoded.query, table, targets)}
        if batch.negatives is None:
            raise ConfigError("comirec with loss 'sampled-ce' needs negatives in its batches")
        drawn = batch.negatives.reshape(-1)
        positive = (encoded.query * functional.embedding(targets, table)).sum(-1)
        negative = encoded.query @ functional.embedding(drawn, table).T
        negative = negative.masked_fill(drawn[None, :] == targets[:, None], -torch.inf)  # another row's negative
        return {"sampled_ce": losses.sampled_softmax(positive, negative, self.num_items)}

    def interests(self, table: Tensor, histories: Tensor) -> Tensor:
        """(B, K, D) interests of left-padded histories (B, L); zero where a history is empty."""
        histories = histories[:, -self.config.max_history :]
        real = histories != PAD
        x = functional.dropout(functional.embedding(histories.clamp(min=0), table), self.config.dropout, self.training)
        x = x * real[..., None]
        width = x.shape[1]
        if self.config.extraction == "dr":
            maps = self.maps if len(self.maps) == 1 else self.maps[-width:]
            votes = torch.einsum("bld,lkde->blke", x, maps.expand(width, -1, -1, -1))
            return route(votes, real, self.config.routing_iterations)
        logits = self.attention(torch.tanh(self.hidden(x + self.positions[-width:])))
        return attend(x, logits, real)

    def user_embeddings(self, queries: Queries) -> Tensor:
        """(B, D) the best interest of the last item, for users who need one vector; scores do not use it."""
        out = []
        for start, interests in self._blocks(queries):
            part = queries.slice(start, start + len(interests))
            last = torch.from_numpy(part.padded(1)[:, 0]).to(interests.device)
            goal = functional.embedding(last.clamp(min=0), self.items.detach()) * (last != PAD)[:, None]
            out.append(fitting(interests, goal))
        return torch.cat(out) if out else self.items.new_zeros(0, self.items.shape[1])

    def item_embeddings(self) -> Tensor:
        """(I, D) item embeddings, whose best dot product with an interest is the score."""
        return self.items.detach()

    @torch.no_grad()
    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """The maximum over interests of their dot products with the items (see :class:`Scorer`)."""
        table = self.item_embeddings()
        width = self.num_items if items is None else np.asarray(items).shape[1]
        out = np.empty((len(queries), width), np.float32)
        for start, interests in self._blocks(queries):
            stop = start + len(interests)
            if items is None:
                best = interests[:, 0] @ table.T
                for k in range(1, interests.shape[1]):
                    torch.maximum(best, interests[:, k] @ table.T, out=best)
            else:
                indices = torch.as_tensor(np.asarray(items)[start:stop], device=table.device)
                best = torch.einsum("bkd,bcd->bkc", interests, table[indices]).amax(1)
            out[start:stop] = best.float().cpu().numpy()
        return out

    def _blocks(self, queries: Queries) -> Iterator[tuple[int, Tensor]]:
        """(first row, (b, K, D) interests) of blocks of queries; no gradient, no dropout."""
        self.at_rest()
        width = max(int(np.minimum(queries.lengths(), self.config.max_history).max(initial=0)), 1)
        for start in range(0, len(queries), QUERY_ROWS):
            padded = queries.slice(start, start + QUERY_ROWS).padded(width)
            with torch.no_grad():
                interests = self.interests(self.items, torch.from_numpy(padded).to(self.items.device))
            yield start, interests


def attend(x: Tensor, logits: Tensor, real: Tensor) -> Tensor:
    """Interests as attention-weighted sums.

    Args:
        x: (B, L, D) item vectors.
        logits: (B, L, K)
        real: (B, L) True where a row has an item.

    Returns:
        (B, K, D), zero where a row has no item.
    """
    logits = logits.masked_fill(~real[..., None], torch.finfo(logits.dtype).min)
    weights = torch.softmax(logits, dim=1) * real[..., None]
    return torch.einsum("blk,bld->bkd", weights, x)


def route(votes: Tensor, real: Tensor, iterations: int) -> Tensor:
    """Interests by dynamic routing (algorithm 1): items divide their votes among the interests that agree with them.

    As in the authors' code, gradients flow through the last iteration only.

    Args:
        votes: (B, L, K, D) vote of each item for each interest.
        real: (B, L) True where a row has an item.
        iterations: rounds, at least 1.

    Returns:
        (B, K, D), each of length below 1; zero where a row has no item.
    """
    fixed = votes.detach()
    agreement = fixed.new_zeros(fixed.shape[:3])
    for _ in range(iterations - 1):
        weights = torch.softmax(agreement, dim=2) * real[..., None]
        capsules = squash(torch.einsum("blk,blkd->bkd", weights, fixed))
        agreement = agreement + torch.einsum("blkd,bkd->blk", fixed, capsules)
    weights = torch.softmax(agreement, dim=2) * real[..., None]
    return squash(torch.einsum("blk,blkd->bkd", weights, votes))


def squash(x: Tensor) -> Tensor:
    """``|x|^2 / (1 + |x|^2) * x / |x|`` over the last axis; the zero vector stays."""
    squared = x.square().sum(-1, keepdim=True)
    return x * squared / (1 + squared) / (squared + 1e-12).sqrt()


def fitting(interests: Tensor, goal: Tensor) -> Tensor:
    """(B, D) the one of (B, K, D) interests with the highest dot product with (B, D) ``goal``."""
    best = torch.einsum("bkd,bd->bk", interests.detach(), goal.detach()).argmax(1)
    return interests[torch.arange(len(interests), device=interests.device), best]
