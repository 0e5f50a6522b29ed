"""A writer that is killed at any moment: what was acknowledged is there, and nothing twice."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time

import pytest

from interlingua.store import Event, Item, Store

KILLS = 20


def write(place: str, first: int, acknowledged: int) -> None:
    """Batches and items from ``first`` on, for ever; the number of each one is sent when the store has taken it."""
    with Store.open(place, wait_s=20) as store:
        for number in range(first, 1_000_000):
            store.add_events([Event(f"u{number}", f"i{place}") for place in range(3)], f"batch {number}")
            store.put_items([Item(f"i{number}")])
            os.write(acknowledged, number.to_bytes(4, "big"))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL") or not hasattr(os, "fork"), reason="no SIGKILL on this system")
def test_nothing_acknowledged_is_lost_and_nothing_is_there_twice(place: str) -> None:
    Store.open(place).close()
    make, rng, sure = multiprocessing.get_context("fork"), random.Random(1), -1
    for _ in range(KILLS):
        reading, writing = os.pipe()
        child = make.Process(target=write, args=(place, sure + 1, writing))  # sends the unsure one again
        child.start()
        os.close(writing)
        got = os.read(reading, 4)
        time.sleep(rng.random() * 0.05)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        while part := os.read(reading, 4):
            got = part
        os.close(reading)
        sure = int.from_bytes(got, "big")
    with Store.open(place, wait_s=20) as store:
        events, items = store.events(), store.items()
    counts: dict[str, int] = {}
    for event in events:
        counts[event.user_id] = counts.get(event.user_id, 0) + 1
    assert sure > KILLS
    assert set(counts.values()) == {3}, "a batch is whole and once"
    assert {f"u{number}" for number in range(sure + 1)} <= counts.keys() <= {f"u{n}" for n in range(sure + 2)}
    assert {f"i{number}" for number in range(sure + 1)} <= {item.item_id for item in items}
    assert [event.number for event in events] == list(range(1, len(events) + 1))
