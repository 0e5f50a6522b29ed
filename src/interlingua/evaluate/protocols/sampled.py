"""The protocols ``sampled-N``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from interlingua.evaluate.rules import Protocol, sampled_metrics


@dataclass(frozen=True)
class Sampled(Protocol):
    """``sampled-N``: the targets and N - 1 uniform items that the user has not seen (A-LLMRec: sampled-20)."""

    kind: ClassVar[str] = "protocol"
    numbered: ClassVar[bool] = True
    name: str = "sampled"
    judges: frozenset[str] = frozenset({"ranks", "answers"})

    @classmethod
    def of_number(cls, number: int) -> Sampled:
        """N candidates.

        Raises:
            ConfigError: N is below two, so that there is nothing to rank against.
        """
        return cls(f"sampled-{number}", sampled_metrics("sampled", number), number)
