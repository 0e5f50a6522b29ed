"""What the service writes to stderr: a line for each request, and what uvicorn says, as text or as JSON."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

from interlingua.serve.broken import broken


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    seen: dict[str, Any] = dict(record.__dict__.get("seen", {}))
    if record.exc_info is not None and record.exc_info[1] is not None:  # by type and place: its words may hold an id
        seen |= broken(record.exc_info[1])
    return seen


def time_of(seconds: float) -> str:
    """Seconds since 1970 as a log has them."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonLines(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``event``, and of a request its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        event = record.getMessage().strip()
        line = {"time": time_of(record.created), "level": record.levelname.lower(), "event": event}
        return json.dumps(line | _fields(record), default=str)


class TextLines(logging.Formatter):
    """The same for people."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        said = " ".join(record.getMessage().split())
        fields = " ".join(f"{name}={value}" for name, value in _fields(record).items() if value is not None)
        return f"{time_of(record.created)} {record.levelname.lower()} {said}{' ' if fields else ''}{fields}"


def log_config(form: Literal["text", "json"], stream: TextIO | None = None) -> dict[str, Any]:
    """For ``logging.config.dictConfig``: uvicorn's messages and the service's own, to stderr, in one form.

    In JSON also what libraries warn of. uvicorn's log of requests, with paths and query strings, is not written.

    Args:
        form: of a line.
        stream: where it goes; None: what is stderr now.
    """
    formatter = JsonLines if form == "json" else TextLines
    handler = {"class": "logging.StreamHandler", "formatter": "lines", "stream": stream or "ext://sys.stderr"}
    logger = {"handlers": ["lines"], "level": "INFO", "propagate": False}
    silent = {"handlers": [], "level": "CRITICAL", "propagate": False}
    rest = {"root": {"handlers": ["lines"], "level": "WARNING"}} if form == "json" else {}
    return {
        **rest,
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"lines": {"()": formatter}},
        "handlers": {"lines": handler},
        "loggers": {
            "uvicorn": logger,
            "uvicorn.error": logger,
            "interlingua.serve": logger,
            "asyncio": logger,
            "uvicorn.access": silent,
        },
    }
