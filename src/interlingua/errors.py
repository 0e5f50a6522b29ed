"""The errors that the library raises on purpose: each says what, where, the value got and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class InterlinguaError(Exception):
    """Parent of every deliberate error; the command line prints it without a traceback and exits with 2."""


class ConfigError(InterlinguaError):
    """A recipe, an option or an argument that cannot be used."""


class DataError(InterlinguaError):
    """Interactions, item texts or vectors that cannot be read or do not fit together."""


class ArtifactError(InterlinguaError):
    """A stored stage that is missing, damaged, edited or from a newer schema."""


class MissingExtraError(InterlinguaError):
    """An optional dependency is not installed; the message names the command that installs it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed; "
            f"install it with: pip install 'interlingua[{extra}]'"
        )


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
    near = get_close_matches(str(got), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    place = f" in {where}" if where else ""
    shown = see if see else ", ".join(names)
    return f"unknown {what} {got!r}{place}{hint} ({len(names)} known: {shown})"
