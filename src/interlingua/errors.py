"""The errors that the library raises on purpose: each says what, where, the value got and what to do."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Container, Iterable
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, requires
from numbers import Integral

LONGEST_VALUE = 120
"""characters of a value that an error repeats: enough to find it, too few for a whole table"""

LONGEST_ID = 500
"""characters of an id or a key that comes after training: what every store holds"""

MOST_NAMES = 5_000
"""known names among which the nearest is looked for: among a million item ids it would take minutes"""


class InterlinguaError(Exception):
    """Parent of every deliberate error; the command line prints it without a traceback and exits with 2."""


class ConfigError(InterlinguaError):
    """A recipe, an option or an argument that cannot be used."""


class DivergedError(ConfigError):
    """A training whose loss is no longer a number: its options do not work on these data."""


class DataError(InterlinguaError):
    """Interactions, item texts or vectors that cannot be read or do not fit together."""


class UnknownIdError(DataError):
    """A user or an item that is asked about and that the run does not know."""


class ArtifactError(InterlinguaError):
    """A stored stage that is missing, damaged, edited or from a newer schema."""


class StoreError(InterlinguaError):
    """A store that cannot be opened or written: unreachable, locked, damaged, of a newer schema."""


class MissingExtraError(InterlinguaError):
    """An optional dependency is not installed; the message names the command that installs it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed; "
            f"install it with: {install_command(extra)}"
        )


def install_command(*extras: str) -> str:
    """What installs the packages of extras from anywhere: an editable checkout, a wheel, or a release.

    The packages are named one by one, as the installed metadata lists them: ``pip install 'interlingua[llm]'`` asks an
    index, which knows neither a checkout nor a wheel that was copied here.
    """
    try:
        packages = _packages(requires("interlingua") or [], extras)
    except PackageNotFoundError:  # a source tree on the path, not installed
        packages = []
    if not packages:
        return f"pip install -e '.[{','.join(extras)}]' in the checkout"
    return f"pip install {' '.join(shlex.quote(each) for each in packages)}"


def _packages(lines: Iterable[str], extras: Iterable[str]) -> list[str]:
    """The requirements of some extras, each once; an extra may name others: ``interlingua[text,llm]``."""
    listed = [(name.strip(), re.search(r"extra\s*==\s*['\"]([\w.-]+)", rest)) for name, _, rest in map(_cut, lines)]
    found: dict[str, None] = {}
    waiting, done = list(extras), set()
    while waiting:
        extra = waiting.pop(0)
        if extra in done:
            continue
        done.add(extra)
        for name, marker in listed:
            if marker is None or marker[1] != extra:
                continue
            own = re.fullmatch(r"interlingua\[([\w,\s.-]+)\]", name)
            if own is None:
                found[name] = None
            else:
                waiting += [part.strip() for part in own[1].split(",")]
    return list(found)


def _cut(line: str) -> tuple[str, str, str]:
    return line.partition(";")


def first_line(error: BaseException) -> str:
    """What another library says, in one line: the rest is its own context and advice on calls that nobody here made."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def shown(value: object) -> str:
    """A value in an error: its start, never a whole table, array or text.

    A frame in memory (polars, pandas, Arrow) is named by its kind and shape.
    """
    shape = getattr(value, "shape", None)  # any library's table or array: none of them is imported here
    if shape is not None:
        kind = f"{type(value).__module__.split('.')[0]}.{type(value).__name__}"
        return f"a {kind} of shape {tuple(shape)}"
    if isinstance(value, dict | list | tuple | set | frozenset) and any(hasattr(v, "shape") for v in _inside(value)):
        return f"a {type(value).__name__} of {len(value)} tables or arrays"
    return shortened(repr(value))


def shortened(text: str) -> str:
    """The start of a text, in an error or a note."""
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 4]} ..."


def at_least_one(name: str, value: object) -> None:
    """Raises: ConfigError: no whole number (NumPy's are whole numbers too), or below 1."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ConfigError(f"{name} must be at least 1, and a whole number, got {shown(value)}")


def identifier(value: object, what: str) -> str:
    """An id or key that may come after training: the same over HTTP, in Python, and in every store.

    Raises:
        DataError: no text, empty, overlong, or with characters that no database holds.
    """
    if not isinstance(value, str) or not 0 < len(value) <= LONGEST_ID:
        raise DataError(f"{what} is {shown(value)}; give a text of 1 to {LONGEST_ID} characters")
    return whole_text(what, value)


def without_blanks(value: str, what: str, known: Container[str]) -> str:
    """A new id has no blanks round it, wherever it comes in: nobody sees them. One that is known is taken as it is.

    Raises:
        DataError: an unknown id that begins or ends with blanks or ends of lines.
    """
    if value != value.strip() and value not in known:
        raise DataError(
            f"{what} {shown(value)} is not known, and its id begins or ends with blanks or ends of lines; leave these "
            "out"
        )
    return value


def whole_text(what: str, value: str) -> str:
    """A text that every database holds.

    Raises:
        DataError: it has half of a character, or NUL.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DataError(f"{what} is {shown(value)}: half of a character (a lone surrogate); give whole ones") from None
    if "\0" in value:
        raise DataError(f"{what} is {shown(value)}: it holds the character NUL, which no database takes")
    return value


def _inside(value: object) -> Iterable[object]:
    return value.values() if isinstance(value, dict) else value  # type: ignore[return-value]


def near(got: object, known: Collection[str]) -> str:
    """The known name that is most like this one; empty where none is, or too many are known."""
    if not isinstance(got, str | int) or len(known) > MOST_NAMES:
        return ""
    return next(iter(get_close_matches(str(got), known, n=1)), "")


def unknown(what: str, got: object, known: Iterable[str], where: str = "", see: str = "") -> str:
    """The message for a name that is not among the known ones, with the nearest known name.

    Args:
        what: the kind of thing, e.g. ``"aligner"``.
        got: the value that was given.
        known: the names that would have worked.
        where: file, section or option in which it stood.
        see: a command that lists the known names.
    """
    names = sorted(known)
    close = near(got, names)
    hint = f"; did you mean {close!r}?" if close else ""
    place = f" in {where}" if where else ""
    known_ones = see if see else ", ".join(names)
    return f"unknown {what} {shown(got)}{place}{hint} ({len(names)} known: {known_ones})"
