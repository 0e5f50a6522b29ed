"""The instructions for profiles: one text file per domain, with a part for items and a part for users.

A file has the lines ``== item ==`` and ``== user ==``, each followed by its instructions, and may have
``== item opening ==`` and ``== user opening ==`` with the first words of an answer: a model on this machine continues
them (small ones otherwise repeat their instructions), a server is not told. ``{noun}``, ``{verb}`` and ``{past}``
stand for the catalogue's words; other braces are text.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from interlingua.data.domain import Domain
from interlingua.errors import ConfigError, unknown

PARTS = ("item", "user")
HEADING = re.compile(r"^== *([\w ]+?) *==\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Prompts:
    """Instructions for items and users, with the catalogue's words filled in."""

    name: str
    """domain, or the file's name"""
    item: str
    user: str
    item_opening: str = ""
    user_opening: str = ""

    @property
    def hashes(self) -> dict[str, str]:
        """sha256 of each part as it is sent."""
        texts = {part: f"{getattr(self, part)}\n{getattr(self, f'{part}_opening')}" for part in PARTS}
        return {part: hashlib.sha256(text.encode()).hexdigest() for part, text in texts.items()}


def shipped() -> list[str]:
    """Domains that have a file."""
    folder = files("interlingua.profiles").joinpath("instructions")
    return sorted(entry.name.removesuffix(".txt") for entry in folder.iterdir() if entry.name.endswith(".txt"))


def prompts_for(domain: Domain, chosen: str | None = None) -> Prompts:
    """The instructions for a catalogue.

    Args:
        domain: its words; the noun chooses the file, and ``generic`` is used if there is no such file.
        chosen: a shipped name or the path of a file, used instead.

    Raises:
        ConfigError: the file does not exist, or lacks a part.
    """
    if chosen is not None and chosen not in shipped():
        path = Path(chosen).expanduser()
        if not path.is_file():
            raise ConfigError(unknown("prompts", chosen, shipped(), "prompts") + "; or give the path of a text file")
        return parse(path.read_text(encoding="utf-8"), path.name, domain)
    name = chosen or (domain.noun if domain.noun in shipped() else "generic")
    text = files("interlingua.profiles").joinpath("instructions", f"{name}.txt").read_text(encoding="utf-8")
    return parse(text, name, domain)


def parse(text: str, name: str, domain: Domain) -> Prompts:
    """Both parts of a prompt file, with the catalogue's words filled in."""
    pieces = HEADING.split(text)
    parts = {pieces[i]: pieces[i + 1].strip() for i in range(1, len(pieces) - 1, 2)}
    missing = [part for part in PARTS if not parts.get(part)]
    if missing:
        absent = " and ".join(f"'== {part} =='" for part in missing)
        raise ConfigError(
            f"the prompt file {name} has no part {absent}; see profiles/instructions/generic.txt for the form"
        )
    for word in ("noun", "verb", "past"):
        parts = {key: value.replace(f"{{{word}}}", getattr(domain, word)) for key, value in parts.items()}
    openings = [parts.get(f"{part} opening", "") for part in PARTS]
    return Prompts(name, parts["item"], parts["user"], *openings)
