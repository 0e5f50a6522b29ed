"""A weighted sum of the members' standardised scores; the weights are learned on validation questions.

Each member's scores are shifted and scaled to mean 0 and spread 1 over the catalogue, query by query. The weights are
positive and maximise the likelihood of the validation answers under a softmax over the items that the user has not
had. Shape key: M members, B queries, I items.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor

from interlingua.config import Config
from interlingua.contracts.batch import FloatArray
from interlingua.contracts.fusion import Fusion
from interlingua.contracts.scorer import Scorer, Towers
from interlingua.data.queries import IntArray, Queries
from interlingua.errors import ConfigError
from interlingua.fuse._vectors import joined_towers

if TYPE_CHECKING:
    from interlingua.data.interactions import Interactions

BLOCK = 256
"""queries whose scores are made at once"""
CELLS = 20_000_000
"""numbers (members x questions x items) that the weights are learned from, at most: 80 MB, and thrice that in steps"""
LEAST = 50
"""questions, whatever the catalogue"""
PRIOR_WEIGHT = 1e-6
"""pull of a log-weight to 0: of two members that say the same neither is driven off"""


class SumConfig(Config):
    """Options of ``sum``."""

    weights: list[float] | None = None
    """one for each member, in their order; None: learned on the validation part"""
    max_questions: int = Field(default=2000, ge=1)
    """validation questions that the weights are learned from, drawn evenly from all"""

    @field_validator("weights")
    @classmethod
    def _not_negative(cls, weights: list[float] | None) -> list[float] | None:
        if weights is not None and (any(not weight >= 0 for weight in weights) or not any(weights)):
            raise ValueError("weights are numbers of at least 0, and one of them is above 0")
        return weights


class WeightedSum(Fusion):
    """Sums each member's standardised scores, with weights learned from validation answers."""

    Config = SumConfig
    log_weights: Tensor

    def __init__(self, config: SumConfig, members: Sequence[Scorer], train: Interactions) -> None:
        super().__init__(config, members, train)
        if config.weights is not None and len(config.weights) != len(members):
            raise ConfigError(f"fuse.weights has {len(config.weights)} numbers for {len(members)} members")
        given = torch.ones(len(members)) if config.weights is None else torch.tensor(config.weights)
        self.register_buffer("log_weights", given.log())

    def join(self, scores: FloatArray) -> FloatArray:
        """(B, I)."""
        weights = self.log_weights.exp().numpy()
        return np.asarray(np.tensordot(weights, standardised(scores), axes=1), np.float32)

    def towers(self) -> Towers | None:
        """The members' vectors, concatenated, each in its own units."""
        return joined_towers(self.members, self.log_weights.exp()[:, None].expand(-1, self.num_items))

    def calibrate(self, queries: Queries, targets: IntArray) -> None:
        """Learns the weights by Newton-like steps (L-BFGS); ``fuse.weights`` leaves nothing to learn."""
        if self.config.weights is not None or not len(queries):
            return
        most = min(self.config.max_questions, max(LEAST, CELLS // (len(self.members) * self.num_items)))
        chosen = np.unique(np.linspace(0, len(queries) - 1, most).astype(np.int64))
        queries, targets = queries.take(chosen), np.asarray(targets)[chosen]
        found = [self._of(queries.slice(at, at + BLOCK)) for at in range(0, len(queries), BLOCK)]
        scores = torch.as_tensor(np.concatenate(found, axis=1))
        answers = torch.as_tensor(np.asarray(targets, np.int64))
        for row in range(len(queries)):
            had = torch.as_tensor(np.asarray(queries.history(row), np.int64))
            scores[:, row, had[had != answers[row]]] = -1e4
        learned = torch.zeros(len(self.members), requires_grad=True)
        optimizer = torch.optim.LBFGS([learned], max_iter=50, line_search_fn="strong_wolfe")

        def loss() -> Tensor:
            optimizer.zero_grad()
            joined = torch.einsum("m,mbi->bi", learned.exp(), scores)
            value = torch.nn.functional.cross_entropy(joined, answers) + PRIOR_WEIGHT * learned.square().sum()
            value.backward()
            return value

        optimizer.step(loss)
        if not bool(torch.isfinite(learned).all()):
            raise ArithmeticError("the weights of the members ran off to infinity")
        self.log_weights.copy_(learned.detach())

    def _of(self, queries: Queries) -> FloatArray:
        return standardised(self.member_scores(queries))


def standardised(scores: FloatArray) -> FloatArray:
    """(M, B, I) with mean 0 and spread 1 over the items; equal scores everywhere become 0."""
    centred = scores - scores.mean(axis=2, keepdims=True)
    spread = centred.std(axis=2, keepdims=True)
    return np.asarray(centred / np.where(spread > 0, spread, 1.0), np.float32)
