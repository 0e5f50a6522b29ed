"""Many questions with the same options, answered together: each answer is the one that the question gets by itself.

Where a scorer multiplies matrices, its scores of many users may differ from those of one in their last digits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from interlingua.data.queries import Queries
from interlingua.runs.answers import Answer, Request
from interlingua.runs.questions import Question, Questions

if TYPE_CHECKING:
    from interlingua.runs.lists import Lists
    from interlingua.runs.new_events import NewEvents

Who = tuple[str | None, Sequence[str] | None]
"""a user, or a history"""


class Crowd:
    """Part of :class:`interlingua.recommender.Recommender`."""

    _lists: Lists
    _events: NewEvents

    @property
    def follows(self) -> bool:
        """Whether each question looks into a store first, for what rest have put there."""
        return self._events.store is not None

    def praised(self, value: float | None) -> bool:
        """Whether an event of this value speaks for its item, by the rule of the run's data."""
        return self._events.praised(value)

    def answers(self, requests: Sequence[Who], k: int = 10, **options: Any) -> list[Answer]:
        """:meth:`interlingua.recommender.Recommender.answer` for many users or histories, in their order.

        Args:
            requests: pairs of a user and a history, one of which is None.
            k: how many items for each.
            options: those of :meth:`~interlingua.recommender.Recommender.recommend`, but for ``text``.

        Raises:
            UnknownIdError: a user whom the run does not know; nobody is answered then.
            ConfigError: an option out of range, or not exactly one of user and history.
        """
        request = Request.of(k, options)
        for user, history in requests:
            request.check(user, history)
        lists, found = self._lists, dict[int, Answer]()
        allowed = lists.questions.allowed(request)
        for places, question, unknown in groups(lists.questions, requests):
            made = lists.answers(request, question, allowed, unknown)
            found |= dict(zip(places, made, strict=True))
        return [found[place] for place in range(len(requests))]


def groups(
    questions: Questions, requests: Sequence[Who]
) -> Iterator[tuple[list[int], Question, list[dict[str, list[str]]]]]:
    """(places, question of them all, what each of them named that the run does not know) by kind.

    Users without new events are one kind: their histories have times and ratings. Whoever else is asked by a bare
    history is the other.
    """
    if questions.events is not None:
        questions.events.follow()
    new = {} if questions.events is None else questions.events.of_user
    plain = [place for place, (user, _) in enumerate(requests) if user is not None and user not in new]
    if plain:
        found = questions.of_users([str(requests[place][0]) for place in plain], follow=False)
        yield plain, found, [{} for _ in plain]
    rest = sorted(set(range(len(requests))) - set(plain))
    if rest:
        each = [questions.of_one(*requests[place], follow=False) for place in rest]
        seen, read = joined([one.seen for one in each]), joined([one.queries for one in each])
        yield rest, Question(read, seen), [one.unknown for one in each]


def joined(parts: Sequence[Queries]) -> Queries:
    """Queries one after the other, without times and ratings."""
    lengths = np.concatenate([part.lengths() for part in parts])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    users, items = (np.concatenate([vars(part)[name] for part in parts]) for name in ("users", "items"))
    return Queries(users, items, offsets)
