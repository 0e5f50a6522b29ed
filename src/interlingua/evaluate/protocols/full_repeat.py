"""The protocol ``full-repeat``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from interlingua.evaluate.rules import Masked, Protocol


@dataclass(frozen=True)
class FullRepeat(Protocol):
    """As ``full``, and items of the history are candidates too: for people who come back to what they had."""

    kind: ClassVar[str] = "protocol"
    name: str = "full-repeat"
    masked: Masked = "nothing"
