"""Applies a protocol to a scorer, block by block of users: ranks of targets, lists, scores of labelled pairs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from interlingua.contracts.batch import FloatArray
from interlingua.contracts.scorer import Scorer
from interlingua.data.queries import Queries
from interlingua.data.split import GroundTruth, Split
from interlingua.evaluate.accuracy import Ranks
from interlingua.evaluate.candidates import Keys, SampledCandidates, assemble, negatives, user_keys
from interlingua.evaluate.cold import in_cold
from interlingua.evaluate.hard_negatives import matched, popular
from interlingua.evaluate.judged import Answers, LabelledScores
from interlingua.evaluate.ranking import checked, distinct, in_candidates, in_full
from interlingua.evaluate.rules import Protocol
from interlingua.evaluate.variants import varied
from interlingua.progress import task
from interlingua.retrieval.best import best_of_scores, block_size
from interlingua.retrieval.positions import BEYOND, NEVER, Positions
from interlingua.retrieval.tiles import in_tiles, vectors_of
from interlingua.runtime.sorted_sets import among

Lists = npt.NDArray[np.int64]
"""(M, K) item indices, best first, -1 for an empty place"""


def judge_ranks(
    scorer: Scorer,
    split: Split,
    targets: GroundTruth,
    queries: Queries,
    protocol: Protocol,
    batch_users: int | None,
    depth: int,
    length: int,
    seed: int,
    label: str,
) -> tuple[Ranks, Lists | None, Answers | None]:
    """Positions of all targets (deeper than ``depth``: :data:`BEYOND`), lists of ``length`` places (0: none), and the
    answers among candidates, where there are some.
    """
    items = split.train.num_items
    size = block_size(items if protocol.candidates is None else min(protocol.candidates, items), batch_users)
    ids = split.train.user_ids[targets.users]
    keys = None if protocol.candidates is None else user_keys(ids, seed, "negatives")
    found: list[tuple[Positions, Positions]] = []
    lists: list[Lists] = []
    answers: list[Answers] = []
    with task(label, len(targets)) as shown:
        for start in range(0, len(targets), size):
            indices = np.arange(start, min(start + size, len(targets)))
            block, part = targets.take(indices), queries.slice(start, start + size)
            masked = masked_for(protocol, split, block, part)
            part = varied(part, protocol.history, ids[indices], seed)
            if keys is not None:
                positions, answered = _sampled_block(
                    scorer, split, block, part, distinct(masked), protocol, keys[indices]
                )
                found.append(positions)
                answers.append(answered)
            elif length:
                positions, listed = _listed_block(scorer, split, block, part, masked, protocol, length)
                found.append(positions)
                lists.append(listed)
            else:
                found.append(_full_block(scorer, split, block, part, masked, protocol, depth))
            shown.advance(len(block))
    first, last = (np.concatenate([pair[n] for pair in found]) for n in (0, 1))
    deep = (first > depth) & (first < NEVER)
    ranks = Ranks(np.where(deep, BEYOND, first), np.where(deep, BEYOND, last), targets.offsets)
    return ranks, np.concatenate(lists) if lists else None, Answers.joined(answers)


def judge_pairs(
    scorer: Scorer, split: Split, pairs: GroundTruth, queries: Queries, batch_users: int | None, label: str
) -> LabelledScores:
    """Scores of every labelled pair; all pairs of a user are scored together."""
    assert pairs.labels is not None
    size = block_size(int(np.diff(pairs.offsets).max()), batch_users)
    found = []
    with task(label, len(pairs)) as shown:
        for start in range(0, len(pairs), size):
            block = pairs.take(np.arange(start, min(start + size, len(pairs))))
            counts = np.diff(block.offsets)
            places = np.arange(counts.max())[None, :]
            real = places < counts[:, None]
            items = block.items[block.offsets[:-1, None] + np.where(real, places, 0)].astype(np.int64)
            scores = checked(scorer.score(queries.slice(start, start + size), items), items.shape, scorer)
            found.append(scores[real].astype(np.float64))
            shown.advance(len(block))
    return LabelledScores(pairs.owners, pairs.labels, np.concatenate(found), len(pairs))


def _listed_block(
    scorer: Scorer, split: Split, block: GroundTruth, queries: Queries, masked: Queries, protocol: Protocol, length: int
) -> tuple[tuple[Positions, Positions], Lists]:
    """Positions of one block's targets and the lists in which they stand, from the same scores."""
    scores = checked(scorer.score(queries), (len(block), scorer.num_items), scorer)
    positions = _positions(scores, split, block, masked, protocol)
    allowed = split.train.item_counts == 0 if protocol.among == "cold" else None
    return positions, best_of_scores(np.array(scores, np.float32), masked, length, allowed=allowed).indices


