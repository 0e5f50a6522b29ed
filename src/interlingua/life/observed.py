"""A recommender whose answers are logged, and, for users who are known by an id, interleaved with another version's.

Only what is asked of :meth:`~interlingua.recommender.Recommender.answer` and its sibling for many is: that is what a
service asks. A sentence, and a list with a share for new items, is answered by the version that serves alone, and so is
everything where the other fails.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interlingua.errors import InterlinguaError, first_line
from interlingua.life.interleaving import INTERLEAVED, team_draft
from interlingua.life.request_log import RequestLog
from interlingua.recommender import Recommender
from interlingua.runs.answers import Answer

if TYPE_CHECKING:
    from interlingua.explain.explain import Explanation
    from interlingua.runs.answers import Support

Who = tuple[str | None, Sequence[str] | None]
LOG = logging.getLogger("interlingua.serve")


class Observed(Recommender):
    """See the module; opened like any recommender, then :meth:`observe`."""

    log: RequestLog | None = None
    rival: Recommender | None = None
    """the version whose items are interleaved"""
    coin = random.Random()

    def observe(self, log: RequestLog | None, rival: Recommender | None = None) -> Observed:
        """Has answers logged from now on, and interleaved with ``rival``'s; returns itself."""
        self.log, self.rival = log, rival
        return self

    def answer(
        self, user: str | None = None, history: Sequence[str] | None = None, k: int = 10, **options: Any
    ) -> Answer:
        """See :class:`interlingua.recommender.Recommender`."""
        started = time.perf_counter()
        made = super().answer(user, history, k, **options)
        return self._seen([(user, history)], [made], k, options, started)[0]

    def answers(self, requests: Sequence[Who], k: int = 10, **options: Any) -> list[Answer]:
        """See :class:`interlingua.recommender.Recommender`."""
        started = time.perf_counter()
        made = super().answers(requests, k, **options)
        return self._seen(requests, made, k, options, started)

    def follow_items(self) -> int:
        """The rival follows, too."""
        if self.rival is not None:
            self.rival.follow_items()
        return super().follow_items()

    def load_encoders(self) -> None:
        """The rival's too."""
        super().load_encoders()
        if self.rival is not None:
            self.rival.recommend(history=[], k=1)
            self.rival.load_encoders()

    def explain_items(
        self, items: Sequence[str], user: str | None = None, history: Sequence[str] | None = None, *,
        rerank: bool = True, quiet: bool = False, text: str | None = None, text_weight: float = 0.5,
    ) -> list[Explanation[Support]]:  # fmt: skip
        """Items that only the rival knows are explained by it."""
        known = [item for item in items if self.rival is None or item in self.train.item_indices]
        how: dict[str, Any] = {"rerank": rerank, "quiet": quiet, "text": text, "text_weight": text_weight}
        found = dict(zip(known, super().explain_items(known, user, history, **how), strict=True))
        if self.rival is not None and len(known) < len(items):
            rest = [item for item in items if item not in found]
            more = self.rival.explain_items(rest, user, history, **how)
            found |= dict(zip(rest, more, strict=True))
        return [found[item] for item in items]

    def _seen(
        self, requests: Sequence[Who], made: list[Answer], k: int, options: dict[str, Any], started: float
    ) -> list[Answer]:
        teams = self._interleave(requests, made, k, options)
        seconds = time.perf_counter() - started
        for (user, history), answer, team in zip(requests, made, teams, strict=True):
            if self.log is not None:
                about = _about(history, k, options, self.has_ranker)
                if team is not None and self.rival is not None:
                    about[INTERLEAVED] = {"with": self.rival.version, "teams": team}
                ids = tuple(one.item_id for one in answer.items)
                self.log.add(self.version, user, about, ids, seconds, always=team is not None)
        return made

    def _interleave(
        self, requests: Sequence[Who], made: list[Answer], k: int, options: dict[str, Any]
    ) -> list[list[int] | None]:
        """Interleaves the answers to known users in place; returns each list's teams, None where it was left."""
        teams: list[list[int] | None] = [None] * len(requests)
        places = [place for place, (user, _) in enumerate(requests) if user is not None]
        if self.rival is None or not places or options.get("text") is not None or options.get("new_share"):
            return teams
        options = {name: value for name, value in options.items() if name not in ("text", "text_weight")}
        theirs = _of_rival(self.rival, [requests[place] for place in places], k, options)
        for place, their in zip(places, theirs, strict=True):
            if their is None:
                continue
            own = made[place].items
            lists = [[one.item_id for one in items] for items in (own, their.items)]
            ids, teams[place] = team_draft(lists[0], lists[1], k, self.coin)
            by_id = {one.item_id: one for one in (*their.items, *own)}
            made[place] = replace(made[place], items=[by_id[item] for item in ids])
        return teams


def _of_rival(rival: Recommender, requests: Sequence[Who], k: int, options: dict[str, Any]) -> Sequence[Answer | None]:
    """The rival's answers; None to what it refuses, such as a user whom it does not know."""
    try:
        return rival.answers(requests, k, **options)
    except InterlinguaError as error:
        if len(requests) > 1:
            return [each for one in requests for each in _of_rival(rival, [one], k, options)]
        LOG.warning("a list is not interleaved: %s", type(error).__name__)
    except Exception as error:
        LOG.warning("version %s fails, and lists are not interleaved: %s", rival.version, first_line(error))
    return [None] * len(requests)


def _about(history: Sequence[str] | None, k: int, options: dict[str, Any], has_ranker: bool) -> dict[str, Any]:
    """What is logged of a request: options that are not as by default, and no sentence."""
    about = {name: value for name, value in options.items() if value and name not in ("text", "text_weight", "rerank")}
    about |= {"rerank": False} if has_ranker and options.get("rerank") is False else {}
    about |= {} if history is None else {"history": list(history)}
    return about | {"k": k} | ({"with_text": True} if options.get("text") is not None else {})


def opened(
    path: Path, log: RequestLog | None, rival: Recommender | None, options: dict[str, Any]
) -> Recommender:  # fmt: skip
    """The run of a version, observed; a rival of the same version is left out."""
    made = Observed.load(path, **options)
    return made.observe(log, None if rival is None or rival.version == made.version else rival)
