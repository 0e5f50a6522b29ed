"""Contrast of two views of the graph, for self-supervised graph models: options and loss.

Shape key: U users, I items, B rows of a batch, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field, PositiveInt, field_validator
from torch import Tensor

from interlingua.backbones.lightgcn import LightGcnConfig
from interlingua.contracts.batch import Batch, Embeddings
from interlingua.nn.contrast import anchors_of, distinct, gather, infonce


class ViewsConfig(LightGcnConfig):
    """Options that SGL and SimGCL share."""

    cl_weight: float = Field(0.1, ge=0)
    """weight of the contrastive loss"""
    temperature: float = Field(0.2, gt=0)
    """of the contrastive loss"""
    contrast: Literal["all", "batch"] | PositiveInt = "all"
    """candidates for a node's other view: every node of its side, those of the batch, or this number of random nodes of
    its side (and itself)"""
    repeats: bool = False
    """a user or item that occurs several times in the batch counts as many times (RLMRec's code), or once (papers)"""
    contrast_negatives: bool = False
    """the batch's sampled negatives are contrasted too (RLMRec's SGL)"""
    contrast_anchors: int | None = Field(None, ge=1)
    """at most this number of random users, and items, of a batch are contrasted: the same loss in expectation,
    in a fraction of the time (None: all)"""

    @field_validator("keep_rate")
    @classmethod
    def _whole_graph(cls, value: float) -> float:
        if value != 1.0:
            raise ValueError("only views are thinned here, never the graph itself: leave keep_rate out")
        return value


@dataclass(frozen=True)
class Views:
    """The inputs and the two views of one step of a self-supervised graph model."""

    inputs: Embeddings
    """the inputs"""
    first: Embeddings
    """final vectors of one view"""
    second: Embeddings
    """final vectors of the other"""


def view_loss(first: Embeddings, second: Embeddings, batch: Batch, config: ViewsConfig) -> Tensor:
    """InfoNCE between two views, users plus items, weighted (Wu et al. 2021, arXiv 2010.10783, eq. 10).

    With ``repeats`` the sum runs over the batch's rows and is divided by B, otherwise over its distinct users and items
    and is divided by their numbers. Either way each distinct node is computed once.

    Args:
        first: users (U, D), items (I, D): the anchors.
        second: the same nodes in the other view: positives and candidates.
        batch: its users, positives (and negatives) are contrasted.
        config: see :class:`ViewsConfig`.
    """
    assert first.users is not None
    assert second.users is not None
    total = _side_loss(first.users, second.users, batch.users, config)
    items = batch.positives
    if config.contrast_negatives:
        assert batch.negatives is not None
        items = torch.cat([items, batch.negatives.reshape(-1)])  # one set: an item that is both is computed once
    fraction = len(items) / max(len(batch.positives), 1) if config.repeats else 1.0
    return config.cl_weight * (total + fraction * _side_loss(first.items, second.items, items, config))


def _side_loss(first: Tensor, second: Tensor, indices: Tensor, config: ViewsConfig) -> Tensor:
    nodes, weights = anchors_of(indices, config.contrast_anchors, config.repeats)
    anchors, positives = gather(first, nodes), gather(second, nodes)
    candidates: Tensor | None = second
    counted = None
    if config.contrast == "batch" and config.contrast_anchors is None:
        candidates, counted = None, weights  # the positives themselves
    elif config.contrast == "batch":
        distinct_indices, counts = distinct(indices)
        candidates, counted = gather(second, distinct_indices), counts if config.repeats else None
    elif config.contrast != "all":
        drawn = torch.randint(len(second), (int(config.contrast),), device=second.device)
        # a sample stands for the whole side; the anchor's own other view is always among the candidates
        candidates = torch.cat([gather(second, drawn), positives])
    return infonce(
        anchors, positives, candidates, temperature=config.temperature, anchor_weights=weights, counts=counted
    )
