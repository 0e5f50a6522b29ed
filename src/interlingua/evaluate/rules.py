"""What a protocol is (who is ranked against what), and protocols by name.

``full`` is exact and the default. Others repeat protocols of papers, or answer other questions. Every choice is part
of the protocol id, and tables refuse to mix ids (:mod:`interlingua.evaluate.compare`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from interlingua import registry
from interlingua.contracts.scorer import Scorer
from interlingua.data.split import Part, Split
from interlingua.errors import ConfigError, shown, unknown
from interlingua.evaluate.named import parse
from interlingua.evaluate.variants import VARIANTS

STANDARD = ("recall@5", "recall@10", "recall@20", "ndcg@5", "ndcg@10", "ndcg@20", "hit@1", "hit@10", "mrr@10")


Masked = Literal["history", "train", "nothing"]
Among = Literal["all", "cold"]
Negatives = Literal["uniform", "popular", "matched"]


@dataclass(frozen=True)
class Protocol:
    """How targets are ranked; :func:`parse_protocol` makes one from its name, a file in ``protocols/`` is one."""

    kind: ClassVar[str] = "protocol"
    numbered: ClassVar[bool] = False
    """its name ends in a number: ``sampled-20``; :meth:`of_number` makes it"""

    name: str
    metrics: tuple[str, ...] = STANDARD
    candidates: int | None = None
    """None: the whole catalogue; N: the user's targets and N - 1 items that the user has not seen"""
    negatives: Negatives = "uniform"
    """how these are drawn: all alike, in proportion to their training events, or as popular as the targets"""
    masked: Masked = "history"
    """items that cannot be recommended: those of the query's history, the training items only, or none"""
    ties: Literal["row", "expected"] = "row"
    """equal scores: the lower item index first, or the expectation over all orders"""
    among: Among = "all"
    """``cold``: only items without a training event are targets and rivals"""
    history: Literal["own", "shuffled", "last", "empty"] = "own"
    """what a method is shown of a history: it in a random order, its last event, nothing; what is masked and drawn is
    the same, and of the last two the user is unknown"""
    order: int = 0
    """in which of many orders prompts list candidates"""
    judges: frozenset[str] = frozenset({"ranks", "lists"})
    """what it gives to metrics: ranks of targets, lists of the whole catalogue, labels of held-out pairs, answers among
    candidates"""

    @classmethod
    def of_number(cls, number: int) -> Protocol:
        """``NAME-N`` of a numbered protocol: N candidates, with the metrics among so few.

        Raises:
            ConfigError: N is below two, so that there is nothing to rank against.
        """
        plain = cls()  # type: ignore[call-arg]  # a numbered protocol has a name
        name, metrics = f"{plain.name}-{number}", sampled_metrics(plain.name, number)
        return replace(plain, name=name, metrics=metrics, candidates=number)

    def id(self, split: Split, part: Part, seed: int, users: str = "") -> str:
        """The id that is stored with every number."""
        parts = [
            self.name.partition("+")[0],
            f"split={split.protocol}",
            f"part={part}",
            f"masked={self.masked}",
        ]
        if self.candidates is not None:
            parts += [f"negatives={self.candidates - 1}-{self.negatives}-unseen", f"seed={seed}"]
        if self.among == "cold":
            parts.append("among=items-without-training-events")
        if self.history != "own":
            parts.append(f"history={self.history}" + (f"-seed{seed}" if self.history == "shuffled" else ""))
        if self.order:
            parts.append(f"candidates-in-order={self.order}")
        parts.append(f"ties={self.ties}")
        return "; ".join([*parts, users] if users else parts)


def parse_protocol(name: str | Protocol) -> Protocol:
    """A protocol by its name (``interlingua list protocols``), e.g. ``full``, or ``sampled-N`` (N candidates).

    Variants are written behind it (:data:`interlingua.evaluate.variants.VARIANTS`): ``full+expected`` asks for the
    expectation over ties.

    Raises:
        ConfigError: there is no such protocol or variant.
    """
    if isinstance(name, Protocol):
        return name
    if not isinstance(name, str):
        raise ConfigError(f"a protocol is a name or a Protocol, got {shown(name)}")
    plain, *variants = name.split("+")
    found = _named(plain, name)
    for each in variants:
        if not each:
            return _named(name, name)  # which says what there is
        if each not in VARIANTS:
            raise ConfigError(
                unknown("variant", each, VARIANTS, f"the protocol {name!r}", "interlingua list protocols")
            )
        found = replace(found, **VARIANTS[each].changes)
    return replace(found, name="+".join([plain, *(each for each in VARIANTS if each in variants)]))


def sampled_metrics(name: str, number: int) -> tuple[str, ...]:
    """Metrics among ``number`` candidates.

    Raises:
        ConfigError: fewer than two, so that there is nothing to rank against.
    """
    if number < 2:
        raise ConfigError(f"unknown protocol '{name}-{number}': {name}-N needs at least 2 candidates, e.g. {name}-20")
    return (*(f"hit@{k}" for k in (1, 3, 5, 10)), "ndcg@5", "ndcg@10", f"mrr@{number}")


def _named(plain: str, name: str) -> Protocol:
    known = registry.names("protocol")
    found: type[Protocol]
    if plain in known:
        found = registry.find("protocol", plain)
        if not found.numbered:
            return found()  # type: ignore[call-arg]  # a named protocol has a name
    number = re.fullmatch(r"(.+)-(\d+)", plain)
    if number is not None and number[1] in known:
        found = registry.find("protocol", number[1])
        if found.numbered:
            return found.of_number(int(number[2]))
    written = [f"{each}-N" if registry.find("protocol", each).numbered else each for each in known]
    raise ConfigError(unknown("protocol", name, [*written, "sampled-20"], "", ", ".join(written)))


def measured_under(protocol: str | Protocol, more: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(metrics it measures, metrics it cannot judge): its own metrics and those of ``more``."""
    chosen = parse_protocol(protocol)
    can = [name for name in more if parse(name)[0].reads in chosen.judges]
    return tuple(dict.fromkeys([*chosen.metrics, *can])), tuple(name for name in more if name not in can)


def check_metrics(protocols: Sequence[str], more: Sequence[str]) -> None:
    """Refuses metrics that none of the protocols can judge.

    Raises:
        ConfigError: a metric cannot be judged; the message names a protocol that could.
    """
    for name in more:
        reads = parse(name)[0].reads
        if not any(reads in parse_protocol(protocol).judges for protocol in protocols):
            add = {"labels": "labelled", "answers": "sampled-20"}.get(reads, "full")
            raise ConfigError(
                f"evaluate.metrics: {name!r} reads {reads}, which none of the protocols {', '.join(protocols)} "
                f"judges; add {add!r} to evaluate.protocols"
            )


def scorer_for(scorer: Scorer, protocol: str) -> Scorer:
    """The scorer to measure under a protocol: if nothing is masked, the retriever keeps items of the history too."""
    return scorer.with_repeats() if parse_protocol(protocol).masked == "nothing" else scorer
