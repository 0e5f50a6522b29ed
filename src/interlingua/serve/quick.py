"""Questions that vectors answer, before the framework and beside the line: what waits together is answered together.

A question is taken here where nothing slow belongs to it: no reasons, no sentence, no language model that orders. All
that arrive while others are answered form the next batch, so that a crowd costs less for each than one alone. Whatever
is not taken, or is wrong, goes the usual way (:mod:`interlingua.serve.app`) and is answered or refused there.

Short batches run in the event loop, where no thread has to be woken; longer ones in a thread of their own. With a store
what others have put into it is read first, in that thread too.
"""

from __future__ import annotations

import asyncio
import logging
import time
import weakref
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastapi import HTTPException
from pydantic import ValidationError
from pydantic_core import to_json
from starlette.datastructures import Headers

from interlingua.errors import InterlinguaError
from interlingua.serve.access import CALLER, Access
from interlingua.serve.broken import broken
from interlingua.serve.door import ALIVE
from interlingua.serve.health import ALIVE_SAYS
from interlingua.serve.model import ServedModel
from interlingua.serve.queue import BusyError, WorkQueue
from interlingua.serve.schema import RecommendRequest

if TYPE_CHECKING:
    from interlingua.recommender import Recommender
    from interlingua.runs.answers import Answer

PATH = "/v1/recommend"
SHORT_S = 0.01
"""expected seconds of a batch that may run in the event loop, and so hold up everything else"""
LONG_S = 0.5
"""expected seconds of a batch in the thread, a quarter of the deadline at most. Shorter ones cost more a question: what
a crowd at the door slows down would stay slow"""
MOST = 64
"""questions of one batch"""
FIRST = 2
"""questions that a batch in the event loop must have time for, or it runs in the thread"""
REFUSED_S = 0.5
"""at most so long a refusal waits for the batch in work: a crowd that asks again at once would take the model's time"""
LISTED = 200
"""ids of ``history``, ``items``, ``exclude`` together; longer questions go the usual way"""
log = logging.getLogger("interlingua.serve")


@dataclass
class _Waiting:
    request: RecommendRequest
    key: str
    started: float
    fallback_reason: str | None
    answer: asyncio.Future[bytes | None]


