"""Measuring a scorer: :func:`evaluate` is the only place where the test part is opened.

A protocol decides what is ranked against what (:mod:`interlingua.evaluate.rules`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from hashlib import blake2b
from typing import Literal

import numpy as np

from interlingua.contracts.scorer import Scorer
from interlingua.data.interactions import Ids
from interlingua.data.queries import IntArray, Queries
from interlingua.data.repeats import MANY, in_history, repeat_share
from interlingua.data.split import GroundTruth, Part, Split
from interlingua.errors import ConfigError, DataError, unknown
from interlingua.evaluate.accuracy import Ranks
from interlingua.evaluate.candidates import subset
from interlingua.evaluate.cold import cold_targets
from interlingua.evaluate.intervals import RESAMPLES, intervals
from interlingua.evaluate.judged import ItemFacts, Judged
from interlingua.evaluate.judging import judge_pairs, judge_ranks
from interlingua.evaluate.named import check_facts, compute, mean, measure, notes_of, parse, reads
from interlingua.evaluate.result import Report, SliceResult
from interlingua.evaluate.rules import Protocol, parse_protocol
from interlingua.evaluate.slices import Slice, SliceOptions, make_slices, repeat_slices
from interlingua.evaluate.together import intervals_together
from interlingua.evaluate.variants import varied
from interlingua.progress import say
from interlingua.retrieval.positions import NEVER

SAMPLED_WARNING = (
    "sampled candidates: such numbers can order methods differently from a full ranking, even in expectation "
    "(Krichene & Rendle, KDD 2020); compare them only within this protocol, and read the full ranking beside them"
)


def evaluate(
    scorer: Scorer,
    split: Split,
    part: Part = "test",
    *,
    protocol: str | Protocol = "full",
    metrics: Sequence[str] | None = None,
    max_users: int | None = None,
    batch_users: int | None = None,
    depth: int | None = None,
    seed: int = 0,
    slices: SliceOptions | Literal[False] | None = None,
    facts: ItemFacts | None = None,
    resamples: int = RESAMPLES,
    label: str | None = None,
) -> Report:
    """Ranks every held-out item and measures the ranks, one block of users at a time (about 64 MB of scores).

    Args:
        scorer: the scorer to measure (:class:`Scorer`).
        split: train, valid and test parts.
        part: ``test`` opens the sealed part; everything that makes decisions uses ``valid``.
        protocol: a name (:func:`parse_protocol`) or a protocol.
        metrics: ``name@k``, instead of the protocol's own (``interlingua list metrics``).
        max_users: a random subset by (seed, user id); part of the protocol id.
        batch_users: users per block.
        depth: last position that is ranked exactly; deeper ones are :data:`metrics.BEYOND`. At least, and by default,
            the largest k of the metrics, which is several times faster than all positions (``scorer.num_items``).
        seed: of sampled candidates and user subsets (not of training: all compared methods use the same).
        slices: borders of the slices; False: no slices. Slices have only metrics of ranks.
        facts: categories and vectors of items, for the metrics that need them.
        resamples: of the bootstrap; 0: no intervals.
        label: of the progress bar.

    Returns:
        The report. A target listed twice counts once; one that is masked as seen counts as never recommended.

    Raises:
        ConfigError: unknown protocol or metric.
        DataError: there is no user to evaluate, or scores cannot be ranked.
    """
    chosen, facts = parse_protocol(protocol), facts or ItemFacts()
    names = tuple(metrics or chosen.metrics)
    _check(scorer, split, names, chosen, facts)
    targets, queries, note = population(split, part, max_users, seed, chosen)
    started, opened = time.perf_counter(), datetime.now(UTC)
    label = label or f"evaluate {chosen.name}"
    judged = Judged(candidates=chosen.candidates, targets=targets, queries=queries, train=split.train, facts=facts)
    if "labels" in chosen.judges:
        shown = varied(queries, chosen.history, _ids(split, targets.users), seed)
        judged = replace(judged, labels=judge_pairs(scorer, split, targets, shown, batch_users, label))
    else:
        deepest = max([depth or 0, *(parse(name)[1] for name in names)])  # shallower ones would cut metrics
        length = max([0, *(parse(name)[1] for name in names if reads(name) == "lists")])
        ranks, lists, answers = judge_ranks(
            scorer, split, targets, queries, chosen, batch_users, deepest, length, seed, label
        )
        judged = replace(judged, ranks=ranks, lists=lists, answers=answers)
    seconds = time.perf_counter() - started
    marked = {} if slices is False or "ranks" not in chosen.judges else _marked(judged, split, chosen, slices)
    per_user, together = measure(judged, names)
    around = intervals(per_user, resamples=resamples) if resamples else {}
    around |= intervals_together(judged, together, resamples=resamples)
    values = {name: mean(per_user[name]) if name in per_user else together[name] for name in names}
    notes = notes_of(judged, per_user, together)
    undefined = {name: why for name, why in notes.items() if np.isnan(values[name])}
    _say_notes(notes)
    return Report(
        protocol=chosen.id(split, part, seed, note), part=part, population=_population_hash(split, targets),
        metrics=values, intervals=around,
        n_users=len(targets), n_targets=len(targets.items), seconds=seconds,
        slices=_slices(judged.ranks, marked, names, resamples),
        warnings=(*_warnings(chosen, judged, names), *(f"{k}: {v}" for k, v in notes.items()), *split.notes),
        undefined=undefined,
        opened=opened.isoformat(timespec="seconds"), users=targets.users, per_user=per_user,
        ranks=None if judged.labels is not None else judged.ranks,
        target_items=targets.items, masks={name: each.targets for name, each in marked.items()},
    )  # fmt: skip


def _marked(judged: Judged, split: Split, chosen: Protocol, slices: SliceOptions | None) -> dict[str, Slice]:
    """The slices of the targets."""
    targets, queries = judged.targets, judged.queries
    assert targets is not None
    assert queries is not None
    lengths = queries.lengths()[judged.ranks.owners]
    marked = make_slices(targets.items, lengths, split.train.item_counts, slices)
    if marked and chosen.masked == "nothing":
        marked |= repeat_slices(in_history(targets, queries, split.train.num_items))
    return marked


def validation_metrics(scorer: Scorer, split: Split, *, max_users: int | None = None) -> dict[str, float]:
    """Full-ranking metrics on the validation part for early stopping, without intervals and slices.

    If users often repeat items (a tenth of the validation items, see :mod:`interlingua.data.repeats`), items of the
    history are candidates too.
    """
    chosen = "full-repeat" if repeat_share(split, "valid") >= MANY else "full"
    report = evaluate(
        scorer, split, "valid", protocol=chosen, max_users=max_users, slices=False, resamples=0, label="validate"
    )
    return report.metrics


def _check(scorer: Scorer, split: Split, names: Sequence[str], protocol: Protocol, facts: ItemFacts) -> None:
    """Raises the errors that need no scores."""
    if not isinstance(scorer, Scorer):
        raise ConfigError(
            f"a {type(scorer).__name__} is no Scorer: derive its class from interlingua.contracts.scorer.Scorer, with "
            "num_items and score(queries, items=None); the rest has answers there"
        )
    for name in names:
        metric, _ = parse(name)
        if metric.reads not in protocol.judges:
            raise ConfigError(
                f"metric {name!r} reads {metric.reads}, and the protocol {protocol.name!r} judges "
                f"{' and '.join(sorted(protocol.judges))} only"
            )
    check_facts(names, facts)
    if scorer.num_items != split.train.num_items:
        raise DataError(
            f"{type(scorer).__name__} scores {scorer.num_items} items, the split has {split.train.num_items}: "
            "they were not made from the same data"
        )


def population(
    split: Split, part: Part, max_users: int | None, seed: int, protocol: Protocol
) -> tuple[GroundTruth, Queries, str]:
    """Users with at least one target (each counted once), their queries, and the note for the protocol id."""
    if part not in ("valid", "test"):
        raise ConfigError(unknown("part", part, ["valid", "test"]))
    if "labels" in protocol.judges:
        targets = split.pairs(part)
        queries = split.queries_of(targets.users, part)
    else:
        targets, queries = split.targets(part).distinct(), split.queries(part)
    if protocol.among == "cold":
        targets = cold_targets(targets, split.train.item_counts, part)
    if protocol.order:
        queries = replace(queries, order=protocol.order)
    indices = np.flatnonzero(np.diff(targets.offsets))
    note = ""
    if max_users is not None and max_users < len(indices):
        if max_users < 1:
            raise ConfigError(f"max_users must be at least 1; got {max_users}")
        chosen = subset(_ids(split, targets.users[indices]), max_users, seed)
        note = f"users={max_users} of {len(indices)} by seed {seed}"
        indices = indices[chosen]
    if not len(indices):
        raise DataError(f"the {part} part holds no user with a held-out item: nothing to evaluate")
    if len(indices) < len(targets):
        targets, queries = targets.take(indices), queries.take(indices)
    return targets, queries, note


def _ids(split: Split, users: IntArray) -> Ids:
    return split.train.user_ids[users]


def _population_hash(split: Split, targets: GroundTruth) -> str:
    """Hash of the population by external ids, so that two runs on the same data agree."""
    digest = blake2b(digest_size=8)
    digest.update("\0".join(map(str, _ids(split, targets.users))).encode())
    digest.update("\0".join(map(str, split.train.item_ids[targets.items])).encode())
    digest.update(np.asarray(targets.offsets, "<i8").tobytes())
    digest.update(str(split.train.num_items).encode())
    return digest.hexdigest()


def _slices(ranks: Ranks, marked: Mapping[str, Slice], names: Sequence[str], resamples: int) -> dict[str, SliceResult]:
    out = {}
    for name, each in marked.items():
        part, _ = ranks.keep(each.targets)
        values = compute(part, names)
        out[name] = SliceResult(
            each.definition,
            len(part),
            int(each.targets.sum()),
            {metric: mean(v) for metric, v in values.items()},
            intervals(values, resamples=resamples) if resamples else {},
        )
    return out


def _warnings(protocol: Protocol, judged: Judged, names: Sequence[str]) -> tuple[str, ...]:
    found, ranks = [], judged.ranks
    for name in names:
        if "vectors" in parse(name)[0].needs:
            whose = judged.facts.vectors_of or "the vectors that were given"
            found.append(f"{name} is measured in {whose}: compare it only where those are the same")
    if protocol.candidates is not None:
        found.append(SAMPLED_WARNING)
        _say_once(f"warning: {protocol.name}: {SAMPLED_WARNING}")
    never = int((ranks.first == NEVER).sum())
    if never:
        found.append(
            f"{never} of {len(ranks.first)} targets are items that the user's masked history already holds: they count "
            "as never recommended"
        )
    return tuple(found)


def _say_notes(notes: Mapping[str, str]) -> None:
    for name, text in notes.items():
        say(f"note: {name}: {text}")


@cache
def _say_once(text: str) -> None:
    say(text)
