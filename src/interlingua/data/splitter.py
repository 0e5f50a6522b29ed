"""What a split is: a file in ``data/splits/`` gives every event a part."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from interlingua.data.interactions import Interactions
from interlingua.data.positions import WHY_NOT
from interlingua.data.raw import Log, TimeKind
from interlingua.data.split_options import Parts, SplitConfig
from interlingua.errors import DataError


@dataclass(frozen=True)
class Dividing:
    """What is to be divided."""

    interactions: Interactions
    """in their order"""
    config: SplitConfig
    given: Parts | None = None
    """(N,) codes that the source has"""
    kind: TimeKind = "seconds"
    """of the times"""
    times: str | None = None
    """the meaning of the times (None: by ``kind``)"""
    seed: int = 0
    log: Log = field(default_factory=lambda: Log(quiet=True))

    def needs_times(self, what: str) -> None:
        """Raises: DataError: no times that are comparable between users; the message says why."""
        if self.kind != "seconds":
            why = WHY_NOT.get(self.times or "order", WHY_NOT["order"])
            raise DataError(f"{what} needs times that are comparable between users: {why}")


@dataclass(frozen=True)
class Division:
    """The part of every event."""

    parts: Parts
    """(N,) codes of :data:`interlingua.data.split_options.PARTS`"""
    valid_known: bool = True
    """whether the validation events are in the history at test time"""
    unseen: bool = False
    """whether users who are tested are in no training data: models are told that they do not know them"""
    about: dict[str, str | int] = field(default_factory=dict)
    """for the record of the step: seed, moments"""
    unused: tuple[str, str] = ("events in no part", "another split")
    """what the unused events are, and the option that changes it"""


class Splitter:
    """One split; its options are fields of :class:`SplitConfig`."""

    kind: ClassVar[str] = "split"

    def divide(self, task: Dividing) -> Division:
        """The part of every event.

        Raises:
            DataError: the source lacks what the split needs.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method divide(task)")

    def id(self, config: SplitConfig, seed: int) -> str:
        """Its part of a protocol's id: everything that decides about who is asked for what."""
        return config.name

    def by_order(self, config: SplitConfig) -> bool:
        """Whether the order of a user's events decides what is held out."""
        return False


def last_of_each(interactions: Interactions, users: npt.NDArray[np.bool_], place: int = 1) -> npt.NDArray[np.int64]:
    """Indices of the last event (``place`` 2: the one before it) of the marked users (U,), who have so many."""
    return np.asarray(interactions.offsets[1:][users] - place, np.int64)
