"""The protocol ``hr-100``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from interlingua.evaluate.rules import Protocol


@dataclass(frozen=True)
class HR100(Protocol):
    """The protocol of RA-Rec: the whole catalogue, HitRate@100."""

    kind: ClassVar[str] = "protocol"
    name: str = "hr-100"
    metrics: tuple[str, ...] = ("hit@100", "hit@50", "hit@10", "ndcg@10", "mrr@10")
