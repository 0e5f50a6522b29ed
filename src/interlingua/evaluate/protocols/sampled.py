"""The protocols ``sampled-N``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from interlingua.evaluate.rules import Protocol


@dataclass(frozen=True)
class Sampled(Protocol):
    """``sampled-N``: the targets and N - 1 uniform items that the user has not seen (A-LLMRec: sampled-20)."""

    kind: ClassVar[str] = "protocol"
    numbered: ClassVar[bool] = True
    name: str = "sampled"
    judges: frozenset[str] = frozenset({"ranks", "answers"})
