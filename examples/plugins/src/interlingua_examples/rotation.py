"""Texts turned into the backbone's space by a rotation (orthogonal Procrustes; Schönemann 1966)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from interlingua.contracts.aligner import Aligner
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.text import Text
from interlingua.errors import ConfigError


class Rotation(Aligner):
    """``items`` stay the backbone's; ``items_from_text`` are texts times a (T, D) matrix with orthonormal columns."""

    keeps_space = True
    closed_form = True
    turn: Tensor

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        """Vectors of items and of their texts."""
        return super().needs(config) | {"text.items"}

    @classmethod
    def makes(cls, config: Any) -> frozenset[str]:
        """Item vectors from texts alone."""
        return super().makes(config) | {"items_from_text"}

    def __init__(self, config: Any, backbone_dim: int, text_dim: int) -> None:
        super().__init__(config, backbone_dim, text_dim)
        self.register_buffer("turn", torch.zeros(text_dim, backbone_dim))

    @torch.no_grad()
    def fit(self, job: Fitting) -> FitLog:
        """The rotation that brings the texts of learned items nearest to their vectors."""
        learned = job.backbone.learned_items(job.train)
        texts, items = self._texts(job.text)[learned], job.backbone.item_embeddings()[learned]
        left, sizes, right = torch.linalg.svd(texts.T.double() @ items.double(), full_matrices=False)
        scale = sizes.sum() / texts.double().square().sum().clamp_min(1e-12)
        self.turn.copy_(scale * left @ right)
        return FitLog.untrained()

    @torch.no_grad()
    def export(self, job: Fitting) -> dict[str, Tensor]:
        """The backbone's item vectors, and beside them those of the texts."""
        return super().export(job) | {"items_from_text": self._texts(job.text) @ self.turn}

    @staticmethod
    def _texts(text: Text | None) -> Tensor:
        if text is None:
            raise ConfigError("the aligner 'rotation' turns texts: add a [text] section")
        return text.rows("items").detach().float()
