"""Many questions to one language model: answers come from the ledger, or from calls within pace and budget.

One question goes through: reserve money, wait for a place, call, settle, check the answer, keep it. Failed calls are
tried again after a wait; a question that cannot be answered is kept with its reason, and the others go on.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from interlingua.clients.answers import UnusableAnswerError
from interlingua.clients.completion import Answer, CallError, Completer, Request, Sampling, most_tokens
from interlingua.clients.ledger import Entry, Ledger
from interlingua.clients.pace import Limits, Pace, WaitError
from interlingua.clients.prices import FREE, Price
from interlingua.errors import InterlinguaError
from interlingua.progress import Task, task

T = TypeVar("T")
REMINDER = "\n\nAnswer with the JSON object only: no other text before or after it."
"""added to the input when the answer before was no usable JSON"""

Check = Callable[[Answer], bytes]
"""checked value of an answer, or :class:`interlingua.clients.answers.UnusableAnswerError`"""


class ServerError(InterlinguaError):
    """Every call would fail alike: a wrong key, an unknown model, a server that is down."""


@dataclass
class Wallet:
    """Money of one ledger: payments, the most that calls in flight may cost, and the limit."""

    price: Price | None
    """None: unknown; then nothing can be limited"""
    budget: float | None
    spent: float
    """at the start: all payments of the ledger"""
    reserved: float = 0.0

    def most(self, request: Request, max_tokens: int) -> float:
        """More than one call can cost."""
        return (self.price or FREE).of(most_tokens(request), max_tokens)

    def allows(self, money: float) -> bool:
        """Whether a call of at most ``money`` cannot exceed the budget, whatever the calls in flight cost."""
        return self.budget is None or self.spent + self.reserved + money <= self.budget


@dataclass
class Round:
    """Results of a round of questions."""

    found: int = 0
    """questions that the ledger had answered before"""
    requested: int = 0
    """questions put to the model now"""
    calls: int = 0
    """calls made now, further tries included"""
    stopped: str = ""
    """why questions are left: ``budget``, or the server's message"""
    fatal: bool = False
    """the server refuses everything"""
    replied: bool = False
    """where failures stopped the round: the last was its question's alone, so that the server is not down"""
    entries: dict[str, Entry] = field(default_factory=dict)
    """key -> the ledger's entry now"""


