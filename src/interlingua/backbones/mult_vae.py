"""Mult-VAE: a variational autoencoder of histories with a multinomial likelihood (Liang et al., WWW 2018).

"Variational Autoencoders for Collaborative Filtering", arXiv 1802.05814. A history ``x`` (0/1 over items, divided by
its length, with dropout) goes through tanh layers to the mean and variance of a latent vector; a tanh layer and one row
per item give every item's logit. Loss (eqs. 2, 7): ``-sum_i x_i log softmax_i + beta KL(q(z | x) || N(0, 1))``, where
beta rises from 0 over the first steps. Any history is scored by one pass with the mean of z; users have no table.

Shape key: B rows, L positions, I items, D hidden width, K latent width.

**Deviations:**
- The authors' code sums an L2 term over the weight matrices; here that is ``fit.weight_decay``.
- Validation scores the user's whole training history, as for every other model here, instead of 80 % of users held out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

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
    kl_weight: float = Field(0.2, ge=0)
    """beta at its end (paper: 0.2)"""
    kl_steps: int = Field(2_000, ge=0)
    """optimiser steps in which beta rises linearly from 0 to ``kl_weight`` (the authors' code: by 1 / 200,000 a step to
    0.2, so 40,000; on three million events and more)"""
    fit: FitConfig = FitConfig(learning_rate=1e-3, batch_size=500, epochs=200, patience=10)
    """training (paper: 500 users a step, 200 epochs)"""


class MultVae(Backbone):
    """Item logits from a latent vector that a history makes."""

    Config = MultVaeConfig
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
        """Vectors (B, D) of the batch's histories; mean and log variance (B, K) of the latent vector in ``private``."""
        if batch.histories is None:
            raise ConfigError("mult-vae needs batches with histories")
        mean, log_variance = self.latent(batch.histories)
        noise = torch.randn_like(mean) * (0.5 * log_variance).exp() if self.training else 0.0
        return Encoded(inputs, self._decode(mean + noise), (mean, log_variance))

    def losses(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        """The multinomial likelihood of the targets, and the divergence times its weight at this step."""
        targets = batch.positives if batch.positives.dim() == 2 else batch.positives[:, None]
        logits = encoded.query @ encoded.tables.items.T + self.bias
        return {
            "multinomial": multinomial(logits, self._multi_hot(targets)),
            "kl": self._weight(batch.step) * gaussian_kl(*encoded.private),
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

    def latent(self, histories: Tensor) -> tuple[Tensor, Tensor]:
        """(B, K) mean and log variance, given histories (B, L) with padding anywhere; repeats count once."""
        ordered = histories.sort(dim=1).values
        new = ordered != PAD
        new[:, 1:] &= ordered[:, 1:] != ordered[:, :-1]
        counts = new.sum(1)
        weights = (1 / counts.clamp(min=1).to(self.read.dtype).sqrt()).repeat_interleave(counts)
        mixed = functional.embedding_bag(
            ordered[new], self.read, counts.cumsum(0) - counts, mode="sum",
            per_sample_weights=functional.dropout(weights, self.config.dropout, self.training),
        )  # fmt: skip
        mean, log_variance = self.to_latent(torch.tanh(mixed + self.read_bias)).chunk(2, dim=-1)
        return mean, log_variance

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
            out[start : start + len(part)] = self._decode(self.latent(histories)[0])
        return out

    def item_embeddings(self) -> Tensor:
        """(I, D) rows of the last layer."""
        return self.items.detach()

    def item_bias(self) -> Tensor:
        """(I,) of the last layer."""
        return self.bias.detach()
