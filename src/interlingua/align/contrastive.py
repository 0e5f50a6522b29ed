"""RLMRec-Con: a network maps texts into the backbone's space, where each user and item must be nearest to its own text.

``f = exp(cos(MLP(s), e) / T)`` in the bound on the mutual information of texts and collaborative vectors (Ren et al.,
WWW 2024, arXiv 2310.15950, eq. 7 and section 3.3.2): InfoNCE added to the backbone's own losses.

Shape key: B rows, U users, D backbone width, T text width.

**Deviations:**
- Users are contrasted with all users, items with those in the batch (positives and negatives apart), as in the authors'
  code; ``user_candidates = "batch"`` treats users like items. The paper does not say.
- Items that occur several times in a batch count as many times, as in the authors' code, but are computed once.
- The authors map all users and items in every step; here only those that a loss reads, with the same losses and
  gradients.
- Sequence models have no user table: their states are compared with user texts if there are any, else only items
  are aligned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from interlingua.align._profile_map import need_users, needed, present, profile_map, typical_length
from interlingua.config import Config, FitConfig
from interlingua.contracts.aligner import Aligner, Encode
from interlingua.contracts.batch import Batch, Embeddings, Encoded, Side
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.text import Text
from interlingua.nn.contrast import anchors_of, distinct, gather, infonce


class ContrastiveConfig(Config):
    """Options of :class:`Contrastive`."""

    weight: float = Field(0.01, ge=0)
    """of the alignment loss (the authors' ``kd_weight``: 1e-2, 1e-3 on Steam's LightGCN)"""
    temperature: float = Field(0.2, gt=0)
    """T (the authors: 0.1 to 1)"""
    user_candidates: Literal["all", "batch"] = "all"
    """candidates of a user: all users (the authors), or those in the batch (cheaper, but another loss)"""
    contrast_anchors: int | None = Field(None, ge=1)
    """at most so many random positions of a batch's users, positives and negatives are compared with their candidates:
    the same loss in expectation, in a fraction of the time (None: all, exact)"""
    negatives: bool = True
    """the batch's negative items are aligned too (the authors; not for AutoCF)"""
    fit: FitConfig | None = None
    """training; None: the backbone's own"""


ReadVectors = Callable[[Side, Tensor], Tensor]


def unchanged(side: Side, vectors: Tensor) -> Tensor:
    """The vectors themselves."""
    return vectors


class Contrastive(Aligner):
    """InfoNCE between the backbone's vectors and mapped texts."""

    Config: ClassVar[type[ContrastiveConfig]] = ContrastiveConfig
    reads = frozenset({"text.items", "text.user_table"})
    keeps_space = True

    @classmethod
    def makes(cls, config: Any) -> frozenset[str]:
        """See :class:`interlingua.contracts.component.Component`."""
        return super().makes(config) | {"items_from_text"}

    def __init__(self, config: ContrastiveConfig, backbone_dim: int, text_dim: int) -> None:
        super().__init__(config, backbone_dim, text_dim)
        self.map = profile_map(text_dim, backbone_dim)

    def forward(
        self, encode: Encode, inputs: Embeddings, text: Text | None, batch: Batch
    ) -> tuple[Encoded, dict[str, Tensor]]:
        """The encoded batch, and ``align``: the sum of the user, positive and negative terms times the weight."""
        source = needed(text, "contrastive")
        encoded = encode(inputs, batch)
        return encoded, {"align": self.config.weight * self.contrasts(encoded, batch, source, self.map)}

    def contrasts(
        self, encoded: Encoded, batch: Batch, text: Text, mapping: nn.Module, read: ReadVectors = unchanged
    ) -> Tensor:
        """The sum of the user, positive and negative terms, a scalar.

        Args:
            encoded: the batch by the backbone.
            batch: (B,) users and positives, negatives of any shape.
            text: texts of items, and of users where the backbone has a user table.
            mapping: from texts (m, T) to (m, D).
            read: what of a side's vectors (n, D) is compared with the mapped texts.
        """
        terms = []
        if encoded.tables.users is not None:
            need_users(text, "contrastive")
            terms.append(self.side_loss(encoded.tables.users, text, mapping, "users", batch.users, read))
        elif text.has_users and encoded.query.ndim == 2:
            texts = mapping(text.rows("users", batch.users))
            terms.append(infonce(read("users", encoded.query), texts, temperature=self.config.temperature))
        items = encoded.tables.items
        terms += [self.side_loss(items, text, mapping, "items", each, read) for each in self.aligned_items(batch)]
        return torch.stack(terms).sum()

    def aligned_items(self, batch: Batch) -> list[Tensor]:
        """Items of a batch, one tensor for each term of the loss: the positives, and the negatives if they count."""
        negatives = [present(batch.negatives)] if self.config.negatives and batch.negatives is not None else []
        return [present(batch.positives), *negatives]

    def side_loss(
        self, table: Tensor, text: Text, mapping: nn.Module, side: Side, indices: Tensor, read: ReadVectors
    ) -> Tensor:
        """InfoNCE of the given rows, each distinct one computed once and counted as often as it occurs.

        Args:
            table: (n, D) all vectors of the side.
            text: its texts.
            mapping: from texts (m, T) to (m, D).
            side: users or items.
            indices: (B,) rows as they occur in the batch.
            read: see :meth:`contrasts`; only of rows that are anchors.
        """
        nodes, weights = anchors_of(indices, self.config.contrast_anchors)
        anchors = read(side, gather(table, nodes))
        options = {"temperature": self.config.temperature, "anchor_weights": weights}
        if side == "users" and self.config.user_candidates == "all":
            mapped = mapping(text.rows(side))
            return infonce(anchors, gather(mapped, nodes), mapped, **options)
        if self.config.contrast_anchors is None:  # anchors and candidates are the same rows
            return infonce(anchors, mapping(text.rows(side, nodes)), counts=weights, **options)
        candidates, counts = distinct(indices)
        mapped = mapping(text.rows(side, candidates))
        own = gather(mapped, torch.searchsorted(candidates, nodes))  # both are sorted, and every anchor is a candidate
        return infonce(anchors, own, mapped, counts=counts, **options)

    @torch.no_grad()
    def export(self, job: Fitting) -> dict[str, Tensor]:
        """The backbone's vectors, and the items' mapped texts, scaled to the items' median length.

        The network only learns directions, so its vectors need a length.
        """
        own, mapped = super().export(job), self.map(needed(job.text, "contrastive").rows("items"))
        return own | {"items_from_text": torch.nn.functional.normalize(mapped, dim=1) * typical_length(own["items"])}
