"""Would this user like this item? A language model's answer, Yes or No, and the labelled pairs from which it learns.

TALLRec (Bao et al., RecSys 2023, arXiv 2305.00447) compares the two words, CoLLM (arXiv 2310.19488) reads Yes alone.

Shape key: B pairs, Q queries, C candidates, L history, H' width of a state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from interlingua.config import FitConfig
from interlingua.contracts.batch import Batch, FloatArray
from interlingua.data.interactions import Interactions
from interlingua.data.queries import IntArray, Queries
from interlingua.errors import ConfigError
from interlingua.lm.models import LanguageModel
from interlingua.progress import say, track
from interlingua.training.batches import Negatives, last_position_batches
from interlingua.training.labelled import labelled_batches

AT_ONCE = 40
"""pairs per forward pass of the language model when scoring"""


@dataclass(frozen=True)
class YesNo:
    """The tokens of the two answers."""

    yes: int
    no: int
    whole: bool
    """each word is one token; False: these are the first tokens of longer words"""


def yes_no(lm: LanguageModel, yes: str = "Yes", no: str = "No") -> YesNo:
    """The tokens that answer a prompt, with the space before a word where the tokenizer joins the two.

    Raises:
        ConfigError: both words begin with the same token, so that one position cannot tell them apart.
    """
    forms = [(lm.tokenize(f"{space}{yes}"), lm.tokenize(f"{space}{no}")) for space in (" ", "")]
    for one, other in forms:
        if len(one) == len(other) == 1 and one != other:
            return YesNo(one[0], other[0], True)
    for one, other in forms:
        if one[:1] != other[:1] and one and other:
            say(f"warning: {yes!r} and {no!r} are no single tokens of {lm.name}: their first tokens are compared")
            return YesNo(one[0], other[0], False)
    raise ConfigError(
        f"{yes!r} and {no!r} begin with the same token of {lm.name} ({forms[0][0][:1]}), so that its answer cannot be "
        "read at one position: choose another ranker.model"
    )


def answer_logits(lm: LanguageModel, states: Tensor, answers: YesNo) -> Tensor:
    """(B, 2) logits of yes and no behind B prompts, from the (B, H') states at their last tokens."""
    return lm.logits(states)[:, [answers.yes, answers.no]]


def binary_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of (B,) logits with (B,) labels, 1 or 0; CoLLM gives it the logit of yes alone."""
    return functional.binary_cross_entropy_with_logits(scores, labels.to(scores))


def pair_batches(
    train: Interactions, config: FitConfig, generator: np.random.Generator, max_history: int,
    negatives: Negatives | None = None,
) -> Iterator[Batch]:  # fmt: skip
    """Pairs of a user and an item with ``labels`` and the items that the user liked before.

    Data with labels (``[data] label``) give all their labelled events. In other data every event but a user's first is
    a pair with label 1, and beside it stands an item without an event of the user with label 0: another task than
    telling what people disliked.
    """
    if train.labelled is not None:
        yield from labelled_batches(train, config, generator, max_history)
        return
    half = max(1, config.batch_size // 2)
    source = negatives or Negatives(train)
    for batch in last_position_batches(train, max_history, half, generator, negatives=source, all_positions=True):
        assert batch.negatives is not None
        assert batch.histories is not None
        yes = torch.ones(len(batch))
        yield Batch(
            users=batch.users.repeat(2), positives=torch.cat([batch.positives, batch.negatives]),
            histories=batch.histories.repeat(2, 1), labels=torch.cat([yes, torch.zeros_like(yes)]),
            times=None if batch.times is None else batch.times.repeat(2),
            history_times=None if batch.history_times is None else batch.history_times.repeat(2, 1),
        )  # fmt: skip


def pair_scores(
    queries: Queries, items: IntArray, run: Callable[[Queries, IntArray, IntArray], Tensor], at_once: int = AT_ONCE
) -> FloatArray:
    """(Q, C) scores of candidates that are asked about one by one; an item that a row lists twice is asked once.

    Args:
        queries: Q queries.
        items: (Q, C) candidates.
        run: (q queries, (b,) which of them each pair is of, ascending, the pairs' (b,) items) -> (b,) scores, without
            gradients. All pairs of a query come together, unless they are more than ``at_once``.
        at_once: b at most.
    """
    items = np.asarray(items, np.int64)
    most = int(items.max(initial=0)) + 1
    keys = np.arange(len(items))[:, None] * most + items
    pairs, back = np.unique(keys, return_inverse=True)
    owners, targets = pairs // most, pairs % most
    scores = np.zeros(len(pairs), np.float32)
    for part in track(together(owners, np.asarray(queries.lengths()), at_once), "ask yes or no"):
        chosen, which = np.unique(owners[part], return_inverse=True)
        scores[part] = run(queries.take(chosen), which, targets[part]).float().cpu().numpy()
    return scores[back].reshape(items.shape)


def together(owners: IntArray, lengths: IntArray, at_once: int) -> list[IntArray]:
    """Which pairs run together: all of a query where they fit, queries of similar length side by side.

    Args:
        owners: (P,) query of each pair, ascending.
        lengths: (Q,) length of each query's history.
        at_once: pairs of a part at most.

    Returns:
        Indices of pairs, ascending inside a part.
    """
    each = np.split(np.arange(len(owners)), np.flatnonzero(np.diff(owners)) + 1)
    pieces = [pairs[at : at + at_once] for pairs in each for at in range(0, len(pairs), at_once)]
    pieces.sort(key=lambda pairs: int(lengths[owners[pairs[0]]]))
    parts: list[list[IntArray]] = []
    for piece in pieces:
        if not parts or sum(map(len, parts[-1])) + len(piece) > at_once:
            parts.append([])
        parts[-1].append(piece)
    return [np.sort(np.concatenate(part)) for part in parts]