class Asker:
    """Puts questions to a model; keeps the state that its calls share."""

    def __init__(
        self,
        completer: Completer,
        ledger: Ledger,
        sampling: Sampling,
        limits: Limits,
        wallet: Wallet,
        pace: Pace | None = None,
    ) -> None:
        self.completer, self.ledger, self.sampling, self.limits = completer, ledger, sampling, limits
        self.wallet, self.pace = wallet, pace or Pace(limits)
        self._identity = completer.identity
        self._failed_in_a_row = 0
        self._out = Round()

    def key(self, request: Request) -> str:
        """The ledger's key of a question."""
        return request.key(self._identity, self.sampling)

    async def ask(self, requests: Sequence[Request], check: Check, label: str, *, retry_failed: bool) -> Round:
        """Asks what the ledger does not have.

        Args:
            requests: questions; equal ones are asked once.
            check: makes the value that is kept of an answer.
            label: for the progress line.
            retry_failed: also ask those that failed before.

        Returns:
            Counts, and the ledger's entry of each question that has one.
        """
        out = self._out = Round()
        by_key = {self.key(request): request for request in requests}
        known = self.ledger.found(list(by_key))
        missing = {k: r for k, r in by_key.items() if k not in known or (retry_failed and known[k].state == "failed")}
        out.found = len(by_key) - len(missing)
        with task(label, len(by_key)) as shown:
            shown.start_at(out.found)
            queue = iter(missing.items())
            workers = [self._work(queue, check, shown) for _ in range(min(self.limits.concurrency, len(missing)))]
            await asyncio.gather(*workers)
        out.entries = self.ledger.found(list(by_key))
        return out

    async def _work(self, queue: Iterator[tuple[str, Request]], check: Check, shown: Task) -> None:
        """Takes questions until there are none or the run stops; a question that was begun is finished."""
        for key, request in queue:
            if self._out.stopped or not await self._question(key, request, check):
                return
            money = f"{self.wallet.spent:.4f} spent" if self.wallet.price not in (None, FREE) else ""
            shown.advance(1, money)

    async def _question(self, key: str, request: Request, check: Check) -> bool:
        """One question with its tries; False: not answered because the run stops, so not marked either."""
        calls = answers = 0
        sent, raw, reason, replied = request, "", "", False
        while True:
            try:
                answer = await self._call(key, sent, first=calls == 0)
                if answer is None:
                    return False
                calls, answers, raw = calls + 1, answers + 1, self.completer.clean(answer.text)
                self.ledger.done(key, self._model, request.user, self._checked(answer, check), raw, calls)
                self._failed_in_a_row = 0
                self.pace.answered()
                return True
            except UnusableAnswerError as error:
                reason, replied = self.completer.clean(str(error)), True
                sent = replace(request, user=request.user + REMINDER) if request.fields else request
            except CallError as error:
                calls, reason, replied = calls + 1, error.reason, error.replied
                if error.kind == "fatal":
                    self._out.stopped, self._out.fatal = reason, True
                    return False
                if error.kind == "failed":
                    break
                if calls < self.limits.tries and not await self._waited(calls, error):
                    return False
            if calls >= self.limits.tries or answers >= self.limits.answer_tries:
                break
            if self._out.stopped:  # asked again next time, not marked as failed
                return False
        self.ledger.failed(key, self._model, request.user, f"{reason} (after {calls} calls)", raw, calls)
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= self.limits.give_up_after and not self._out.stopped:
            self._out.stopped = f"{self._failed_in_a_row} questions in a row failed, the last with: {reason}"
            self._out.replied = replied
        return True

    def _checked(self, answer: Answer, check: Check) -> bytes:
        """The value that is kept; cleaned once more, because unpacking JSON may have put a secret together."""
        value = check(answer)
        return self.completer.clean(value.decode()).encode()

    async def _waited(self, calls: int, error: CallError) -> bool:
        """Waits before the next try, unless the run stops; False: the server would be waited for too long."""
        if self._out.stopped:
            return True
        try:
            await self.pace.after_failure(calls, error.retry_after)
            return True
        except WaitError as wait:
            self._out.stopped = self._out.stopped or f"{wait}; its last words: {error.reason}"
            return False

    async def _call(self, key: str, request: Request, *, first: bool) -> Answer | None:
        """One call, paid for; None where the budget has no room for it."""
        most = self.wallet.most(request, self.sampling.max_tokens)
        if not self.wallet.allows(most):
            self._out.stopped = self._out.stopped or "budget"
            return None
        self.wallet.reserved += most
        try:
            bound = (most_tokens(request), self.sampling.max_tokens)
            tokens = sum(self.completer.tokens(message["content"]) for message in request.messages())
            place = await self.pace.begin(tokens + self.sampling.max_tokens)
            payment = self.ledger.pay(key, *bound, most)  # stays open, at its most, if the process dies now
            self._out.calls += 1
            self._out.requested += first
            try:
                answer = await self.completer.complete(request, self.sampling)
            except CallError as error:
                self._settle(payment, place, error.usage or (bound if error.billed else (0, 0)))
                raise
            self._settle(payment, place, (answer.prompt_tokens, answer.completion_tokens))
            return answer
        finally:
            self.wallet.reserved -= most

    def _settle(self, payment: int, place: list[float], used: tuple[int, int]) -> None:
        money = (self.wallet.price or FREE).of(*used)
        self.wallet.spent += money
        self.ledger.settle(payment, *used, money)
        place[1] = float(sum(used))

    @property
    def _model(self) -> str:
        return str(self._identity.get("model", ""))


def run(work: Coroutine[Any, Any, T]) -> T:
    """Runs a coroutine to its end, also where a loop runs already (a notebook): then in a thread of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    out: list[T] = []
    failed: list[BaseException] = []

    def inside() -> None:
        try:
            out.append(asyncio.run(work))
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return out[0]
