"""Stage 1 of A-LLMRec: one latent space for an item's collaborative vector and for its text.

Source: Kim et al., "Large Language Models meet Collaborative Filtering: An Efficient All-round LLM-based Recommender
System", KDD 2024, arXiv 2404.11343v2, section 4.1, equations 1-5; the authors' code, ``pre_train_phase1``.

Shape key: B rows, I items, D backbone width, T text width, d' latent width.

**Deviations:** from the authors' code, each an option or without effect on the objective:
- rows of a batch with the same item share one text forward pass;
- the weights of the four losses are options (the code fixes 1, 1, 0.5 and 0.2);
- the sigmoid between encoder and decoder, missing from the paper's formulas, is ``latent_activation``;
- the mean in the recommendation logit, where the paper has a dot product, is ``rec_logit``;
- the frozen backbone stays in evaluation mode; in the authors' code the training mode reaches it, and its dropout is
  noise in the users' vectors;
- negatives come from items with training events: the vector of any other item is noise, and its text would learn it.

Layers start from PyTorch's default for Linear, as in the code. The text encoder is no part of the aligner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from interlingua.config import Config, FitConfig
from interlingua.contracts.aligner import Aligner, Encode
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch, Embeddings, Encoded
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.text import Text
from interlingua.data.interactions import Interactions
from interlingua.data.queries import PAD
from interlingua.errors import ConfigError
from interlingua.training.batches import Negatives, last_position_batches

Activation = Literal["sigmoid", "none"]
MAX_HISTORY = 50
"""events of a history if the backbone sets no limit (paper: 50)"""


class AutoencoderConfig(Config):
    """Options of the aligner ``autoencoder``."""

    latent_dim: int = Field(default=128, ge=1)
    """d', width of the joint space (paper: 128)"""
    latent_activation: Activation = "sigmoid"
    """between encoder and decoder; the joint vectors are its output (authors' code: ``sigmoid``; formulas: ``none``)"""
    rec_logit: Literal["mean", "sum"] = "mean"
    """product of user and reconstructed item over the D dimensions: ``mean`` (authors' code) or ``sum`` (paper)"""
    rec_weight: float = Field(default=1.0, ge=0)
    """of the recommendation loss; 0: ablation "w/o L_rec" """
    match_weight: float = Field(default=1.0, ge=0)
    """of the matching loss between the two latents; 0: ablation "w/o L_matching" """
    recon_weight: float = Field(default=0.5, ge=0)
    """alpha, of the item reconstruction (paper: 0.5); with ``recon_text_weight`` 0: ablation "w/o reconstruction" """
    recon_text_weight: float = Field(default=0.2, ge=0)
    """beta, of the text reconstruction (code: 0.2; paper: 0.5 on Movies and Games, 0.2 on Beauty and Toys)"""
    positions: Literal["last", "all"] = "last"
    """which positions of a training history become rows: the last one (paper) or every one (``A-LLMRec_all``)"""
    negatives: Literal["trained", "all"] = "trained"
    """drawn from the items with a training event, or from all (authors' code)"""
    fit: FitConfig = FitConfig(learning_rate=1e-4, beta2=0.98, batch_size=32, epochs=10)
    """the authors' settings"""


