"""Measuring a scorer: :func:`evaluate` is the only place where the test part is opened.

What is ranked against what is the protocol's matter (:mod:`interlingua.evaluate.protocols`).
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
from interlingua.evaluate import metrics as ranking_metrics
from interlingua.evaluate.candidates import Keys, assemble, negatives, subset, user_keys
from interlingua.evaluate.cold import cold_targets, in_cold
from interlingua.evaluate.intervals import RESAMPLES, intervals
from interlingua.evaluate.metrics import Ranks
from interlingua.evaluate.protocols import Protocol, parse_protocol
from interlingua.evaluate.ranking import checked, distinct, in_candidates, in_full
from interlingua.evaluate.result import Report, SliceResult
from interlingua.evaluate.slices import Slice, SliceOptions, make_slices, repeat_slices
from interlingua.progress import say, task
from interlingua.retrieval.best import block_size
from interlingua.retrieval.positions import BEYOND, NEVER, Positions
from interlingua.retrieval.tiles import in_tiles, vectors_of
from interlingua.runtime.sorted_sets import among

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
    resamples: int = RESAMPLES,
    label: str | None = None,
) -> Report:
    """Ranks every held-out item and says how well that went, one block of users at a time (about 64 MB of scores).

    Args:
        scorer: what scores (:class:`Scorer`).
        split: train, valid and test parts.
        part: ``test`` opens the sealed part; everything that makes decisions uses ``valid``.
        protocol: a name (:func:`parse_protocol`) or a protocol.
        metrics: ``name@k``, instead of the protocol's own.
        max_users: a random subset by (seed, user id); part of the protocol id.
        batch_users: users per block.
        depth: last position that the report's ranks tell apart, deeper ones are :data:`metrics.BEYOND`; at least and by
            default the largest k of the metrics, which is several times faster than all (``scorer.num_items``).
        seed: of sampled candidates and user subsets (not of training: methods that are compared share it).
        slices: borders of slices; False: no slices.
        resamples: of the bootstrap; 0: no intervals.
        label: of the progress.

    Returns:
        The report. A target listed twice counts once; one that is masked as seen counts as never recommended.

    Raises:
        ConfigError: unknown protocol or metric.
        DataError: no user to evaluate, or scores that cannot be ranked.
    """
    chosen = parse_protocol(protocol)
    names = tuple(metrics or chosen.metrics)
    _check(scorer, split, names)
    targets, queries, note = _population(split, part, max_users, seed, chosen)
    started, opened = time.perf_counter(), datetime.now(UTC)
    deepest = max(depth or 0, *(ranking_metrics.parse(name)[1] for name in names))  # shallower ones would cut metrics
    label = label or f"evaluate {chosen.name}"
    ranks = _ranks(scorer, split, targets, queries, chosen, batch_users, deepest, seed, label)
    seconds = time.perf_counter() - started
    lengths = queries.lengths()[ranks.owners]
    marked = {} if slices is False else make_slices(targets.items, lengths, split.train.item_counts, slices)
    if marked and chosen.masked == "nothing":
        marked |= repeat_slices(in_history(targets, queries, split.train.num_items))
    per_user = ranking_metrics.compute(ranks, names)
    return Report(
        protocol=chosen.id(split, part, seed, note), part=part, population=_population_hash(split, targets),
        metrics={name: float(values.mean()) for name, values in per_user.items()},
        intervals=intervals(per_user, resamples=resamples) if resamples else {},
        n_users=len(targets), n_targets=len(targets.items), seconds=seconds,
        slices=_slices(ranks, marked, names, resamples), warnings=(*_warnings(chosen, ranks), *split.notes),
        opened=opened.isoformat(timespec="seconds"), users=targets.users, per_user=per_user, ranks=ranks,
        target_items=targets.items, masks={name: each.targets for name, each in marked.items()},
    )  # fmt: skip


def validation_metrics(scorer: Scorer, split: Split, *, max_users: int | None = None) -> dict[str, float]:
    """Full-ranking metrics on the validation part, without intervals and slices: what early stopping reads.

    Where people come back to what they had (a tenth of the validation items, see :mod:`interlingua.data.repeats`),
    items of the history are candidates too.
    """
    chosen = "full-repeat" if repeat_share(split, "valid") >= MANY else "full"
    report = evaluate(
        scorer, split, "valid", protocol=chosen, max_users=max_users, slices=False, resamples=0, label="validate"
    )
    return report.metrics


def _check(scorer: Scorer, split: Split, names: Sequence[str]) -> None:
    """Errors that need no scores."""
    for name in names:
        ranking_metrics.parse(name)
    if scorer.num_items != split.train.num_items:
        raise DataError(
            f"{type(scorer).__name__} scores {scorer.num_items} items, the split has {split.train.num_items}: "
            "they were not made from the same data"
        )


def _population(
    split: Split, part: Part, max_users: int | None, seed: int, protocol: Protocol
) -> tuple[GroundTruth, Queries, str]:
    """Users with at least one target (each counted once), their queries, and the note for the protocol id."""
    if part not in ("valid", "test"):
        raise ConfigError(unknown("part", part, ["valid", "test"]))
    targets, queries = split.targets(part).distinct(), split.queries(part)
    if protocol.among == "cold":
        targets = cold_targets(targets, split.train.item_counts, part)
    rows = np.flatnonzero(np.diff(targets.offsets))
    note = ""
    if max_users is not None and max_users < len(rows):
        if max_users < 1:
            raise ConfigError(f"max_users must be at least 1; got {max_users}")
        chosen = subset(_ids(split, targets.users[rows]), max_users, seed)
        note = f"users={max_users} of {len(rows)} by seed {seed}"
        rows = rows[chosen]
    if not len(rows):
        raise DataError(f"the {part} part holds no user with a held-out item: nothing to evaluate")
    if len(rows) < len(targets):
        targets, queries = targets.take(rows), queries.take(rows)
    return targets, queries, note


def _ids(split: Split, users: IntArray) -> Ids:
    return split.train.user_ids[users]


def _population_hash(split: Split, targets: GroundTruth) -> str:
    """Of external ids, so that two runs on the same data agree whatever made them."""
    digest = blake2b(digest_size=8)
    digest.update("\0".join(map(str, _ids(split, targets.users))).encode())
    digest.update("\0".join(map(str, split.train.item_ids[targets.items])).encode())
    digest.update(np.asarray(targets.offsets, "<i8").tobytes())
    digest.update(str(split.train.num_items).encode())
    return digest.hexdigest()


def _ranks(
    scorer: Scorer,
    split: Split,
    targets: GroundTruth,
    queries: Queries,
    protocol: Protocol,
    batch_users: int | None,
    depth: int,
    seed: int,
    label: str,
) -> Ranks:
    """Positions of all targets, block by block; those deeper than ``depth`` are not told apart."""
    items = split.train.num_items
    size = block_size(items if protocol.candidates is None else min(protocol.candidates, items), batch_users)
    keys = None if protocol.candidates is None else user_keys(_ids(split, targets.users), seed, "negatives")
    found: list[tuple[Positions, Positions]] = []
    with task(label, len(targets)) as shown:
        for start in range(0, len(targets), size):
            rows = np.arange(start, min(start + size, len(targets)))
            block, asked = targets.take(rows), queries.slice(start, start + size)
            masked = _masked(protocol, split, block, asked)
            if keys is None:
                found.append(_full_block(scorer, split, block, asked, masked, protocol, depth))
            else:
                found.append(_sampled_block(scorer, block, asked, distinct(masked), protocol, keys[rows]))
            shown.advance(len(block))
    first, last = (np.concatenate([pair[n] for pair in found]) for n in (0, 1))
    deep = (first > depth) & (first < NEVER)
    return Ranks(np.where(deep, BEYOND, first), np.where(deep, BEYOND, last), targets.offsets)


def _masked(protocol: Protocol, split: Split, block: GroundTruth, asked: Queries) -> Queries:
    """The items that cannot be recommended, as histories of the block's users."""
    if protocol.masked == "history":
        return asked
    return split.train.queries(block.users) if protocol.masked == "train" else asked.without_histories()