class Quick:
    """See the module. One for each application."""

    def __init__(self, model: ServedModel, line: WorkQueue, access: Access | None = None) -> None:
        """``line``: whose changes exclude answers here; ``access``: who may ask (None: everybody)."""
        self.model, self.line, self.access = model, line, access
        self._waiting: deque[_Waiting] = deque()
        self._running: asyncio.Task[None] | None = None
        self._in_thread: asyncio.Future[Any] | None = None
        self._seconds = SHORT_S  # of a question, when several are answered together; so the unknown run in the thread
        self._thread: ThreadPoolExecutor | None = None
        self._known: weakref.ref[Recommender] | None = None  # it goes when it is swapped, asked again or not
        self._changes = 0

    @property
    def waiting(self) -> int:
        """Questions that wait for the next batch."""
        return len(self._waiting)

    async def answer(self, scope: Any, body: bytes) -> bytes | None:
        """The answer (JSON) to a question that was sent; None: it is none for this way.

        Raises:
            BusyError: what waits would take longer than the deadline (429), or has taken so long (503); the line has
                no place for what it has to answer (429).
        """
        if scope["path"] == ALIVE and scope["method"] == "GET":
            return ALIVE_SAYS  # whoever watches the service waits for nothing else
        if scope["path"] != PATH or scope["method"] != "POST" or self.line.closed or not _is_json(scope):
            return None
        if not self._may_ask(scope):
            return None
        started = time.perf_counter()
        try:
            request = RecommendRequest.model_validate_json(body)
        except ValidationError:
            return None
        if self._takes(request):
            return await self.ask(request, started)
        self.line.check_place()  # a crowd that is sent away costs little here
        return None

    async def ask(self, request: RecommendRequest, started: float, fallback_reason: str | None = None) -> bytes | None:
        """The answer without a language model, a sentence and reasons; None: the request is wrong.

        Args:
            request: any; what else it asks for is left out.
            started: when, as ``time.perf_counter`` tells.
            fallback_reason: see :class:`interlingua.serve.schema.RecommendResponse`. With one there is no deadline.

        Raises:
            BusyError: as :meth:`answer`.
        """
        if fallback_reason is None and self._expected() > self.line.deadline_s:
            if self._in_thread is not None:
                await asyncio.wait([self._in_thread], timeout=REFUSED_S)
            if (expected := self._expected()) > self.line.deadline_s:
                said = f"{len(self._waiting)} requests wait already; try again later"
                raise BusyError(429, said, int(expected) + 1)
        waits = asyncio.get_running_loop().create_future()
        entry = _Waiting(request, key_of(request), started, fallback_reason, waits)
        self._waiting.append(entry)
        if self._running is None:
            self._running = asyncio.ensure_future(self._work())
        left = None if fallback_reason is not None else started + self.line.deadline_s - time.perf_counter()
        try:
            return await asyncio.wait_for(waits, left)  # late, and it is out of the next batch
        except TimeoutError:
            raise self.line.late() from None

    def _expected(self) -> float:
        """Seconds until all that wait are answered."""
        return len(self._waiting) * self._seconds

    def _may_ask(self, scope: Any) -> bool:
        if self.access is None:
            return True
        try:
            self.access.check(scope[CALLER], Headers(scope=scope), "read")
        except HTTPException:
            return False
        return True

    def _takes(self, request: RecommendRequest) -> bool:
        listed = len(request.history or ()) + len(request.items or ()) + len(request.exclude or [])
        slow = request.text is not None or request.explain or listed > LISTED
        return not slow and not (request.rerank and self.model.now.has_ranker)

    async def _work(self) -> None:
        """Batches until nothing waits."""
        try:
            while self._waiting:
                await asyncio.sleep(0)  # whatever has arrived meanwhile joins, and everybody else has a turn
                await self._batch()
        finally:
            self._running = None
            for each in self._waiting:  # nothing, unless a batch broke
                _settle(each, None)
            self._waiting.clear()

    async def _batch(self) -> None:
        while not self.line.enter():  # an item or event is being entered
            await asyncio.sleep(0.001)
        try:
            recommender = self.model.now
            changed = self._changed(recommender)
            batch = self._next()
            if not batch:
                self._changes = -1  # nothing was made ready: the next batch does it
                return
            if recommender.follows or changed or self._seconds * len(batch) > SHORT_S:
                self._thread = self._thread or ThreadPoolExecutor(1, "quick")
                work = asyncio.get_running_loop().run_in_executor(self._thread, self._answers, recommender, batch)
                self._in_thread = work
                found = await asyncio.shield(work)
            else:
                found = self._answers(recommender, batch)
        except Exception as error:
            said = "a batch broke; each of it goes the usual way, which answers or says what is wrong"
            log.error(said, extra={"seen": broken(error)})
            found = [None] * len(batch)
        finally:
            self._in_thread = None
            self.line.exit()
        for each, content in zip(batch, found, strict=True):
            _settle(each, content)

    def _changed(self, recommender: Recommender) -> bool:
        """Whether it or its items are others than of the batch before: what was made ready for them is made anew."""
        known = None if self._known is None else self._known()
        same = known is recommender and self._changes == self.line.changes
        if self._known is not None and known is not recommender:
            self._seconds = SHORT_S  # the pace of another says nothing
        self._known, self._changes = weakref.ref(recommender), self.line.changes
        return not same

    def _next(self) -> list[_Waiting]:
        """The first of those that wait, and others with the same options; those whose time is up are refused."""
        now, batch, later = time.perf_counter(), list[_Waiting](), list[_Waiting]()
        short = int(SHORT_S / self._seconds)
        most = min(
            MOST, short if short >= FIRST else max(1, int(min(LONG_S, self.line.deadline_s / 4) / self._seconds))
        )
        while self._waiting and len(batch) < most:
            each = self._waiting.popleft()
            if each.answer.done():  # the client has gone
                continue
            if now - each.started > self.line.deadline_s and each.fallback_reason is None:
                each.answer.set_exception(self.line.late())
            elif batch and each.key != batch[0].key:
                later.append(each)
            else:
                batch.append(each)
        self._waiting.extendleft(reversed(later))
        return batch

    def _answers(self, recommender: Recommender, batch: Sequence[_Waiting]) -> list[bytes | None]:
        """Contents; None where the usual way must say what is wrong."""
        began = time.perf_counter()
        try:
            made = _made(recommender, batch)
        except InterlinguaError:  # of one of them, perhaps: each by itself
            made = [answer for each in batch for answer in _alone(recommender, each)]
        version = recommender.version
        pairs = zip(batch, made, strict=True)
        out = [
            None if answer is None else content(answer, version, each.started, each.fallback_reason)
            for each, answer in pairs
        ]
        taken = (time.perf_counter() - began) / len(batch)
        self._seconds = 0.8 * self._seconds + 0.2 * min(taken, 4 * self._seconds)  # once late is not slow
        return out


def _made(recommender: Recommender, batch: Sequence[_Waiting]) -> Sequence[Answer | None]:
    first = batch[0].request
    options = first.options() | {"rerank": False, "text": None}
    return recommender.answers([(each.request.user_id, each.request.history) for each in batch], first.k, **options)


def _alone(recommender: Recommender, entry: _Waiting) -> Sequence[Answer | None]:
    try:
        return _made(recommender, [entry])
    except InterlinguaError:
        return [None]


def key_of(request: RecommendRequest) -> str:
    """Equal for requests that one call answers."""
    return repr((request.k, request.options()))


def content(answer: Answer, version: str, started: float, fallback_reason: str | None = None) -> bytes:
    """An answer as it goes over the wire: what :class:`interlingua.serve.schema.RecommendResponse` would write."""
    return to_json(
        {
            "items": [
                {"item_id": one.item_id, "title": one.title, "score": one.score, "stage": one.stage, "reason": None}
                for one in answer.items
            ],
            "stages_used": list(dict.fromkeys(one.stage for one in answer.items)),
            "fallback_reason": fallback_reason,
            "unknown_items": answer.unknown_items,
            "notes": answer.notes,
            "model_version": version,
            "latency_ms": round((time.perf_counter() - started) * 1000, 3),
        }
    )


def _settle(entry: _Waiting, content: bytes | None) -> None:
    if not entry.answer.done():
        entry.answer.set_result(content)


def _is_json(scope: Any) -> bool:
    """Whether the body is said to be JSON, plainly."""
    return any(name == b"content-type" and value.startswith(b"application/json") for name, value in scope["headers"])
