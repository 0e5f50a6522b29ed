"""Promises of every command: it describes itself, and bad input gives a readable error."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from interlingua.cli.main import own_commands

COMMANDS: dict[str, Any] = own_commands() | {
    each.name: each.load() for each in entry_points(group="interlingua.command")
}


def alone(name: str) -> typer.Typer:
    """An application with this command, or this group of commands."""
    app, command = typer.Typer(), COMMANDS[name]
    app.callback()(lambda: None)  # else an application of one command has no names
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name)
    else:
        app.command(name)(command)
    return app


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_help_says_what_it_does(name: str) -> None:
    answer = CliRunner().invoke(alone(name), [name, "--help"])
    assert answer.exit_code == 0, answer.output
    assert "Usage" in answer.output
    command = COMMANDS[name]
    assert isinstance(command, typer.Typer) or (command.__doc__ or "").strip()


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_an_unknown_option_is_refused(name: str) -> None:
    answer = CliRunner().invoke(alone(name), [name, "--no-such-option"])
    assert answer.exit_code == 2
    assert "no-such-option" in answer.output
