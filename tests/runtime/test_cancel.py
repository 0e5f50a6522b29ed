"""Work that nobody wants any more ends at its next step."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch

from interlingua.runtime import cancel
from interlingua.runtime.cancel import Cancellation, Cancelled, cancellable
from interlingua.serve.queue import BusyError, WorkQueue


def test_a_step_ends_what_was_given_up_and_nothing_else() -> None:
    cancel.check()
    given_up, late = Cancellation(), Cancellation(0.0)
    with cancellable(given_up):
        cancel.check()
        given_up.cancel()
        with pytest.raises(Cancelled):
            cancel.check()
        with cancellable(Cancellation(60.0)):
            cancel.check()
    cancel.check()
    with cancellable(late), pytest.raises(Cancelled):
        cancel.check()
    assert late.remaining() == 0.0
    assert given_up.remaining() is None


def test_a_language_model_stops_between_two_tokens() -> None:
    from interlingua.lm.generate import generate
    from interlingua.testing.tiny_models import tiny

    lm, ids, wanted, made = tiny("llama"), torch.tensor([[9, 10, 11]]), Cancellation(), []

    def stop(tokens: list[int]) -> bool:
        made.append(len(tokens))
        if len(tokens) == 3:
            wanted.cancel()
        return False

    with cancellable(wanted), pytest.raises(Cancelled):
        generate(lm, lm.embed(ids), torch.ones_like(ids), max_new_tokens=50, stop=stop)
    assert made[-1] == 3


def asked(queue: WorkQueue, *works: Callable[[], Any], seconds: float = 5.0) -> list[Any]:
    """What becomes of works that arrive one after the other."""

    async def all_of_them() -> list[Any]:
        tasks = []
        for work in works:
            tasks.append(asyncio.ensure_future(queue.do(work, Cancellation(seconds))))
            await asyncio.sleep(0.01)
        return await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(all_of_them())


def test_the_line_has_an_end_and_keeps_its_order() -> None:
    queue, order, start = WorkQueue(2, 5.0), [], threading.Event()

    def work(number: int) -> Callable[[], int]:
        def run() -> int:
            if number == 0:
                time.sleep(0.2)
            order.append(number)
            return number

        return run

    found = asked(queue, *(work(number) for number in range(5)))
    assert found[:3] == order == [0, 1, 2]
    assert [(error.status, error.retry_after >= 1) for error in found[3:]] == [(429, True)] * 2
    assert not start.is_set()
    assert queue.stop(1.0)


def test_errors_reach_who_asked_and_the_worker_goes_on() -> None:
    queue = WorkQueue(5, 5.0)
    found = asked(queue, lambda: 1 // 0, lambda: 7)
    assert isinstance(found[0], ZeroDivisionError)
    assert found[1] == 7
    assert queue.stop(1.0)


def test_a_deadline_counts_waiting_and_frees_the_place() -> None:
    queue, ran = WorkQueue(5, 0.3), []

    def slow() -> None:
        for _ in range(100):
            cancel.check()
            time.sleep(0.01)

    found = asked(queue, slow, lambda: ran.append(1), seconds=0.3)
    assert isinstance(found[0], BusyError)
    assert found[0].status == 503
    assert not ran or found[1] is None
    assert queue.stop(1.0)
    assert queue.idle


def test_a_stopped_line_does_not_wait_for_the_step_in_work() -> None:
    queue = WorkQueue(5, 5.0)

    def long_step() -> None:
        threading.Timer(0.1, queue.stop).start()
        time.sleep(5.0)

    started = time.monotonic()
    (found,) = asked(queue, long_step)
    assert (found.status, found.reason) == (503, "the service stops")
    assert time.monotonic() - started < 4
    assert queue.stop(20.0)


def test_half_of_the_time_presses() -> None:
    assert not cancel.pressed()
    with cancellable(Cancellation()):
        assert not cancel.pressed()
    with cancellable(Cancellation(0.1)):
        assert not cancel.pressed()
        time.sleep(0.06)
        assert cancel.pressed()


def test_a_stopped_line_sends_everybody_away() -> None:
    queue = WorkQueue(5, 5.0)

    def closing() -> str:
        queue.close()
        time.sleep(0.1)
        return "done"

    found = asked(queue, closing, lambda: "waited", lambda: "came later")
    assert found[0] == "done"
    assert [error.status for error in found[1:]] == [503, 503]
    assert queue.stop(1.0)
