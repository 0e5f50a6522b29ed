"""Progress of long work on stderr: a rich bar on a terminal, plain lines elsewhere, both with the time that remains."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")
FIRST_AFTER_S, PLAIN_EVERY_S = 2.0, 10.0
"""plain lines: the first one after so long, the others at this distance"""


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

    def advance(self, by: int = 1, note: str = "") -> None:
        """Some more is done; ``note`` says how it stands (a loss, a metric)."""
        self.done, self._inside = self.done + by, 0.0
        self._show(note)

    def inside(self, done: int, total: int | None, note: str = "") -> None:
        """How far the step at hand is (its own steps; ``total`` None: not known yet): a step may take minutes."""
        self._inside = min(done / total, 1.0) if total else 0.0
        self._show(f"step {done}" + (f" of {total}" if total else "") + (f", {note}" if note else ""))

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

    def _show(self, note: str) -> None:
        self._bar.update(self._handle, completed=self.done + self._inside, note=note)  # type: ignore[attr-defined]


@contextmanager
def task(label: str, total: int) -> Iterator[Task]:
    """Shows progress of ``total`` steps while the block runs."""
    if not sys.stderr.isatty():
        yield Task(label, total)
        return
    from rich.console import Console
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
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield _RichTask(label, total, bar, bar.add_task(label, total=total, note=""))


def track(items: Sequence[T], label: str) -> Iterable[T]:
    """Iterates over a sequence with progress."""
    with task(label, len(items)) as shown:
        for item in items:
            yield item
            shown.advance()


def say(text: str) -> None:
    """One line for the person who waits (stderr: stdout belongs to results)."""
    print(text, file=sys.stderr, flush=True)


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
