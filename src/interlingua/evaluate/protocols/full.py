"""The protocol ``full``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from interlingua.evaluate.rules import Protocol


@dataclass(frozen=True)
class Full(Protocol):
    """The whole catalogue, exact; items of the history are masked. The default."""

    kind: ClassVar[str] = "protocol"
    name: str = "full"
