"""Several sources of item texts in one backbone: how much each counts, given or learned.

Shape key: I items, T text width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from pydantic import Field, field_validator
from torch import Tensor

from interlingua.config import Config
from interlingua.contracts.added import AddedItems
from interlingua.contracts.fitting import Fitting
from interlingua.errors import ConfigError
from interlingua.nn.factors import item_factors
from interlingua.nn.group_ridge import learned_weights
from interlingua.nn.linear_autoencoders import stacked, stacked_with

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

    @property
    def further(self) -> frozenset[str]:
        """Names of the sections [texts.NAME] with a weight."""
        return frozenset(self.weights) - {OWN}

    @field_validator("weights")
    @classmethod
    def _some_weight(cls, weights: dict[str, float]) -> dict[str, float]:
        for name, weight in weights.items():
            if weight < 0:
                raise ValueError(f"the weight of {name!r} must be a number of at least 0, got {weight}")
        if not any({OWN: 1.0, **weights}.values()):
            raise ValueError("leaves no source of texts: give one a weight above 0")
        return weights


def text_table(config: TextWeights, job: Fitting) -> tuple[dict[str, float], Tensor]:
    """Name -> weight of the item texts that are read, and their concatenated vectors (I, sum of T).

    Raises:
        ConfigError: a weight names texts that do not exist.
    """
    used, vectors = _sources(config, job)
    return used, stacked(vectors, list(used.values()), config.centred)


@dataclass(frozen=True)
class ReadTexts:
    """The sources that a fitted model reads."""

    weights: dict[str, float]
    """name -> weight"""
    vectors: list[Tensor]
    """(I, T) of each source"""
    table: Tensor
    """(I, sum of T), as :func:`text_table` makes it"""
    centred: bool

    def added(self, items: AddedItems) -> Tensor | None:
        """(n, sum of T) the texts of new items in the same units; None: a source has no vectors of them."""
        new = {OWN: items.text, **items.texts}
        given = [each for name in self.weights if (each := new.get(name)) is not None]
        if len(given) < len(self.weights):
            return None
        return stacked_with(self.vectors, given, list(self.weights.values()), self.centred)


def read_texts(config: TextWeights, job: Fitting) -> ReadTexts | None:
    """What a fit on ``job`` read; None: its texts are not there."""
    if job.text is None:
        return None
    used, vectors = _sources(config, job)
    return ReadTexts(used, vectors, stacked(vectors, list(used.values()), config.centred), config.centred)


def _sources(config: TextWeights, job: Fitting) -> tuple[dict[str, float], list[Tensor]]:
    """Name -> weight of what is read, and the vectors (I, T) of each."""
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
    return used, vectors
