"""The protocol ``cold``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from interlingua.evaluate.rules import Among, Protocol


@dataclass(frozen=True)
class Cold(Protocol):
    """Items without a training event, ranked among themselves."""

    kind: ClassVar[str] = "protocol"
    name: str = "cold"
    among: Among = "cold"
