"""A protocol for a shop window with few places: what the user has had is out, and only the first places count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from interlingua.evaluate.rules import Protocol


@dataclass(frozen=True)
class Strict(Protocol):
    """The whole catalogue without the history; one and three places."""

    kind: ClassVar[str] = "protocol"
    name: str = "strict"
    metrics: tuple[str, ...] = ("hit@1", "ndcg@3")
