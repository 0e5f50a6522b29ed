"""Options of the division of events into train, valid and test, and the codes of the parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator, model_validator

from interlingua import registry
from interlingua.config import Config
from interlingua.errors import unknown

Parts = npt.NDArray[np.int8]
PARTS = ("train", "valid", "test", "unused", "shown")
"""Names of the codes 0-4. ``unused``: in no part, e.g. events after a user's only target (global time with
``targets = "next"``). ``shown``: events that a user who is in no training data has when they are asked for"""
TRAIN, VALID, TEST, UNUSED, SHOWN = range(5)


class SplitConfig(Config):
    """Options of the division of events."""

    only_with: ClassVar[Mapping[str, tuple[str, tuple[str, ...]]]] = {
        "valid": ("name", ("ratio", "global-time")),
        "test": ("name", ("ratio", "global-time", "item-cold")),
        "by": ("name", ("ratio", "item-cold")),
        "valid_from": ("name", ("global-time",)),
        "test_from": ("name", ("global-time", "item-cold")),
        "folds": ("name", ("item-cold",)),
        "fold": ("name", ("item-cold",)),
        "targets": ("name", ("global-time",)),
        "events": ("name", ("cold-users",)),
        "shown": ("name", ("cold-users",)),
        "fraction": ("name", ("cold-users",)),
        "trained": ("name", ("cold-users",)),
        "users": ("name", ("few-shot",)),
    }

    name: str = "leave-one-out"
    """which split (``interlingua list splits``): ``leave-one-out``, ``ratio``, ``global-time``, ``item-cold``,
    ``cold-users``, ``few-shot``, ``given``"""
    valid: float = Field(default=0.1, ge=0, lt=1)
    """ratio, global-time: fraction of the events for validation"""
    test: float = Field(default=0.1, ge=0, lt=1)
    """ratio, global-time, item-cold by time: fraction of the events for test"""
    by: Literal["random", "time"] = "random"
    """ratio: which events of a user are held out: random ones (RLMRec's 3:1:1: valid = test = 0.2) or the last ones.
    item-cold: which items: a random fold, or those first seen at ``test_from`` or later"""
    valid_from: int | None = None
    """global-time: first second of the validation part (None: from the fraction)"""
    test_from: int | None = None
    """global-time, item-cold by time: first second of the test part (None: from the fraction)"""
    targets: Literal["all", "next"] = "all"
    """global-time: all later events of a user are targets, or only the next one"""

    folds: int = Field(default=5, ge=2)
    """item-cold: number of parts of the items"""
    fold: int = Field(default=0, ge=0)
    """item-cold: which part is held out, from 0"""

    events: int = Field(default=3, ge=1)
    """cold-users: cold users have exactly so many events, the last of which is their target (A-LLMRec: 3)"""
    shown: int | None = Field(default=None, ge=0)
    """cold-users: how many of the events before the target a model may read, the latest ones (None: all of them)"""
    fraction: float | None = Field(default=None, gt=0, lt=1)
    """cold-users: for data in which nobody has so few events: this fraction of the users, at random, of whom only the
    first ``events`` events are kept (None: the users who have no more)"""
    trained: bool = False
    """cold-users: the events before the target are trained on too, so that only few events, not new users, are
    measured"""

    users: int = Field(default=256, ge=1)
    """few-shot: number of training users; all others are tested (A-LLMRec: 256 and 128)"""

    @model_validator(mode="before")
    @classmethod
    def _plain_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("name")
    @classmethod
    def _known_name(cls, name: str) -> str:
        known = registry.names("split")
        if name not in known:
            raise ValueError(unknown("split", name, known, see="interlingua list splits"))
        return name

    @model_validator(mode="after")
    def _shares(self) -> SplitConfig:
        if self.valid + self.test >= 1:
            raise ValueError(f"valid + test must be below 1, got {self.valid} + {self.test}")
        if self.fold >= self.folds:
            raise ValueError(f"fold is one of 0 to {self.folds - 1} (folds = {self.folds}), got {self.fold}")
        if self.valid_from is not None and self.test_from is not None and self.valid_from > self.test_from:
            raise ValueError(f"valid_from ({self.valid_from}) lies after test_from ({self.test_from})")
        if self.shown is not None and self.shown >= self.events:
            raise ValueError(
                f"shown is at most {self.events - 1} (events = {self.events}, one of which is the target), "
                f"got {self.shown}"
            )
        return self
