"""Checks a language model's answer: requested JSON, repaired JSON, or a reason for refusing it.

Repaired, in this order: a block of thinking before the answer, markdown fences, prose around the object, line breaks
inside strings, commas before a closing brace, typographic or single quotes, quotes that nobody escaped, an end that is
missing. Never repaired: a text that was cut in its middle, where it is the one that is needed.
"""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

THINKING, THOUGHT = re.compile(r"<think>", re.IGNORECASE), re.compile(r"</think>", re.IGNORECASE)
EMPTY = {"", "none", "null", "n/a", "unknown", "..."}
"""answers of models without content (RLMRec's prompt requests "None" then)"""
SHOWN = 80
"""characters of an unusable answer in its reason"""


class UnusableAnswerError(ValueError):
    """An answer that cannot be used; the message says why, for the ledger and the card."""


class ProfileAnswer(BaseModel):
    """A profile as RLMRec asks for it (section 3.2): what is encoded, and why it was written so."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    summarization: str
    reasoning: str = ""

    @field_validator("summarization", "reasoning", mode="before")
    @classmethod
    def _one_text(cls, value: Any) -> Any:
        if isinstance(value, list) and all(isinstance(v, str) for v in value):  # some models write bullet points
            value = " ".join(value)
        return " ".join(value.split()) if isinstance(value, str) else value

    @field_validator("summarization")
    @classmethod
    def _says_something(cls, value: str) -> str:
        if value.strip(" .\"'").lower() in EMPTY:
            raise ValueError("the model found nothing to say")
        return value


def profile_of(text: str, finish: str = "stop") -> ProfileAnswer:
    """The profile in an answer.

    Args:
        text: what the model wrote.
        finish: ``length`` where it was cut: then only fields that were closed count.

    Raises:
        UnusableAnswerError: no object, no summarization, or an empty one.
    """
    found = object_in(text)
    if not found:
        raise UnusableAnswerError(
            f"no JSON object in the answer{' (cut)' if finish == 'length' else ''}: {_start(text)!r}"
        )
    named = {str(key).strip().lower(): value for key, value in found.items()}
    if "summarization" not in named:  # the spelling that models fall back to
        other = next((k for k in ("summarisation", "summary") if k in named), None)
        named |= {} if other is None else {"summarization": named[other]}
    named = {key: value for key, value in named.items() if key != "reasoning" or value is not None}
    try:
        return ProfileAnswer.model_validate(named)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        cut = "; the answer was cut" if finish == "length" else ""
        raise UnusableAnswerError(f"{field}: {first['msg']}{cut}: {_start(text)!r}") from None


def _start(text: str) -> str:
    return text[:SHOWN] + ("..." if len(text) > SHOWN else "")


def object_in(text: str) -> dict[str, Any] | None:
    """The JSON object in a text, repaired where it is nearly one; None where there is none."""
    text = _without_thinking(text).replace("\ufeff", "")
    for start in [m.start() for m in re.finditer(r"\{", text)][:4]:
        found = _strict(text[start:]) or _lenient(text[start:])
        if found:
            return found
    return None


def _without_thinking(text: str) -> str:
    """The text without its blocks of thinking; one pass, however many of them are never closed."""
    parts, position = [], 0
    while (start := THINKING.search(text, position)) and (end := THOUGHT.search(text, start.end())):
        parts.append(text[position : start.start()])
        position = end.end()
    return "".join([*parts, text[position:]])


def _strict(text: str) -> dict[str, Any] | None:
    """The object at the start of the text; what stands behind it does not matter. Raw line breaks are allowed."""
    try:
        found, _ = json.JSONDecoder(strict=False).raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


KEY = re.compile(r"""[\s,{]*["'“”‘’]?([A-Za-z_]+)["'“”‘’]?\s*:\s*""")
QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’"}
ENDS = re.compile(r"""\s*(,\s*["'“‘]?[A-Za-z_]+["'”’]?\s*:|,?\s*\}|,?\s*$)""")


def _lenient(text: str) -> dict[str, Any]:
    """Fields ``key: "text"`` one after the other; a field that has no end is left out."""
    found: dict[str, Any] = {}
    position = 0
    while (key := KEY.match(text, position)) is not None:
        closing = QUOTES.get(text[key.end() : key.end() + 1])
        if closing is None:
            break
        end = _end_of_string(text, key.end() + 1, closing)
        if end is None:
            break
        found[key[1]] = _unescaped(text[key.end() + 1 : end])
        position = end + 1
    return found


def _end_of_string(text: str, start: int, closing: str) -> int | None:
    """Position of the quote that ends a string: the first one behind which the object goes on or ends.

    Quotes inside the text that nobody escaped are passed over.
    """
    position = start
    while (position := text.find(closing, position)) >= 0:
        before = text[start:position]
        escaped = (len(before) - len(before.rstrip("\\"))) % 2 == 1
        if not escaped and ENDS.match(text, position + 1):
            return position
        position += 1
    return None


def _unescaped(text: str) -> str:
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except ValueError:
        return text.replace('\\"', '"').replace("\\n", "\n")
