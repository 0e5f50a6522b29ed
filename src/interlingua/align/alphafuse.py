"""AlphaFuse: ID vectors are learned only where the texts say next to nothing; the rest of an item is its text, frozen.

Hu et al., SIGIR 2025, arXiv 2504.19218. The texts' D principal directions, each divided by its standard deviation, are
an item's vector; a trainable table is added to the last of them, whose variance was least. There is no map between the
spaces, no loss of its own, and fewer weights than in the backbone alone. An item without events has no trained part: it
stands where its text puts it.

Shape key: I items, U users, D width of the backbone's inputs, T text width, N learned dimensions.

**Deviations:**
- The authors train by cosines at temperature 0.07; the backbones here have losses on dot products, so the frozen
  vectors are scaled: by the default of ``scale``, their products with a layer-normalised state are those logits.
- Directions without any variance hold zeros, and only what is learned.
- The authors' threshold on variances, their weights by popularity and their diffusion backbone are not here.
- Backbones with a user table (the paper has sequence models) learn it as ever, or treat it like the items
  (``users``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from interlingua.align._profile_map import need_users, needed
from interlingua.config import Config, FitConfig
from interlingua.contracts.aligner import Aligner, Encode
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch, Embeddings, Encoded
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.text import Text
from interlingua.errors import ConfigError
from interlingua.nn.whitening import whitening


class AlphaFuseConfig(Config):
    """Options of :class:`AlphaFuse`."""

    null_dim: int | None = Field(None, ge=1)
    """N, dimensions that are learned; None: half of D (the authors: 64 of 128)"""
    cover: bool = False
    """what is learned replaces the last dimensions of the text instead of being added to them"""
    standardise: bool = True
    """divide each direction by its standard deviation; False: principal components as they are (an ablation)"""
    init: Literal["zeros", "normal"] = "zeros"
    """of what is learned: zeros (the authors on Movies and the long-tail data), or like the texts (Toys, Sports)"""
    scale: float = Field(0.2, gt=0)
    """root mean square of the frozen vectors (the authors: 1, with cosines). The smaller, the faster what is learned
    counts: with dot products 1 is too much"""
    users: Literal["ids", "texts"] = "ids"
    """backbones with a user table: it is learned as without texts, or made like the items, on their axes"""
    fit: FitConfig | None = None
    """training; None: the backbone's own"""


class AlphaFuse(Aligner):
    """The backbone's inputs are whitened texts, plus what is learned in their last dimensions."""

    Config = AlphaFuseConfig
    trains_backbone = True
    makes_inputs = True
    picks_dimensions = True

    mean: Tensor
    axes: Tensor
    item_texts: Tensor
    user_texts: Tensor | None
    learned: Tensor

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        """See :class:`interlingua.contracts.component.Component`."""
        own = {"text.table"} | ({"text.user_table"} if config.users == "texts" else set())
        return super().needs(config) | own

    def __init__(self, config: AlphaFuseConfig, backbone_dim: int, text_dim: int) -> None:
        super().__init__(config, backbone_dim, text_dim)
        self.null_dim = backbone_dim // 2 if config.null_dim is None else config.null_dim
        if not 0 < self.null_dim <= backbone_dim:
            raise ConfigError(
                f"align.null_dim = {self.null_dim}, but a vector of the backbone has {backbone_dim} dimensions; "
                "give at most as many, or leave it out: half of them"
            )
        self.items = nn.Parameter(torch.zeros(0, self.null_dim))
        self.users: nn.Parameter | None = None
        self.register_buffer("mean", torch.zeros(text_dim))
        self.register_buffer("axes", torch.zeros(text_dim, backbone_dim))
        self.register_buffer("item_texts", torch.zeros(0, backbone_dim), persistent=False)
        self.register_buffer("user_texts", None, persistent=False)
        self.register_buffer("learned", torch.zeros(0, 1), persistent=False)

    def start(self, backbone: Backbone, text: Text | None) -> None:
        """Whitens the texts and makes the tables that are learned; the backbone's own are no longer read."""
        source, inputs = needed(text, "alphafuse"), backbone.input_embeddings()
        self._fit_axes(source.rows("items"))
        inputs.items.requires_grad_(False)
        self.item_texts = self._of(source.rows("items"))
        self.items = self._first(len(self.item_texts))
        self.learned = torch.ones(len(self.item_texts), 1)
        if inputs.users is not None and self.config.users == "texts":
            need_users(source, "alphafuse")
            inputs.users.requires_grad_(False)
            self.user_texts = self._of(source.rows("users"))
            self.users = self._first(len(self.user_texts))

    def _fit_axes(self, items: Tensor) -> None:
        """The map (T, D) from texts to frozen vectors; it is zero where there is no direction, or none that counts."""
        width = self.axes.shape[1]
        mean, axes = whitening(items, width, standardise=self.config.standardise)
        if axes.shape[1] < width - self.null_dim:
            raise ConfigError(
                f"the aligner 'alphafuse' keeps {width - self.null_dim} directions of the texts, which have "
                f"only {axes.shape[1]} with any variance; raise align.null_dim, or choose narrower vectors"
            )
        spread = ((items.double() - mean) @ axes).square().mean().sqrt()
        axes = functional.pad(axes * self.config.scale / spread, (0, width - axes.shape[1]))
        if self.config.cover:
            axes[:, width - self.null_dim :] = 0
        self.mean, self.axes = mean.float(), axes.float()

    def _of(self, texts: Tensor) -> Tensor:
        """(n, D) frozen vectors of texts (n, T)."""
        return (texts.detach() - self.mean) @ self.axes

    def _first(self, count: int) -> nn.Parameter:
        """(n, N) what is learned, before it is."""
        first = torch.zeros(count, self.null_dim)
        return nn.Parameter(first.normal_(std=self.config.scale) if self.config.init == "normal" else first)

    def fit(self, job: Fitting) -> FitLog:
        """By gradient; items without training events keep what their texts say."""
        assert job.backbone is not None
        options = self.config.fit or job.backbone.config.fit
        self.start(job.backbone, job.text)
        self.learned = job.backbone.learned_items(job.train).float()[:, None]
        return job.by_gradient(self.batches(job.backbone, job.train, options), options)

    def inputs(self, inputs: Embeddings, text: Text | None) -> Embeddings:
        """Texts, plus what is learned in their last dimensions."""
        users = inputs.users
        if self.users is not None and self.user_texts is not None:
            users = self._fused(self.user_texts, self.users)
        return Embeddings(users, self._fused(self.item_texts, self.items * self.learned))

    def inputs_from_texts(self, text: Text, width: int) -> Tensor:
        """(n, D) items that came after training: their texts, and nothing learned."""
        return self._of(text.rows("items"))

    def _fused(self, frozen: Tensor, learned: Tensor) -> Tensor:
        return frozen + functional.pad(learned, (frozen.shape[1] - self.null_dim, 0))

    def forward(
        self, encode: Encode, inputs: Embeddings, text: Text | None, batch: Batch
    ) -> tuple[Encoded, dict[str, Tensor]]:
        """The batch encoded from the fused vectors; no loss of its own."""
        return encode(self.inputs(inputs, text), batch), {}

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        """The learned tables take the stored sizes; one of that size stays the one that an optimiser may hold."""
        for name, held in (("items", self.items), ("users", self.users)):
            stored = state_dict.get(prefix + name)
            if stored is not None and (held is None or held.shape != stored.shape):
                setattr(self, name, nn.Parameter(torch.zeros_like(stored)))
        super()._load_from_state_dict(state_dict, prefix, *args)
