"""The base class of closed forms that read texts: item-item weights, and the part of them from texts alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from pydantic import Field, field_validator
from torch import Tensor

from interlingua.backbones.ease import check_size
from interlingua.config import Config
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import FloatArray
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.data.interactions import Interactions
from interlingua.data.queries import IntArray, Queries
from interlingua.errors import ConfigError
from interlingua.nn.blockwise import seconds_of_inverse
from interlingua.nn.factors import item_factors
from interlingua.nn.group_ridge import learned_weights
from interlingua.nn.histories import history_matrix, pick, weighted_sum
from interlingua.nn.linear_autoencoders import stacked

MOST_ITEMS = 30_000
"""three to four (I, I) matrices of 3.6 GB each are in memory during the fit"""
FACTORS = 48
"""vectors of interactions that texts must predict, if weights are learned"""
OWN = "text"
"""name of the section [text] among the weights"""


class TextWeights(Config):
    """Options of every closed form that reads texts."""

    centred: bool = True
    """subtract the mean of each source of texts first"""
    weights: dict[str, float] = Field(default_factory=dict)
    """name -> weight of a source of texts: ``text`` for [text], NAME for [texts.NAME], which is read only if it
    is named here; [text] has weight 1 if it is not named"""
    learn_weights: bool = False
    """choose the weights of the texts that have one: those from which a ridge regression best predicts, item by item,
    the interactions' vectors of the others (leave-one-out error; the validation part is not read)"""

    @field_validator("weights")
    @classmethod
    def _some_weight(cls, weights: dict[str, float]) -> dict[str, float]:
        for name, weight in weights.items():
            if weight < 0:
                raise ValueError(f"the weight of {name!r} must be a number of at least 0, got {weight}")
        if not any({OWN: 1.0, **weights}.values()):
            raise ValueError("leaves no source of texts: give one a weight above 0")
        return weights


class WithTexts(Backbone):
    """Item-item weights ``B`` (I, I), scores ``X B``; subclasses compute them and their part from texts."""

    sampling = "none"
    needs_text = True

    weights: Tensor
    by_texts: Tensor

    def __init__(self, config: Any, train: Interactions) -> None:
        super().__init__(config, train)
        self.register_buffer("weights", torch.zeros(0, 0))
        self.register_buffer("by_texts", torch.zeros(0, 0))
        self.used: dict[str, float] = {}
        """name -> weight of the texts, after :meth:`fit`"""

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        """Needs the further texts that the weights name."""
        return super().needs(config) | ({"texts"} if cls.needs_texts(config) else set())

    @classmethod
    def needs_texts(cls, config: Any) -> frozenset[str]:
        """Names of the texts with a weight."""
        return frozenset(config.weights) - {OWN}

    def fit_weights(self, job: Fitting, texts: Tensor) -> tuple[Tensor, Tensor]:
        """The weights and their part from texts, (I, I) each; ``texts``: (I, T)."""
        raise NotImplementedError

    @torch.no_grad()
    def fit(self, job: Fitting) -> FitLog:
        """Solves for the weights.

        Raises:
            ConfigError: texts are missing.
            DataError: too many items for dense matrices.
        """
        check_size(job.train, "a closed form with texts", MOST_ITEMS)
        place = self.weights.device
        self.used, texts = text_table(self.config, job)
        self.weights, self.by_texts = (part.to(place) for part in self.fit_weights(job, texts))
        return FitLog.untrained()

    def write_extras(self, folder: Path) -> dict[str, Any]:
        """Records the weight of each source of texts."""
        return {"text_weights": self.used}

    def expected_seconds(self, train: Interactions) -> float:
        """Two to three times the cube of the number of items, at the measured speed of a small inverse."""
        seconds = 2.5 * seconds_of_inverse(train.num_items)
        if train.num_items <= MOST_ITEMS:
            both = torch.ones(4, train.num_items, train.num_items)
            self.weights, self.by_texts = both[0].clone(), both[1].clone()
        return seconds

    @torch.no_grad()
    def score(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """Rows of ``X B``."""
        return pick(weighted_sum(history_matrix(queries, self.num_items), self.weights).cpu().numpy(), items)

    @torch.no_grad()
    def score_unseen(self, queries: Queries, items: IntArray | None = None) -> FloatArray:
        """Scores of each item as if it had no events: exact, see ``drawn_to``."""
        return pick(weighted_sum(history_matrix(queries, self.num_items), self.by_texts).cpu().numpy(), items)


def text_table(config: TextWeights, job: Fitting) -> tuple[dict[str, float], Tensor]:
    """Name -> weight of the item texts that are read, and their concatenated vectors (I, sum of T).

    Raises:
        ConfigError: a weight names texts that do not exist.
    """
    if job.text is None:
        raise ConfigError("this backbone reads item texts: add a [text] section, e.g. name = 'lsa'")
    sources = {OWN: job.text, **job.texts}
    for name in config.weights:
        if name not in sources:
            raise ConfigError(f"backbone.weights names the texts {name!r}; there are {', '.join(sorted(sources))}")
    used = {name: config.weights.get(name, 1.0 if name == OWN else 0.0) for name in sources}
    used = {name: weight for name, weight in used.items() if weight > 0}
    vectors = [sources[name].rows("items").detach().float().cpu() for name in used]
    if config.learn_weights:
        train = job.train
        known = torch.as_tensor(train.item_counts > 0)
        factors = item_factors(train.matrix(), FACTORS)
        found = learned_weights([each[known] for each in vectors], factors[known])
        used = dict(zip(used, found, strict=True))
    return used, stacked(vectors, list(used.values()), config.centred)
