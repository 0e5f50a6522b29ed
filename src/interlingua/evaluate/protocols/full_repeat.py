"""The protocol ``full-repeat``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from interlingua.evaluate.rules import Masked, Protocol


@dataclass(frozen=True)
class FullRepeat(Protocol):
    """Like ``full``, but items of the history are candidates too: for data in which users repeat items."""

    kind: ClassVar[str] = "protocol"
    name: str = "full-repeat"
    masked: Masked = "nothing"
