"""Mult-VAE: a variational autoencoder of histories with a multinomial likelihood (Liang et al., WWW 2018).

"Variational Autoencoders for Collaborative Filtering", arXiv 1802.05814. A history ``x`` (0/1 over items, divided by
its length, with dropout) goes through tanh layers to the mean and variance of a latent vector; a tanh layer and one row
per item give every item's logit. Loss (eqs. 2, 7): ``-sum_i x_i log softmax_i + beta KL(q(z | x) || N(0, 1))``, where
beta rises from 0 over the first steps. Any history is scored by one pass with the mean of z; users have no table.

Shape key: B rows, L positions, n items of all histories, I items, D hidden width, K latent width.

**Deviations:**
- The authors' code sums an L2 term over the weight matrices; here that is ``fit.weight_decay``.
- Validation scores the user's whole training history, as for every other model here, instead of 80 % of users held out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from interlingua.config import Config, FitConfig
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch, Embeddings, Encoded
from interlingua.data.interactions import Interactions
from interlingua.data.queries import PAD, Queries
from interlingua.errors import ConfigError, DataError
from interlingua.nn.gaussians import Gaussian
from interlingua.nn.losses import gaussian_kl, multinomial

QUERY_ROWS = 1024
"""histories read at once when scoring"""


class MultVaeConfig(Config):
    """Options of :class:`MultVae`."""

    embedding_dim: int = Field(600, ge=1)
    """D, width of the hidden layer on either side, and of the item vectors (paper: 600)"""
    latent_dim: int = Field(200, ge=1)
    """K (paper: 200)"""
    dropout: float = Field(0.5, ge=0, lt=1)
    """on the history (paper: 0.5)"""
    normalised: bool = True
    """a history is divided by its length (paper); False: a 0/1 row as it is (DMRec's Mult-VAE)"""
    kl_weight: float = Field(0.2, ge=0)
    """beta at its end (paper: 0.2)"""
    kl_steps: int = Field(2_000, ge=0)
    """optimiser steps in which beta rises linearly from 0 to ``kl_weight`` (the authors' code: by 1 / 200,000 a step to
    0.2, so 40,000; on three million events and more)"""
    fit: FitConfig = FitConfig(learning_rate=1e-3, batch_size=500, epochs=200, patience=10)
    """training (paper: 500 users a step, 200 epochs)"""


class Bag(NamedTuple):
    """B histories as weighted sets of items, one behind the other."""

    items: Tensor
    """(n,)"""
    starts: Tensor
    """(B,) where a history begins"""
    weights: Tensor
    """(n,)"""

    def sums(self, table: Tensor) -> Tensor:
        """(B, D) weighted sums of rows of ``table`` (I, D)."""
        return functional.embedding_bag(
            self.items, table, self.starts, mode="sum", per_sample_weights=self.weights.to(table.dtype)
        )

    def totals(self) -> Tensor:
        """(B, 1) sums of the weights."""
        return self._replace(items=torch.zeros_like(self.items)).sums(self.weights.new_ones(1, 1))


class MultVae(Backbone):
    """Item logits from a latent vector that a history makes."""

    Config: ClassVar[type[MultVaeConfig]] = MultVaeConfig
    sampling = "histories"

    def __init__(self, config: MultVaeConfig, train: Interactions) -> None:
        super().__init__(config, train)
        hidden, latent = config.embedding_dim, config.latent_dim
        self.read = nn.Parameter(torch.empty(train.num_items, hidden))
        self.read_bias = nn.Parameter(torch.empty(hidden))
        self.to_latent = nn.Linear(hidden, 2 * latent)
        self.from_latent = nn.Linear(latent, hidden)
        self.items = nn.Parameter(torch.empty(train.num_items, hidden))
        self.bias = nn.Parameter(torch.empty(train.num_items))
        for matrix in (self.read, self.to_latent.weight, self.from_latent.weight, self.items):
            nn.init.xavier_uniform_(matrix)
        for vector in (self.read_bias, self.to_latent.bias, self.from_latent.bias, self.bias):
            nn.init.trunc_normal_(vector, std=0.001)

    def batches(self, train: Interactions, fit: FitConfig) -> Callable[[int, np.random.Generator], Iterator[Batch]]:
        """Rows of whole histories, which are their own targets; each batch says how many steps came before."""
        users = np.flatnonzero(train.user_counts > 0)
        if not len(users):
            raise DataError("the training part has no event: nothing to train on; filter less or hold out less")
        per_epoch = min(-(-len(users) // fit.batch_size), fit.steps_per_epoch or len(users))

        def make(epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
            order = generator.permutation(users)
            for number, start in enumerate(range(0, len(order), fit.batch_size)):
                part = order[start : start + fit.batch_size]
                queries = train.queries(part)
                histories = torch.from_numpy(queries.padded(int(queries.lengths().max())))
                step = torch.tensor(epoch * per_epoch + number)
                yield Batch(torch.from_numpy(part), histories, None, histories, step=step)

        return make

    def input_embeddings(self) -> Embeddings:
        """The item vectors of the last layer; there is no user table."""
        return Embeddings(None, self.items)

    def encode(self, inputs: Embeddings, batch: Batch) -> Encoded:
        """Vectors (B, D) of the batch's histories; :meth:`latent` in ``private``."""
        if batch.histories is None:
            raise ConfigError("mult-vae needs batches with histories")
        gaussians = self.latent(batch.histories, batch.users)
        mean, log_variance = gaussians[0]
        noise = torch.randn_like(mean) * (0.5 * log_variance).exp() if self.training else 0.0
        return Encoded(inputs, self._decode(mean + noise), gaussians)

    def losses(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        """The multinomial likelihood of the targets, and the divergence times its weight at this step."""
        targets = batch.positives if batch.positives.dim() == 2 else batch.positives[:, None]
        logits = encoded.query @ encoded.tables.items.T + self.bias
        return {
            "multinomial": multinomial(logits, self._multi_hot(targets)),
            "kl": self._weight(batch.step) * gaussian_kl(*encoded.private[0]),
        }

    def _weight(self, step: Tensor | None) -> Any:
        config = self.config
        if step is None or not config.kl_steps:
            return config.kl_weight
        return config.kl_weight * (step / config.kl_steps).clamp(max=1.0)

    def _multi_hot(self, indices: Tensor) -> Tensor:
        """(B, I) 1 where a row of ``indices`` (B, L) has the item, whatever its padding and repeats."""
        out = self.items.new_zeros(len(indices), self.num_items + 1)
        return out.scatter_(1, torch.where(indices == PAD, self.num_items, indices), 1.0)[:, :-1]

    def latent(self, histories: Tensor, users: Tensor) -> tuple[Gaussian, ...]:
        """Gaussians of the latent vector; the first is decoded, what others a subclass has only its losses read.

        Args:
            histories: (B, L) with padding anywhere; repeats count once.
            users: (B,) whose they are, negative where unknown: not read here.
        """
        return (self.of_items(self.bag(histories)),)

    def bag(self, histories: Tensor) -> Bag:
        """The distinct items of histories (B, L), with their weights after dropout."""
        ordered = histories.sort(dim=1).values
        new = ordered != PAD
        new[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
        counts = new.sum(1)
        lengths = counts.clamp(min=1).to(self.read.dtype).sqrt()
        each = 1 / lengths if self.config.normalised else torch.ones_like(lengths)
        weights = functional.dropout(each.repeat_interleave(counts), self.config.dropout, self.training)
        return Bag(ordered[new], counts.cumsum(0) - counts, weights)

    def of_items(self, bag: Bag) -> Gaussian:
        """The latent vector's Gaussian by the items' own rows."""
        hidden = torch.tanh(bag.sums(self.read) + self.read_bias)
        return Gaussian(*self.to_latent(hidden).chunk(2, dim=-1))

    def _decode(self, latent: Tensor) -> Tensor:
        return torch.tanh(self.from_latent(latent))

    @torch.no_grad()
    def user_embeddings(self, queries: Queries) -> Tensor:
        """(B, D) from the means of the histories' latent vectors."""
        self.at_rest()
        out = self.items.new_empty(len(queries), self.items.shape[1])
        for start in range(0, len(queries), QUERY_ROWS):
            part = queries.take(np.arange(start, min(start + QUERY_ROWS, len(queries))))
            histories = torch.from_numpy(part.padded(max(int(part.lengths().max()), 1))).to(out.device)
            users = torch.as_tensor(np.asarray(part.users, np.int64), device=out.device)
            out[start : start + len(part)] = self._decode(self.latent(histories, users)[0].mean)
        return out

    def item_embeddings(self) -> Tensor:
        """(I, D) rows of the last layer."""
        return self.items.detach()

    def item_bias(self) -> Tensor:
        """(I,) of the last layer."""
        return self.bias.detach()
