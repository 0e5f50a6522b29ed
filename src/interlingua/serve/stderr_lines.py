"""Whatever reaches stderr as JSON lines: also what is printed there, warns, or breaks before the service has begun.

``serve --log json`` puts it in place of ``sys.stderr`` for the rest of the process and of those that it divides into.
"""

from __future__ import annotations

import io
import json
import logging
import logging.config
import sys
import threading
import time
from types import TracebackType
from typing import Any, TextIO

from interlingua.serve.broken import broken
from interlingua.serve.logs import log_config, time_of

LEVELS = {"error": "error", "warning": "warning"}
"""words before a colon at the start of a line that say how bad it is"""
log = logging.getLogger("interlingua.serve")


class StderrLines(io.TextIOBase):
    """A stream that turns each line of text into a JSON object with ``time``, ``level`` and ``event``."""

    def __init__(self, under: TextIO) -> None:
        """``under``: the real stderr."""
        self.under = under
        self._rest, self._lock = "", threading.Lock()

    def writable(self) -> bool:
        """It is."""
        return True

    def isatty(self) -> bool:
        """Nobody looks at bars and colours."""
        return False

    def fileno(self) -> int:
        """Of the real one."""
        return self.under.fileno()

    def write(self, text: str) -> int:
        """Lines that are whole are written; the beginning of one waits for its end."""
        with self._lock:
            *lines, self._rest = (self._rest + text).replace("\r", "\n").split("\n")
            said = "".join(_line(line) for line in lines if line.strip())
        if said:
            self.under.write(said)
            self.under.flush()
        return len(text)

    def flush(self) -> None:
        """The real one; half a line goes on waiting."""
        self.under.flush()

    def close(self) -> None:
        """Never: whoever ends the process ends it."""


def _line(text: str) -> str:
    word, colon, rest = text.strip().partition(": ")
    level = LEVELS.get(word) if colon else None
    event = text.strip() if level is None else rest
    return json.dumps({"time": time_of(time.time()), "level": level or "info", "event": event}) + "\n"


def write_json_lines() -> None:
    """From now on. Twice is once."""
    before = sys.stderr
    if before in _MADE:
        return
    made = StderrLines(before)
    _MADE.append(made)
    sys.stderr = made
    logging.config.dictConfig(log_config("json", before))
    logging.captureWarnings(True)
    sys.excepthook, threading.excepthook = _unexpected, _unexpected_in_thread
    sys.unraisablehook = _unraisable


_MADE: list[Any] = []
"""streams that stand for stderr"""


def _unexpected(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    log.critical("ended by an error", extra={"seen": broken(error)})


def _unexpected_in_thread(found: threading.ExceptHookArgs) -> None:
    if found.exc_value is not None and found.exc_type is not SystemExit:
        log.error("a thread ended by an error", extra={"seen": broken(found.exc_value)})


def _unraisable(found: sys.UnraisableHookArgs) -> None:
    if found.exc_value is not None:
        log.error("an error that nobody could be told", extra={"seen": broken(found.exc_value)})
