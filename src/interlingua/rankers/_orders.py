"""Orders of candidates in a chat model's answer: how they are asked for, what counts as one, and what it names.

Answers name candidates by numbers or whole titles, never by parts of them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal

from interlingua.clients.answers import UnusableAnswerError, object_in
from interlingua.clients.completion import Answer

Form = Literal["indices", "titles"]
FIELD = "ranking"
SEPARATOR = "|"
"""between titles of an answer; a title that holds it is shown with a stroke instead"""
HOW = {
    "indices": f'Answer with a JSON object {{"{FIELD}": "..."}} that lists the numbers of the candidates, the most '
    "likely first, separated by commas. Numbers only, each once.",
    "titles": f'Answer with a JSON object {{"{FIELD}": "..."}} that lists the titles of the candidates exactly as they '
    f"are written above, the most likely first, separated by {SEPARATOR}.",
}


def checked(answer: Answer, answers: Form) -> bytes:
    """The form in which the ledger keeps an answer: its parts, as JSON.

    Raises:
        UnusableAnswerError: it is no object with a ranking, or holds more than the numbers.
    """
    found: dict[str, Any] = object_in(answer.text) or {}
    value = next((v for k, v in found.items() if str(k).strip().lower() == FIELD), None)
    if isinstance(value, str):
        text = value if answers == "titles" else value.strip().strip("[]").replace(",", SEPARATOR)
        parts = text.replace("\n", SEPARATOR).split(SEPARATOR)
    elif isinstance(value, list):
        parts = [str(part) for part in value]
    else:
        raise UnusableAnswerError(f"no JSON object with {FIELD!r} in the answer: {answer.text[:80]!r}")
    parts = [part.strip() for part in parts if part.strip()]
    if answers == "indices":
        parts = [part.rstrip(".").lstrip("#") for part in parts]
        strange = next((part for part in parts if not (part.isascii() and part.isdigit() and len(part) < 10)), None)
        if strange is not None:
            raise UnusableAnswerError(f"{strange!r} in {FIELD!r} is no number")
    if not parts:
        raise UnusableAnswerError(f"{FIELD!r} is empty")
    return json.dumps(parts).encode()


def plain(title: str) -> str:
    """A title for comparison: lower case, without surrounding quotes, single spaces."""
    return " ".join(title.strip().strip("\"'“”").casefold().split())


def shortened(title: str, limit: int) -> str:
    """One line without the separator of answers, cut to the length."""
    line = " ".join(title.replace(SEPARATOR, "/").split())
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def chosen(parts: Sequence[str], shown: Sequence[int], titles: Sequence[str], answers: Form) -> list[int]:
    """Candidates in the order of an answer's parts: each once, and only those that were shown.

    Args:
        parts: numbers or titles, as :func:`checked` keeps them.
        shown: items as they were listed.
        titles: (I,) titles as they were written.
        answers: how the answer names candidates.
    """
    if answers == "indices":
        numbers = [int(part) for part in parts]
        return list(dict.fromkeys(shown[n - 1] for n in numbers if 1 <= n <= len(shown)))
    places: dict[str, list[int]] = {}
    for item in shown:
        places.setdefault(plain(titles[item]), []).append(item)
    out = []
    for part in parts:
        equal = places.get(plain(part))
        if equal:  # equal titles: the next of them
            out.append(equal.pop(0))
    return out


def written(items: Sequence[int], shown: Sequence[int], titles: Sequence[str], answers: Form) -> str:
    """The answer that puts ``items`` in their order, as the model is asked to write it."""
    if answers == "indices":
        value = ", ".join(str(shown.index(item) + 1) for item in items)
    else:
        value = f" {SEPARATOR} ".join(titles[item] for item in items)
    return json.dumps({FIELD: value}, ensure_ascii=False)
