"""EASE: a linear item-item model with a zero diagonal, solved in closed form (Steck 2019, "Embarrassingly Shallow
Autoencoders for Sparse Data", eq. 8).

``G = X'X + l2 I``, ``P = inverse(G)``, ``B = -P / diag(P)`` column by column with a zero diagonal; scores are ``X B``.

**Deviations:** none.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from interlingua.config import Config
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import FloatArray
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.data.interactions import Interactions
from interlingua.data.queries import IntArray, Queries
from interlingua.errors import DataError
from interlingua.nn.blockwise import seconds_of_inverse
from interlingua.nn.histories import history_matrix, pick, weighted_sum
from interlingua.nn.linear_autoencoders import ease_of_gram, gram_matrix

MOST_ITEMS = 40_000
"""beyond this the (I, I) weights alone exceed 6 GB"""


class EaseConfig(Config):
    """Options of :class:`Ease`."""

    l2: float = Field(default=500.0, gt=0)
    """ridge weight; larger for sparser data (paper: 200 to 1,000)"""


class Ease(Backbone):
    """Item-item weights ``B`` (I, I); needs I squared floats of memory and I cubed operations."""

    Config = EaseConfig
    sampling = "none"
    without_events = 0.0

    weights: Tensor

    def __init__(self, config: EaseConfig, train: Interactions) -> None:
        super().__init__(config, train)
        self.register_buffer("weights", torch.zeros(0, 0))

    def fit(self, job: Fitting) -> FitLog:
        """Inverts the item-item Gram matrix.

        Raises:
            DataError: too many items for a dense inverse.
        """
        check_size(job.train, "ease", MOST_ITEMS)
        weights = ease_of_gram(gram_matrix(job.train.matrix()), self.config.l2, "ease")
        self.weights = weights.to(self.weights.device)
        return FitLog.untrained()

    def expected_seconds(self, train: Interactions) -> float:
        """The cube of the number of items, at the measured speed of a small inverse.

        Leaves meaningless weights of the right size, so that scoring and memory can be measured.
        """
        seconds = seconds_of_inverse(train.num_items)
        if train.num_items <= MOST_ITEMS:
            self.weights = torch.ones(4, train.num_items, train.num_items)[0].clone()  # as much as the inverse holds
        return seconds

    @torch.no_grad()
    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """Rows of ``X B``."""
        history = history_matrix(queries, self.num_items)
        return pick(weighted_sum(history, self.weights).cpu().numpy(), items)


def check_size(train: Interactions, name: str, most: int) -> None:
    """Refuses more items than a dense (I, I) matrix can have.

    Raises:
        DataError: with the remedies.
    """
    if train.num_items > most:
        raise DataError(
            f"{name} keeps a dense {train.num_items:,} x {train.num_items:,} matrix, more than this machine should "
            f"hold (limit {most:,} items); use low-rank-ease or low-rank-additive-ease, or raise the minimum count of "
            "an item"
        )
