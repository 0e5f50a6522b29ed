"""The protocol ``labelled``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from interlingua.evaluate.rules import Protocol


@dataclass(frozen=True)
class Labelled(Protocol):
    """No ranking: held-out events that people liked or not, told apart by their scores (TALLRec, CoLLM)."""

    kind: ClassVar[str] = "protocol"
    name: str = "labelled"
    metrics: tuple[str, ...] = ("auc", "uauc", "log-loss")
    judges: frozenset[str] = frozenset({"labels"})
