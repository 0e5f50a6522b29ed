"""IRLLRec's intents: RLMRec-Con, and a second contrast between what events and what texts say a node is wanted for.

IRLLRec (SIGIR 2025, arXiv 2502.03307). A node's intent of interaction is a mixture of K learned prototypes of its side,
``softmax(e C) C^T``; its intent of language is a second text, through a network of its own. Both are contrasted as
RLMRec-Con contrasts vectors and profiles: users with all users, items with those of the batch.

Shape key: B rows, n rows of a side, D backbone width, T text width, K prototypes.

**Deviations** (RECONSTRUCTION):
- The authors propagate over edges weighted by ``(cos + 1) / 2`` of their ends' intents; here an intent is made of the
  backbone's final vector, which only graph backbones have propagated, over edges of their own weights.
- Two losses are left out: the contrast of noised intents of language with vectors (the authors' weights: 1e-7 for
  LightGCN, 5e-4 to 1e-3 for others), and the distillation of the network by its moving average (1e-7 to 2e-4).
- Without a second text (``intent``) the profiles stand for it, read by the second network.
- All deviations of :mod:`interlingua.align.contrastive`.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from interlingua.align._profile_map import needed, profile_map
from interlingua.align.contrastive import Contrastive, ContrastiveConfig
from interlingua.contracts.aligner import Encode
from interlingua.contracts.batch import Batch, Embeddings, Encoded, Side
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.text import Text
from interlingua.errors import ConfigError


class IrllrecConfig(ContrastiveConfig):
    """Options of :class:`Irllrec`."""

    intent: str | None = None
    """NAME of the section ``[texts.NAME]`` with texts of intents (``interlingua profiles --prompts intent``), as wide
    as ``[text]``; None: the texts of ``[text]``"""
    intent_weight: float = Field(0.02, ge=0)
    """of the contrast of intents (the authors: 1e-2 to 3e-2)"""
    num_intents: int = Field(128, ge=1)
    """K prototypes of each side (the authors: 128)"""


def intents_of(vectors: Tensor, prototypes: Tensor) -> Tensor:
    """(n, D) each row's mixture of the prototypes: ``softmax(e C) C^T``.

    Args:
        vectors: (n, D) e.
        prototypes: (D, K) C.
    """
    return (vectors @ prototypes).softmax(dim=1) @ prototypes.T


class Irllrec(Contrastive):
    """RLMRec-Con with intents."""

    Config = IrllrecConfig
    version = 2

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        """See :class:`interlingua.contracts.component.Component`."""
        return super().needs(config) | ({"texts"} if config.intent is not None else set())

    @classmethod
    def needs_texts(cls, config: Any) -> frozenset[str]:
        """See :class:`interlingua.contracts.component.Component`."""
        return frozenset() if config.intent is None else frozenset({config.intent})

    def __init__(self, config: IrllrecConfig, backbone_dim: int, text_dim: int) -> None:
        super().__init__(config, backbone_dim, text_dim)
        self.intent_map = profile_map(text_dim, backbone_dim)
        empty = (torch.empty(backbone_dim, config.num_intents) for _ in range(2))
        self.user_prototypes, self.item_prototypes = (nn.Parameter(nn.init.xavier_uniform_(each)) for each in empty)
        self._intents: Text | None = None
        self._text_dim = text_dim

    def fit(self, job: Fitting) -> FitLog:
        """By gradient, with the texts of intents at hand.

        Raises:
            ConfigError: they are of another width than the texts, or have no users where the backbone has.
        """
        if self.config.intent is not None:
            found, section = job.texts[self.config.intent], f"[texts.{self.config.intent}]"
            if found.dim != self._text_dim:
                raise ConfigError(
                    f"{section} has vectors of width {found.dim}, [text] of width {self._text_dim}; set reduce of the "
                    "wider one to the other's width"
                )
            if job.text is not None and job.text.has_users and not found.has_users:
                raise ConfigError(f"{section} has no vectors of users, [text] has: set its users as [text].users")
            self._intents = found
        return super().fit(job)

    def forward(
        self, encode: Encode, inputs: Embeddings, text: Text | None, batch: Batch
    ) -> tuple[Encoded, dict[str, Tensor]]:
        """See :class:`Contrastive`; and ``intents``: the same terms between intents, times their weight."""
        encoded, losses = super().forward(encode, inputs, text, batch)
        source = self._intents or needed(text, "irllrec")
        terms = self.contrasts(encoded, batch, source, self.intent_map, self.intents)
        return encoded, {**losses, "intents": self.config.intent_weight * terms}

    def intents(self, side: Side, vectors: Tensor) -> Tensor:
        """(n, D) intents of interaction of a side's vectors (n, D)."""
        return intents_of(vectors, self.user_prototypes if side == "users" else self.item_prototypes)