def masked_for(protocol: Protocol, split: Split, block: GroundTruth, queries: Queries) -> Queries:
    """The items that cannot be recommended, as histories of the block's users."""
    if protocol.masked == "history":
        return queries
    return split.train.queries(block.users) if protocol.masked == "train" else queries.without_histories()


def _flat(block: GroundTruth) -> tuple[Positions, Positions]:
    """(T,) target items and (T,) their users' positions in the block."""
    return block.items.astype(np.int64), np.repeat(np.arange(len(block)), np.diff(block.offsets))


def _full_block(
    scorer: Scorer, split: Split, block: GroundTruth, queries: Queries, masked: Queries, protocol: Protocol, depth: int
) -> tuple[Positions, Positions]:
    """Positions of one block's targets in the whole catalogue."""
    single = len(block.items) == len(block)  # every user has a target
    if (
        single
        and protocol.among == "all"
        and protocol.ties == "row"
        and (given := vectors_of(scorer, queries)) is not None
    ):
        positions = in_tiles(*given, block.items, masked, depth)
        if positions is not None:
            return positions, positions
    scores = checked(scorer.score(queries), (len(block), scorer.num_items), scorer)
    return _positions(scores, split, block, masked, protocol)


def _positions(
    scores: FloatArray, split: Split, block: GroundTruth, masked: Queries, protocol: Protocol
) -> tuple[Positions, Positions]:
    """Positions of targets from scores of the whole catalogue (B, I)."""
    seen, expected = distinct(masked), protocol.ties == "expected"
    if protocol.among == "cold":
        return in_cold(scores, *_flat(block), seen, split.train.item_counts, expected=expected)
    return in_full(scores, *_flat(block), seen, expected=expected)


def draw(split: Split, block: GroundTruth, masked: Queries, protocol: Protocol, keys: Keys) -> SampledCandidates:
    """The candidates of a block's users: targets and negatives, in an order that tells nothing.

    Args:
        split: whose training events say how popular items are.
        block: users with targets.
        masked: the same users with the items that cannot be recommended.
        protocol: with ``candidates``.
        keys: (B,) of the users, see :func:`interlingua.evaluate.candidates.user_keys`.
    """
    assert protocol.candidates is not None
    own, count, items = [block.of_row(b) for b in range(len(block))], protocol.candidates - 1, split.train.num_items
    banned = [np.concatenate([masked.history(b), t]) for b, t in enumerate(own)]
    if protocol.negatives == "popular":
        drawn = popular(keys, banned, split.train.item_counts, count)
    elif protocol.negatives == "matched":
        drawn = matched(keys, own, banned, split.train.item_counts, count)
    else:
        flat = Queries.of(banned)
        drawn = negatives(keys, flat.items, flat.offsets, items, count)
    return assemble(keys, own, drawn)


def _sampled_block(
    scorer: Scorer, split: Split, block: GroundTruth, queries: Queries, masked: Queries, protocol: Protocol, keys: Keys
) -> tuple[tuple[Positions, Positions], Answers]:
    """Positions of one block's targets among their candidates, and which of these each answer names."""
    candidates = draw(split, block, masked, protocol, keys)
    scores = checked(scorer.score(queries, candidates.items), candidates.items.shape, scorer)
    hidden = np.repeat(np.arange(len(block)), masked.lengths()) * scorer.num_items + masked.items
    places = np.arange(len(block))[:, None] * scorer.num_items + candidates.items
    real = candidates.real & ~among(places, hidden)
    targets, owners = _flat(block)
    usable = replace(candidates, real=real)  # a target that is masked as seen competes with no one
    first, last = in_candidates(scores, usable, targets, owners, expected=protocol.ties == "expected")
    targeted = owners * scorer.num_items + targets
    seen, answers = among(targeted, hidden), Answers.of(scores, real, among(places, targeted))
    return (np.where(seen, NEVER, first), np.where(seen, NEVER, last)), answers
