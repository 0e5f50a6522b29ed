"""Weights of several sources of vectors in one regression: a separate ridge for every source.

Ridge regression on sources side by side, each divided by its spread and multiplied by a weight, is ridge regression
with a penalty per source, the inverse square of its weight (group ridge: van de Wiel et al., "Fast cross-validation for
multi-penalty ridge regression", JCGS 2021). Weights and penalty are those of the least leave-one-out error (PRESS:
Allen, Technometrics 1974), which has a closed form; no held-out data are read.

Shape key: n rows, T width of all sources together, D targets.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from interlingua.nn.decompose import eigh
from interlingua.nn.linear_autoencoders import stacked
from interlingua.progress import track

WEIGHTS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
"""weights tried for a source while the others stay fixed"""
PENALTIES = tuple(10.0**power for power in (-3, -2.5, -2, -1.5, -1, -0.5, 0, 0.5, 1, 1.5, 2))
"""in units of the mean squared singular value of the rows"""
ROUNDS = 2
"""number of passes over all sources"""


def leave_one_out_error(vectors: Tensor, targets: Tensor) -> float:
    """Mean squared error of each row's targets by a ridge regression on the other rows, at the best penalty.

    Args:
        vectors: (n, T).
        targets: (n, D).
    """
    centred, centred_targets = vectors.double() - vectors.double().mean(0), targets.double() - targets.double().mean(0)
    squared, basis = eigh(centred.T @ centred, "weights of texts")
    squared = squared.clamp_min(0)
    unit = float(squared.mean().clamp_min(1e-300))
    scores, projected = centred @ basis, basis.T @ (centred.T @ centred_targets)
    errors = []
    for penalty in PENALTIES:
        shrink = 1 / (squared + penalty * unit)
        leverage = (scores.square() * shrink).sum(1) + 1 / len(vectors)
        residual = (centred_targets - scores @ (shrink[:, None] * projected)) / (1 - leverage).clamp_min(1e-6)[:, None]
        errors.append(float(residual.square().mean()))
    return min(errors)


@torch.no_grad()
def learned_weights(sources: Sequence[Tensor], targets: Tensor) -> list[float]:
    """A weight for each source, the largest 1: coordinate by coordinate, from all equal.

    A source that does not lower the error by a thousandth gets no more than it had; equal ones stay as they are.

    Args:
        sources: (n, T) each.
        targets: (n, D) values to predict from them.
    """
    weights = [1.0] * len(sources)
    if len(sources) < 2 or len(targets) < 3:
        return weights
    best = leave_one_out_error(stacked(sources, weights, True), targets)
    for number in track([n for _ in range(ROUNDS) for n in range(len(sources))], "weights of texts"):
        for tried in WEIGHTS:
            other = [*weights[:number], tried, *weights[number + 1 :]]
            if tried == weights[number] or not any(other):
                continue
            error = leave_one_out_error(stacked(sources, other, True), targets)
            if error < best * 0.999:
                best, weights = error, other
    return [round(weight / max(weights), 6) for weight in weights]