class Autoencoder(Aligner):
    """Two autoencoders, of collaborative vectors and of text vectors, whose latents are pulled together."""

    Config = AutoencoderConfig
    reads = frozenset({"text.items"})

    @classmethod
    def makes(cls, config: Any) -> frozenset[str]:
        """See :class:`interlingua.contracts.component.Component`."""
        return super().makes(config) | {"items_from_text"}

    def __init__(self, config: AutoencoderConfig, backbone_dim: int, text_dim: int) -> None:
        super().__init__(config, backbone_dim, text_dim)
        if not any((config.rec_weight, config.match_weight, config.recon_weight, config.recon_text_weight)):
            raise ConfigError("align: all four loss weights are 0, so there is nothing to learn")
        self.item_encoder = nn.Linear(backbone_dim, config.latent_dim)
        self.item_decoder = nn.Linear(config.latent_dim, backbone_dim)
        self.text_encoder = nn.Linear(text_dim, config.latent_dim)
        self.text_decoder = nn.Linear(config.latent_dim, text_dim)

    def batches(
        self, backbone: Backbone, train: Interactions, fit: FitConfig
    ) -> Callable[[int, np.random.Generator], Iterator[Batch]]:
        """Rows with one target and one random negative: each user's last training event, or every event."""
        known, indices = trained_only(train) if self.config.negatives == "trained" else (train, None)
        source, every = Negatives(known), self.config.positions == "all"
        length = backbone.history_length(backbone.config) or MAX_HISTORY

        def make(epoch: int, generator: np.random.Generator) -> Iterator[Batch]:
            drawn = last_position_batches(
                known, length, fit.batch_size, generator, negatives=source, all_positions=every
            )
            return (_reindexed(batch, indices) for batch in drawn)

        return make

    def forward(
        self, encode: Encode, inputs: Embeddings, text: Text | None, batch: Batch
    ) -> tuple[Encoded, dict[str, Tensor]]:
        """The encoded batch and the weighted losses ``rec``, ``match``, ``item_recon``, ``text_recon`` of its items."""
        if text is None:
            raise ConfigError(
                "the aligner 'autoencoder' joins a backbone with texts: the recipe needs a [text] section"
            )
        encoded = encode(inputs, batch)
        positives, negatives = _last(batch.positives), _last(batch.negatives)
        collaborative = encoded.tables.items[torch.cat([positives, negatives])]
        vectors = text.rows("items", torch.cat([positives, negatives]))
        latent, text_latent = self.latent(collaborative), self.text_latent(vectors)
        decoded, text_decoded = self.item_decoder(latent), self.text_decoder(text_latent)
        good, bad = decoded[: len(positives)], decoded[len(positives) :]
        return encoded, self._weighted(
            {
                "rec": recommendation_loss(encoded.query, good, bad, self.config.rec_logit),
                "match": pair_mse(latent, text_latent),
                "item_recon": pair_mse(decoded, collaborative),
                "text_recon": pair_mse(text_decoded, vectors.detach()),
            }
        )

    def _weighted(self, losses: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses times their weights; one with weight 0 is left out."""
        c = self.config
        weights = {
            "rec": c.rec_weight,
            "match": c.match_weight,
            "item_recon": c.recon_weight,
            "text_recon": c.recon_text_weight,
        }
        return {name: weights[name] * value for name, value in losses.items() if weights[name]}

    def latent(self, collaborative: Tensor) -> Tensor:
        """(n, d') e: joint vectors of collaborative vectors (n, D); f_I^enc of the paper."""
        return _activate(self.item_encoder(collaborative), self.config.latent_activation)

    def text_latent(self, vectors: Tensor) -> Tensor:
        """(n, d') q: joint vectors of text vectors (n, T); f_T^enc of the paper."""
        return _activate(self.text_encoder(vectors), self.config.latent_activation)

    def to_backbone(self, latents: Tensor) -> Tensor:
        """(n, D) joint vectors back in the backbone's space, where users score them: also from a text latent."""
        return self.item_decoder(latents)

    def width(self, backbone_dim: int) -> int:
        """D'"""
        return int(self.config.latent_dim)

    @torch.no_grad()
    def export(self, job: Fitting) -> dict[str, Tensor]:
        """Joint vectors of all items: ``items`` (I, d') of the backbone, ``items_from_text`` (I, d') of the texts."""
        text = job.text
        if text is None:
            raise ConfigError(
                "the aligner 'autoencoder' joins a backbone with texts: the recipe needs a [text] section"
            )
        self.eval()
        return {"items": self.latent(job.tables["items"]), "items_from_text": self.text_latent(text.rows("items"))}


def trained_only(train: Interactions) -> tuple[Interactions, Tensor | None]:
    """The same events, numbered over items with events, and the old index of each (None: all items have events)."""
    counts = train.item_counts
    if counts.all():
        return train, None
    trained = np.flatnonzero(counts)
    position = np.cumsum(counts > 0).astype(np.int32) - 1
    return replace(train, item_ids=train.item_ids[trained], items=position[train.items]), torch.from_numpy(trained)


def _reindexed(batch: Batch, indices: Tensor | None) -> Batch:
    """The batch with item indices looked up in ``indices``; PAD stays PAD."""
    if indices is None:
        return batch
    changed = {
        name: torch.where(value == PAD, PAD, indices[value.clamp_min(0)])
        for name, value in (
            ("positives", batch.positives),
            ("negatives", batch.negatives),
            ("histories", batch.histories),
        )
        if value is not None
    }
    return replace(batch, **changed)


def recommendation_loss(query: Tensor, positive: Tensor, negative: Tensor, logit: Literal["mean", "sum"]) -> Tensor:
    """L_rec (eq. 4): binary cross-entropy of the user with the reconstructed positive and negative item, added.

    Args:
        query: (B, D) users.
        positive: (B, D) reconstructed positive items.
        negative: (B, D) reconstructed negative items.
        logit: ``sum`` of the products over D, or their ``mean``.
    """
    reduce = torch.sum if logit == "sum" else torch.mean
    good, bad = reduce(query * positive, dim=-1), reduce(query * negative, dim=-1)
    return F.softplus(-good).mean() + F.softplus(bad).mean()


def pair_mse(left: Tensor, right: Tensor) -> Tensor:
    """Mean squared error of the positives plus that of the negatives (eq. 1-3), both in one (2B, d) table."""
    return F.mse_loss(left, right) * 2


def _activate(values: Tensor, activation: Activation) -> Tensor:
    return torch.sigmoid(values) if activation == "sigmoid" else values


def _last(targets: Tensor | None) -> Tensor:
    """(B,) item indices: the last position of a batch that has a target per position."""
    if targets is None:
        raise ConfigError("the aligner 'autoencoder' needs batches with one negative per row")
    while targets.ndim > 1:
        targets = targets[:, -1]
    return targets
