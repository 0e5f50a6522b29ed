"""The protocols ``popular-N``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from interlingua.evaluate.rules import Negatives, Protocol


@dataclass(frozen=True)
class Popular(Protocol):
    """``popular-N``: the targets and N - 1 unseen items drawn in proportion to their training events (BERT4Rec)."""

    kind: ClassVar[str] = "protocol"
    numbered: ClassVar[bool] = True
    name: str = "popular"
    negatives: Negatives = "popular"
    ties: Literal["row", "expected"] = "expected"
    judges: frozenset[str] = frozenset({"ranks", "answers"})
