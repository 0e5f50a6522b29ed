"""EASE on users and texts as rows of one matrix (collective EASE, a baseline of arXiv 2508.13500).

The Gram matrix is ``X'X + text_weight^2 F'F``; ``B = -P / diag(P)`` of its ridge inverse P, with a zero diagonal.
Scores are ``X B``.

**Deviations:** texts are vectors (paper: words as a multi-hot matrix), centred and of one scale as in ``l3ae``.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from interlingua.backbones._linear import WithTexts
from interlingua.backbones._weighted_texts import ReadTexts, TextWeights
from interlingua.contracts.fitting import Fitting
from interlingua.nn.linear_autoencoders import AddedWeights, added_collective, collective, gram_matrix


class CollectiveEaseConfig(TextWeights):
    """Options of :class:`CollectiveEase`."""

    l2: float = Field(default=300.0, gt=0)
    """ridge weight (paper: 100 to 500)"""
    text_weight: float = Field(default=4.0, ge=0)
    """weight of a row of texts relative to a user (paper: 4 to 5); text vectors have root mean square length 1"""


class CollectiveEase(WithTexts):
    """One closed form on users and texts."""

    Config = CollectiveEaseConfig
    config: CollectiveEaseConfig

    def fit_weights(self, job: Fitting, texts: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """One inverse and a product."""
        return collective(gram_matrix(job.train.matrix()), texts, self.config.l2, self.config.text_weight)

    def added_weights(self, read: ReadTexts, added: Tensor) -> AddedWeights | None:
        """By the inverse with the new items as a border."""
        config = self.config
        if self.diagonal is None:
            return None
        return added_collective(self.weights, self.diagonal, read.table, added, config.l2, config.text_weight)
