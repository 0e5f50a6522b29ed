"""The protocol ``rlmrec``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from interlingua.evaluate.rules import Masked, Protocol


@dataclass(frozen=True)
class RLMRec(Protocol):
    """The protocol of the RLMRec authors: only training items are masked; users with a test item."""

    kind: ClassVar[str] = "protocol"
    name: str = "rlmrec"
    metrics: tuple[str, ...] = tuple(f"{m}@{k}" for m in ("recall", "ndcg") for k in (5, 10, 20))
    masked: Masked = "train"
