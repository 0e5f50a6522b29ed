"""ProMax's SDR: what a user's vector says of all items must resemble what the user's text says of them.

Semantic distribution regularisation (ProMax, arXiv 2604.26231; the authors' repository ProRec). For the users of a
batch, ``q_u = softmax_i(cos(t_u, t_i) / T)`` over all items from whitened texts, ``p_u`` likewise from the backbone's
vectors, and ``mean_u w_u CE(q_u, p_u)`` is added to the backbone's own losses; ``w_u = clamp(1 - H(q_u) / log I, 0.1,
1)`` counts users more whose text is sure of itself. Scores are the backbone's alone: no text at serving.

Shape key: B rows, U users, I items, D backbone width, T text width.

**Deviations:**
- ``whitening = "joint"``: users' and items' texts are whitened on the same axes. The authors fit two
  (``"separate"``), whose directions and signs have nothing to do with each other, and compare across them.
- Logarithms are exact; the authors add 1e-8 to each probability.
- The authors also contrast with a second graph whose edges a language model has chosen (S2DR): not here.
- Sequence models have no user table: their last states are compared, row by row.
- More dimensions than have any variance are left out.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from interlingua.align._profile_map import need_users, needed
from interlingua.config import Config, FitConfig
from interlingua.contracts.aligner import Aligner, Encode
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch, Embeddings, Encoded
from interlingua.contracts.text import Text
from interlingua.nn.contrast import chosen, gather, unit
from interlingua.nn.soft_targets import certain_cross_entropy
from interlingua.nn.whitening import whitened


class SdrConfig(Config):
    """Options of :class:`Sdr`."""

    weight: float = Field(0.5, ge=0)
    """of the loss (the authors: 1.5 on Amazon books, 0.5 on Yelp and Steam)"""
    temperature: float = Field(0.2, gt=0)
    """T, of texts and of vectors (the authors: 0.2)"""
    whitening: Literal["joint", "separate", "none"] = "joint"
    """``joint``: one for users and items together; ``separate``: as released; ``none``: the texts as they come"""
    dim: int = Field(32, ge=1)
    """dimensions of the whitened texts (the authors: 32, as many as a vector of their backbone)"""
    floor: float = Field(0.1, ge=0, le=1)
    """least weight of a user (the authors: 0.1); 1: all users count alike"""
    contrast_anchors: int | None = Field(None, ge=1)
    """at most so many random users of a batch: the same loss in expectation, in a fraction of the time (None: all)"""
    fit: FitConfig | None = None
    """training; None: the backbone's own"""


class Sdr(Aligner):
    """A loss on the backbone's scores of all items; it has nothing to learn itself."""

    Config = SdrConfig
    reads = frozenset({"text.table", "text.users"})
    trains_backbone = True

    user_texts: Tensor
    item_texts: Tensor

    def __init__(self, config: SdrConfig, backbone_dim: int, text_dim: int) -> None:
        super().__init__(config, backbone_dim, text_dim)
        for name in ("user_texts", "item_texts"):
            self.register_buffer(name, torch.zeros(0, text_dim), persistent=False)

    def start(self, backbone: Backbone, text: Text | None) -> None:
        """Whitens the texts."""
        source = needed(text, "sdr")
        need_users(source, "sdr")
        users, items = (source.rows(side).detach() for side in ("users", "items"))
        if self.config.whitening == "joint":
            sizes = [len(users), len(items)]
            users, items = whitened(torch.cat([users, items]), self.config.dim).split(sizes)
        elif self.config.whitening == "separate":
            users, items = (whitened(each, self.config.dim) for each in (users, items))
            shared = min(users.shape[1], items.shape[1])
            users, items = users[:, :shared], items[:, :shared]
        self.user_texts, self.item_texts = unit(users), unit(items)

    def forward(
        self, encode: Encode, inputs: Embeddings, text: Text | None, batch: Batch
    ) -> tuple[Encoded, dict[str, Tensor]]:
        """The encoded batch, and ``sdr``: the weighted cross-entropy times its weight."""
        encoded = encode(inputs, batch)
        users, vectors = self._users(encoded, batch)
        loss = certain_cross_entropy(
            unit(vectors) / self.config.temperature,
            unit(encoded.tables.items),
            self.user_texts[users] / self.config.temperature,
            self.item_texts,
            self.config.floor,
        )
        return encoded, {"sdr": self.config.weight * loss}

    def _users(self, encoded: Encoded, batch: Batch) -> tuple[Tensor, Tensor]:
        """Indices (n,) and vectors (n, D): each user of the batch once, or each row of a sequence model."""
        table, limit = encoded.tables.users, self.config.contrast_anchors
        if table is None:
            some = chosen(len(batch.users), limit, batch.users.device)
            return batch.users[some], encoded.query[some]
        users = torch.unique(batch.users)
        users = users[chosen(len(users), limit, users.device)]
        return users, gather(table, users)
