"""The protocols ``matched-N``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from interlingua.evaluate.rules import Negatives, Protocol


@dataclass(frozen=True)
class Matched(Protocol):
    """``matched-N``: the targets and N - 1 unseen items about as popular as they are: popularity says nothing."""

    kind: ClassVar[str] = "protocol"
    numbered: ClassVar[bool] = True
    name: str = "matched"
    negatives: Negatives = "matched"
    ties: Literal["row", "expected"] = "expected"
    judges: frozenset[str] = frozenset({"ranks", "answers"})
