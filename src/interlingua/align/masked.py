"""RLMRec-Gen: a learned token replaces some nodes' inputs, and their final vectors must identify their texts.

``f = exp(cos(s, MLP(e_masked)) / T)`` (Ren et al., WWW 2024, arXiv 2310.15950, eq. 8 and section 3.3.3): InfoNCE among
the masked users and items, added to the backbone's own losses on the same masked pass.

Shape key: N nodes (users, then items), M masked nodes, D backbone width, T text width.

**Deviations:**
- The authors add 1e-8 inside both logarithms; here the log-sum-exp is exact.
- Rows are divided by ``sqrt(1e-8 + |row|^2)``, as the authors do in Con; their Gen divides by ``max(|row|, 1e-12)``.
- Sequence models cannot rebuild a node from its neighbours: items are masked in the histories only, and the last
  state must identify the text of the next item.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from interlingua.align._profile_map import need_users, needed, profile_map
from interlingua.config import Config, FitConfig
from interlingua.contracts.aligner import Aligner, Encode
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch, Embeddings, Encoded
from interlingua.contracts.text import Text
from interlingua.data.queries import PAD
from interlingua.nn.contrast import chosen, gather, infonce


class MaskedConfig(Config):
    """Options of :class:`Masked`."""

    weight: float = Field(0.1, ge=0)
    """of the reconstruction loss (the authors' ``recon_weight``: 1e-2 to 1)"""
    mask_ratio: float = Field(0.1, gt=0, lt=1)
    """fraction of all users and items that are masked in a step, at least one (the authors: 0.01 to 0.2)"""
    temperature: float = Field(0.2, gt=0)
    """T (the authors: 0.05 to 1)"""
    contrast_anchors: int | None = Field(None, ge=1)
    """at most so many random masked rows are told from the texts of all masked rows: the same loss in expectation, in a
    fraction of the time (None: all, exact)"""
    fit: FitConfig | None = None
    """training; None: the backbone's own"""


class Masked(Aligner):
    """Reconstruction of texts from masked nodes."""

    Config = MaskedConfig
    reads = frozenset({"text.items", "text.user_table"})

    def __init__(self, config: MaskedConfig, backbone_dim: int, text_dim: int) -> None:
        super().__init__(config, backbone_dim, text_dim)
        self.map = profile_map(backbone_dim, text_dim)
        self.token = nn.Parameter(torch.zeros(1, backbone_dim))

    def start(self, backbone: Backbone, text: Text | None) -> None:
        """Gives the token the width of the backbone's inputs (of one layer, if layers are concatenated)."""
        width = backbone.input_embeddings().items.shape[1]
        if width != self.token.shape[1]:
            self.token = nn.Parameter(torch.zeros(1, width, device=self.token.device))

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        stored = state_dict.get(prefix + "token")
        if stored is not None and stored.shape != self.token.shape:
            self.token = nn.Parameter(torch.zeros_like(stored))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(
        self, encode: Encode, inputs: Embeddings, text: Text | None, batch: Batch
    ) -> tuple[Encoded, dict[str, Tensor]]:
        """The batch encoded from masked inputs, and ``align``: the reconstruction loss times its weight."""
        source = needed(text, "masked")
        if inputs.users is None:
            hidden, _ = self._draw(len(inputs.items), inputs.items.device)
            encoded = encode(Embeddings(None, torch.where(hidden, self.token, inputs.items)), batch)
            encoded = replace(encoded, tables=inputs)  # what is hidden from the histories is still a candidate
            vectors, texts = self._next_text(encoded, source, batch)
        else:
            need_users(source, "masked")
            users = len(inputs.users)
            hidden, masked = self._draw(users + len(inputs.items), inputs.items.device)
            masked_users = torch.where(hidden[:users], self.token, inputs.users)
            encoded = encode(Embeddings(masked_users, torch.where(hidden[users:], self.token, inputs.items)), batch)
            assert encoded.tables.users is not None
            # by side: only the masked rows are read, never a copy of all texts
            who, what = masked[masked < users], masked[masked >= users] - users
            vectors = torch.cat([gather(encoded.tables.users, who), gather(encoded.tables.items, what)])
            texts = torch.cat([source.rows("users", who), source.rows("items", what)])
        some = chosen(len(vectors), self.config.contrast_anchors, vectors.device)
        rebuilt = self.map(gather(vectors, some))
        loss = infonce(rebuilt, texts[some], texts, temperature=self.config.temperature)
        return encoded, {"align": self.config.weight * loss}

    def _draw(self, total: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """The masked rows out of ``total``, as a (total, 1) mask and as indices (M,)."""
        indices = torch.randperm(total, device=device)[: max(int(total * self.config.mask_ratio), 1)]
        return torch.zeros(total, 1, dtype=torch.bool, device=device).index_fill_(0, indices, True), indices

    def _next_text(self, encoded: Encoded, text: Text, batch: Batch) -> tuple[Tensor, Tensor]:
        """States (n, D), and the texts (n, T) of the items that follow them."""
        targets = batch.positives if batch.positives.ndim == 1 else batch.positives[:, -1]
        real = targets != PAD
        return encoded.query[real], text.rows("items", targets[real])
