"""EASE on interactions plus EASE on texts (a baseline of arXiv 2508.13500): the baseline of joint forms.

``B = (1 - share) B_X + share C``, with B_X of EASE and C of the same closed form on text vectors. Scores are ``X B``.

**Deviations:** texts are vectors (paper: words as a multi-hot matrix), centred and of one scale as in ``l3ae``.
"""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from interlingua.backbones._linear import WithTexts
from interlingua.backbones._weighted_texts import ReadTexts, TextWeights
from interlingua.contracts.fitting import Fitting
from interlingua.nn.linear_autoencoders import (
    AddedWeights,
    added_text_weights,
    ease_of_gram,
    gram_matrix,
    text_weights,
)


class AdditiveEaseConfig(TextWeights):
    """Options of :class:`AdditiveEase`."""

    l2: float = Field(default=300.0, gt=0)
    """ridge of EASE's weights (paper: 50 to 100)"""
    share: float = Field(default=0.5, ge=0, le=1)
    """of the texts' weights (paper: .4 to .6)"""
    text_ridge: float = Field(default=10.0, gt=0)
    """ridge of the texts' weights, for text vectors of root mean square length 1"""


class AdditiveEase(WithTexts):
    """Two closed forms, added."""

    Config = AdditiveEaseConfig
    config: AdditiveEaseConfig

    def fit_weights(self, job: Fitting, texts: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Two inverses."""
        config = self.config
        by_texts = text_weights(texts, config.text_ridge).mul_(config.share)
        by_events = ease_of_gram(gram_matrix(job.train.matrix()), config.l2, "ease").mul_(1 - config.share)
        return by_events.add_(by_texts), by_texts, None

    def added_weights(self, read: ReadTexts, added: Tensor) -> AddedWeights:
        """The texts' part: EASE gives an item without events nothing."""
        ridge = self.config.text_ridge
        return added_text_weights(self.text_inverse(read, ridge), added, ridge).times(self.config.share)
