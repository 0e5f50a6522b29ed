"""What the service writes to stderr: a line for each request, and what uvicorn says, as text or as JSON."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any, Literal

from interlingua.serve.seen import broken


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    seen: dict[str, Any] = dict(record.__dict__.get("seen", {}))
    if record.exc_info is not None and record.exc_info[1] is not None:  # by type and place: its words may hold an id
        seen |= broken(record.exc_info[1])
    return seen


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class JsonLines(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``event``, and of a request its fields."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line = {"time": _time(record), "level": record.levelname.lower(), "event": record.getMessage().strip()}
        return json.dumps(line | _fields(record), default=str)


class TextLines(logging.Formatter):
    """The same for people."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        said = " ".join(record.getMessage().split())
        fields = " ".join(f"{name}={value}" for name, value in _fields(record).items() if value is not None)
        return f"{_time(record)} {record.levelname.lower()} {said}{' ' if fields else ''}{fields}"


def log_config(form: Literal["text", "json"]) -> dict[str, Any]:
    """For ``logging.config.dictConfig``: uvicorn's messages and the service's own, to stderr, in one form.

    uvicorn's log of requests, with paths and query strings, is not written.
    """
    formatter = JsonLines if form == "json" else TextLines
    handler = {"class": "logging.StreamHandler", "formatter": "lines", "stream": "ext://sys.stderr"}
    logger = {"handlers": ["lines"], "level": "INFO", "propagate": False}
    silent = {"handlers": [], "level": "CRITICAL", "propagate": False}
    return {
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