def _flat(block: GroundTruth) -> tuple[Positions, Positions]:
    """(T,) target items and (T,) their users' positions in the block."""
    return block.items.astype(np.int64), np.repeat(np.arange(len(block)), np.diff(block.offsets))


def _full_block(
    scorer: Scorer, split: Split, block: GroundTruth, asked: Queries, masked: Queries, protocol: Protocol, depth: int
) -> tuple[Positions, Positions]:
    """Positions of one block's targets in the whole catalogue."""
    single = len(block.items) == len(block)  # every user has a target
    if (
        single
        and protocol.among == "all"
        and protocol.ties == "row"
        and (given := vectors_of(scorer, asked)) is not None
    ):
        positions = in_tiles(*given, block.items, masked, depth)
        if positions is not None:
            return positions, positions
    scores = checked(scorer.score(asked), (len(block), scorer.num_items), scorer)
    seen, expected = distinct(masked), protocol.ties == "expected"
    if protocol.among == "cold":
        return in_cold(scores, *_flat(block), seen, split.train.item_counts, expected=expected)
    return in_full(scores, *_flat(block), seen, expected=expected)


def _sampled_block(
    scorer: Scorer, block: GroundTruth, asked: Queries, masked: Queries, protocol: Protocol, keys: Keys
) -> tuple[Positions, Positions]:
    """Positions of one block's targets among their candidates."""
    assert protocol.candidates is not None
    own = [block.of_row(b) for b in range(len(block))]
    banned = Queries.of([np.concatenate([masked.history(b), t]) for b, t in enumerate(own)])
    drawn = negatives(keys, banned.items, banned.offsets, scorer.num_items, protocol.candidates - 1)
    candidates = assemble(keys, own, drawn)
    scores = checked(scorer.score(asked, candidates.items), candidates.items.shape, scorer)
    hidden = np.repeat(np.arange(len(block)), masked.lengths()) * scorer.num_items + masked.items
    real = candidates.real & ~among(np.arange(len(block))[:, None] * scorer.num_items + candidates.items, hidden)
    wanted, owners = _flat(block)
    usable = replace(candidates, real=real)  # a target that is masked as seen competes with no one
    first, last = in_candidates(scores, usable, wanted, owners, expected=protocol.ties == "expected")
    seen = among(owners * scorer.num_items + wanted, hidden)
    return np.where(seen, NEVER, first), np.where(seen, NEVER, last)


def _slices(ranks: Ranks, marked: Mapping[str, Slice], names: Sequence[str], resamples: int) -> dict[str, SliceResult]:
    out = {}
    for name, each in marked.items():
        kept, _ = ranks.keep(each.targets)
        values = ranking_metrics.compute(kept, names)
        out[name] = SliceResult(
            each.definition,
            len(kept),
            int(each.targets.sum()),
            {metric: float(v.mean()) for metric, v in values.items()},
            intervals(values, resamples=resamples) if resamples else {},
        )
    return out


def _warnings(protocol: Protocol, ranks: Ranks) -> tuple[str, ...]:
    found = []
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


@cache
def _say_once(text: str) -> None:
    say(text)
