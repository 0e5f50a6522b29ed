"""Who is ranked against what: the protocols by name.

``full`` is exact and the default. Others repeat what papers did and are named after it, or ask a question of their own;
every choice is part of the protocol id, and tables refuse to mix ids (:mod:`interlingua.evaluate.compare`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Literal

from interlingua.contracts.scorer import Scorer
from interlingua.data.split import Part, Split
from interlingua.errors import ConfigError, shown, unknown
from interlingua.retrieval.cascade import RetrieveThenRerank

STANDARD = ("recall@5", "recall@10", "recall@20", "ndcg@5", "ndcg@10", "ndcg@20", "hit@1", "hit@10", "mrr@10")


@dataclass(frozen=True)
class Protocol:
    """How targets are ranked; :func:`parse_protocol` makes one from its name."""

    name: str
    metrics: tuple[str, ...] = STANDARD
    candidates: int | None = None
    """None: the whole catalogue; N: the user's targets and N - 1 uniform items that the user has not seen"""
    masked: Literal["history", "train", "nothing"] = "history"
    """items that cannot be recommended: all that the query shows, the training items only, or none"""
    ties: Literal["row", "expected"] = "row"
    """equal scores: the lower item row first, or the expectation over all orders"""
    among: Literal["all", "cold"] = "all"
    """``cold``: only items without a training event are targets and rivals"""

    def id(self, split: Split, part: Part, seed: int, users: str = "") -> str:
        """The string that goes with every number."""
        parts = [
            self.name.removesuffix("+expected"),
            f"split={split.protocol}",
            f"part={part}",
            f"masked={self.masked}",
        ]
        if self.candidates is not None:
            parts += [f"negatives={self.candidates - 1}-uniform-unseen", f"seed={seed}"]
        if self.among == "cold":
            parts.append("among=items-without-training-events")
        parts.append(f"ties={self.ties}")
        return "; ".join([*parts, users] if users else parts)


PROTOCOLS = {
    "full": Protocol("full"),
    "rlmrec": Protocol("rlmrec", tuple(f"{m}@{k}" for m in ("recall", "ndcg") for k in (5, 10, 20)), masked="train"),
    "full-repeat": Protocol("full-repeat", masked="nothing"),
    "cold": Protocol("cold", among="cold"),
    "hr-100": Protocol("hr-100", ("hit@100", "hit@50", "hit@10", "ndcg@10", "mrr@10")),
}
"""``full``; RLMRec (only training items masked, users with a test item); items of the history as candidates too; items
without a training event among themselves; RA-Rec (full ranking, HitRate@100)"""


def parse_protocol(name: str | Protocol) -> Protocol:
    """``full``, ``full-repeat``, ``cold``, ``rlmrec``, ``hr-100`` or ``sampled-N`` (N candidates; A-LLMRec: 20).

    ``+expected`` at the end (``full+expected``) asks for the expectation over ties.

    Raises:
        ConfigError: no such protocol.
    """
    if isinstance(name, Protocol):
        return name
    if not isinstance(name, str):
        raise ConfigError(f"a protocol is a name or a Protocol, got {shown(name)}")
    plain = name.removesuffix("+expected")
    sampled = re.fullmatch(r"sampled-(\d+)", plain)
    if sampled is not None and int(sampled[1]) >= 2:
        n = int(sampled[1])
        wanted = [f"hit@{k}" for k in (1, 3, 5, 10)] + ["ndcg@5", "ndcg@10", f"mrr@{n}"]
        found = Protocol(plain, tuple(wanted), n)
    elif plain in PROTOCOLS:
        found = PROTOCOLS[plain]
    else:
        known = ", ".join([*PROTOCOLS, "sampled-N"])
        raise ConfigError(unknown("protocol", name, [*PROTOCOLS, "sampled-20"], "", known))
    return replace(found, name=name, ties="expected") if name != plain else found


def asked_by(scorer: Scorer, protocol: str) -> Scorer:
    """The scorer as a protocol asks it: what retrieves for a ranker must not leave out what is to be ranked."""
    if isinstance(scorer, RetrieveThenRerank) and parse_protocol(protocol).masked == "nothing":
        return scorer.with_repeats()
    return scorer
