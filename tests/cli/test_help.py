"""``--help`` shows every word of the texts it is made from: ``[data]`` is a section's name and no markup."""

from __future__ import annotations

import re
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from interlingua.cli.main import app


def commands(command: Any, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    """Every command with the words that call it."""
    found = [(path, command)]
    for name, inner in getattr(command, "commands", {}).items():
        found += commands(inner, (*path, name))
    return found


ALL = commands(typer.main.get_command(app))


def plain(text: str) -> str:
    """Letters, digits and signs without the white space that wrapping changes."""
    return re.sub(r"\s+", "", text)


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) or "interlingua" for path, _ in ALL])
def test_help_shows_every_word_of_its_texts(path: tuple[str, ...], command: Any) -> None:
    answer = CliRunner().invoke(app, [*path, "--help"])
    assert answer.exit_code == 0
    seen = plain(answer.output)
    texts = [command.help or "", *(option.help or "" for option in command.params if not option.hidden)]
    missing = [text for text in texts if plain(text) not in seen]
    assert not missing


def test_there_are_section_names_to_lose() -> None:
    texts = [option.help or "" for _, command in ALL for option in command.params]
    assert sum("[data]" in text for text in texts) >= 2
