"""The protocols ``sampled-N``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from interlingua.errors import ConfigError
from interlingua.evaluate.rules import Protocol


@dataclass(frozen=True)
class Sampled(Protocol):
    """``sampled-N``: the targets and N - 1 uniform items that the user has not seen (A-LLMRec: sampled-20)."""

    kind: ClassVar[str] = "protocol"
    numbered: ClassVar[bool] = True
    name: str = "sampled"
    judges: frozenset[str] = frozenset({"ranks"})

    @classmethod
    def of_number(cls, number: int) -> Sampled:
        """N candidates.

        Raises:
            ConfigError: N is below two, so that there is nothing to rank against.
        """
        if number < 2:
            raise ConfigError(
                f"unknown protocol 'sampled-{number}': sampled-N needs at least 2 candidates, e.g. sampled-20"
            )
        names = [*(f"hit@{k}" for k in (1, 3, 5, 10)), "ndcg@5", "ndcg@10", f"mrr@{number}"]
        return cls(f"sampled-{number}", tuple(names), number)
