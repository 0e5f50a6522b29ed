"""Progress of long work on stderr: a rich bar on a terminal, plain lines elsewhere, both with the time that remains.

Work that ends within :data:`FIRST_AFTER_S` says nothing, so that even short loops may report.
"""

from __future__ import annotations

import math
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import TypeVar

from interlingua.errors import ConfigError, shown

T = TypeVar("T")
FIRST_AFTER_S, PLAIN_EVERY_S = 2.0, 10.0
"""the bar or the first plain line appears after so long, further lines at this distance"""
BEAT_S = 1.0
"""between two looks at a call that says nothing itself"""


class Task:
    """One piece of long work; made by :func:`task`."""

    def __init__(self, label: str, total: int) -> None:
        self.label, self.total = label, total
        self.done = 0
        self.first = 0  # where this process began: resumed work does not count towards the speed
        self.started = time.perf_counter()
        self._said = self.started - PLAIN_EVERY_S + FIRST_AFTER_S
        self._inside = 0.0  # share of the step at hand

    def start_at(self, done: int) -> None:
        """Work that an earlier process had finished."""
        self.done = self.first = done

    def extend(self, by: int) -> None:
        """There is more to do than was known."""
        self.total += by

    def advance(self, by: int = 1, note: str = "") -> None:
        """Some more is done; ``note`` says how it stands (a loss, a metric)."""
        self.done, self._inside = self.done + by, 0.0
        self._show(note)

    def inside(self, done: int, total: int | None, note: str = "") -> None:
        """How far the step at hand is (its own steps; ``total`` None: not known yet): a step may take minutes."""
        self._inside = min(done / total, 1.0) if total else 0.0
        self._show(f"step {done}" + (f" of {total}" if total else "") + (f", {note}" if note else ""))

    def expect(self, seconds: float) -> None:
        """The step at hand is expected to take so long from the start of the task on."""
        elapsed = time.perf_counter() - self.started
        self._inside = elapsed / max(seconds, elapsed + BEAT_S)
        self._show("")

    def goes_on(self, note: str) -> None:
        """Nothing is known but that the step at hand, which ``note`` names, is still going on."""
        self._show(note)

    def remaining_s(self) -> float | None:
        """Seconds that remain at the speed so far."""
        made = self.done - self.first + self._inside
        if made <= 0:
            return None
        return (time.perf_counter() - self.started) / made * max(self.total - self.done - self._inside, 0)

    def _show(self, note: str) -> None:
        now = time.perf_counter()
        if self.done < self.total and now - self._said < PLAIN_EVERY_S:
            return
        if self.done >= self.total and now - self.started < FIRST_AFTER_S:
            return
        self._said = now
        left = self.remaining_s()
        rest = f", about {duration(left)} left" if left and self.done < self.total else ""
        extra = f", {note}" if note else ""
        print(
            f"{self.label}: {self.done}/{self.total}, {duration(now - self.started)} elapsed{rest}{extra}",
            file=sys.stderr,
            flush=True,
        )


class _RichTask(Task):
    def __init__(self, label: str, total: int, bar: object, handle: object) -> None:
        super().__init__(label, total)
        self._bar, self._handle = bar, handle

    def start_at(self, done: int) -> None:
        super().start_at(done)
        self._bar.update(self._handle, completed=done)  # type: ignore[attr-defined]

    def extend(self, by: int) -> None:
        super().extend(by)
        self._bar.update(self._handle, total=self.total)  # type: ignore[attr-defined]

    def _show(self, note: str) -> None:
        self._bar.update(self._handle, completed=self.done + self._inside, note=note)  # type: ignore[attr-defined]


@contextmanager
def task(label: str, total: int) -> Iterator[Task]:
    """Shows progress of ``total`` steps while the block runs."""
    if not sys.stderr.isatty():
        yield Task(label, total)
        return
    from rich.console import Console
    from rich.errors import LiveError
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    bar = Progress(*columns, console=Console(stderr=True))

    def start() -> None:
        with suppress(LiveError):  # before rich 14.1 a bar inside another one is not shown
            bar.start()

    later = threading.Timer(FIRST_AFTER_S, start)
    later.daemon = True
    try:
        shown = _RichTask(label, total, bar, bar.add_task(label, total=total, note=""))
        later.start()
        yield shown
    finally:
        later.cancel()
        later.join()
        if bar.live.is_started:
            bar.stop()


def track(items: Sequence[T], label: str) -> Iterable[T]:
    """Iterates over a sequence with progress; of very many items it is told in strides."""
    stride = max(1, len(items) // 1000)
    with task(label, len(items)) as shown:
        for number, item in enumerate(items, start=1):
            yield item
            if number % stride == 0 or number == len(items):
                shown.advance(number - shown.done)


@contextmanager
def call(label: str, expected_s: float) -> Iterator[None]:
    """One call of a library that says nothing itself: the time left follows from how long it was expected to take."""
    with task(label, 1) as shown:
        with _beating(lambda: shown.expect(expected_s)):
            yield
        shown.advance()


@contextmanager
def long_step(shown: Task, note: str) -> Iterator[None]:
    """One step of a task that says nothing itself and may take minutes; nobody knows how many."""
    with _beating(lambda: shown.goes_on(note)):
        yield
    shown.advance(note=note)


@contextmanager
def _beating(beat: Callable[[], None]) -> Iterator[None]:
    """Calls ``beat`` every :data:`BEAT_S` while the block runs."""
    over = threading.Event()

    def again() -> None:
        while not over.wait(BEAT_S):
            beat()

    thread = threading.Thread(target=again, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


_SAID: ContextVar[set[str] | None] = ContextVar("said", default=None)


def say(text: str) -> None:
    """One line for the person who waits (stderr: stdout belongs to results)."""
    said = _SAID.get()
    if said is not None:
        if text in said:
            return
        said.add(text)
    print(text, file=sys.stderr, flush=True)


@contextmanager
def each_line_once() -> Iterator[None]:
    """What :func:`say` would repeat while the block runs is said once: the same data are read for many purposes."""
    token = _SAID.set(set())
    try:
        yield
    finally:
        _SAID.reset(token)


def duration(seconds: float) -> str:
    """``95`` -> ``1 min 35 s``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    if whole < 7200:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0}


def seconds_of(text: float | str) -> float:
    """``"10min"``, ``"90 s"``, ``"1.5h"`` or a number of seconds.

    Raises:
        ConfigError: anything else, or nothing left of it.
    """
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-z]*)\s*", str(text))
    unit = UNITS.get(found.group(2) or "s") if found else None
    seconds = float(found.group(1)) * unit if found and unit is not None else 0.0
    if not 0 < seconds < math.inf:
        raise ConfigError(f"{shown(text)} is no length of time; write seconds, or e.g. '10min', '90s', '1.5h'")
    return seconds
