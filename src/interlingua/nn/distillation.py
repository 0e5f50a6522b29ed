"""Losses that bring one space of vectors to another's and keep both spread out, as pure functions. Each is a scalar.

Shape key: B rows, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from interlingua.nn.contrast import unit
from interlingua.nn.structure import uniformity


def unit_mse(students: Tensor, teachers: Tensor) -> Tensor:
    """Mean over all coordinates of the squared difference of unit vectors: ``(2 - 2 cos) / D``, so at most ``4 / D``.

    LLM-SRec's L_distill (arXiv 2502.13909): a sum over the coordinates would weigh D times as much.

    Args:
        students: (B, D).
        teachers: (B, D).
    """
    return functional.mse_loss(unit(students), unit(teachers))


def contrastive_distillation(students: Tensor, teachers: Tensor, temperature: float) -> Tensor:
    """InfoNCE: each (B, D) student finds its own teacher among the batch's, by cosines over a temperature."""
    logits = unit(students) @ unit(teachers).T / temperature
    return functional.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def spread(vectors: Tensor) -> Tensor:
    """Mean over pairs of (B, D) rows of ``exp(-2 |x - y|^2)`` of unit vectors: 1 where all are alike; 0 of one row.

    LLM-SRec's L_uniform; its logarithm is Wang & Isola's (:func:`interlingua.nn.structure.uniformity`).
    """
    return uniformity(vectors).exp() if len(vectors) > 1 else vectors.new_zeros(())
