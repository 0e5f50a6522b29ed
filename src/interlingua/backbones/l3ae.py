"""L3AE: EASE whose weights are pulled towards item-item weights from texts (arXiv 2508.13500, CIKM 2025).

1. ``C``: EASE solved on text vectors (:func:`~interlingua.nn.linear_autoencoders.text_weights`).
2. ``B``: the weights that explain the interactions and lie near C
   (:func:`~interlingua.nn.linear_autoencoders.near_texts`); scores are ``X B``.

An item without events has its column from C alone, so it gets scores like any other.

**Deviations:** options are the whole ridge and the pull's share of it (paper: ``lambda_X``, which comes out negative in
all of its settings, and ``lambda_E``); text vectors are centred and brought to one scale (the paper takes them as they
come; an independent study found centred ones better), so that ``text_ridge`` means the same for every encoder; several
sources of texts, each with a weight (paper: one).
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from interlingua.backbones._linear import WithTexts
from interlingua.backbones._weighted_texts import ReadTexts, TextWeights
from interlingua.contracts.fitting import Fitting
from interlingua.nn.linear_autoencoders import (
    AddedWeights,
    added_near_texts,
    added_text_weights,
    gram_matrix,
    near_texts,
    text_weights,
)


class L3aeConfig(TextWeights):
    """Options of :class:`L3ae`. The paper's settings: ridge 50 to 200, pull 1 to 3, text_ridge 5 to 10."""

    l2: float = Field(default=300.0, gt=0)
    """whole ridge, ``lambda_X + lambda_E`` of the paper"""
    pull: float = Field(default=1.0, ge=0)
    """``lambda_E / (lambda_X + lambda_E)``: pull towards the texts' weights; 0 is EASE"""
    text_ridge: float = Field(default=10.0, gt=0)
    """``lambda_F``, for text vectors of root mean square length 1"""


class L3ae(WithTexts):
    """EASE near the weights of texts; items without events are scored too."""

    Config = L3aeConfig
    config: L3aeConfig

    def fit_weights(self, job: Fitting, texts: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Two inverses and a product of (I, I) matrices."""
        config = self.config
        target = text_weights(texts, config.text_ridge)
        return near_texts(gram_matrix(job.train.matrix()), target, config.l2, config.pull * config.l2)

    def added_weights(self, read: ReadTexts, added: Tensor) -> AddedWeights | None:
        """Near C of all texts, by the inverse of the fitted items."""
        config = self.config
        if self.diagonal is None:
            return None
        target = added_text_weights(self.text_inverse(read, config.text_ridge), added, config.text_ridge)
        own = self.weights - self.by_texts
        return added_near_texts(own, self.diagonal, target, config.l2, config.pull * config.l2)
