"""The command ``interlingua``: mounts the command groups, prints errors without a traceback, exits 2 on bad input."""

from __future__ import annotations

import importlib
import pkgutil
import signal
import sys
import threading
from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import entry_points
from types import FrameType
from typing import Annotated, Any

import typer

from interlingua import cli
from interlingua.errors import ConfigError, InterlinguaError, first_line

app = typer.Typer(
    name="interlingua",
    help="A common language for collaborative filtering and large language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def mount(commands: Mapping[str, Any]) -> None:
    """Adds commands: name -> a function, or a group (``typer.Typer``)."""
    for name, command in commands.items():
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name)
        else:
            app.command(name)(command)


def own_commands() -> dict[str, Any]:
    """``COMMANDS`` of every file in this folder: a file adds a command."""
    found: dict[str, Any] = {}
    for each in pkgutil.iter_modules(cli.__path__):
        if each.name != "main":
            found |= vars(importlib.import_module(f"interlingua.cli.{each.name}")).get("COMMANDS", {})
    return dict(sorted(found.items()))


def installed_commands(taken: Container[str]) -> dict[str, Any]:
    """Commands of other packages: entry points in the group ``interlingua.command``; a broken one is left out and said.

    Args:
        taken: names that they cannot have.
    """
    found = {}
    for point in entry_points(group="interlingua.command"):
        try:
            if point.name in taken:
                raise ConfigError("a command of that name exists")
            found[point.name] = point.load()
        except Exception as error:
            print(f"command {point.name!r} of {point.value} is left out: {first_line(error)}", file=sys.stderr)
    return found


OWN = own_commands()
mount(OWN)


@app.callback(invoke_without_command=True)
def options(
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
) -> None:
    """Options before the command."""
    if version:
        from interlingua import __version__

        print(__version__)
        raise typer.Exit


INTERRUPTED, TERMINATED = 130, 143
RETAINED = "finished stages and checkpoints are kept, run the same command to continue"
DRY = "a dry run trains nothing, so there is nothing to continue"


@contextmanager
def terminable(command: str) -> Iterator[None]:
    """SIGTERM ends a command as Ctrl-C does, through every ``finally``; the service drains by itself."""
    if threading.current_thread() is not threading.main_thread() or command == "serve":
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit(TERMINATED)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


USAGE: Any = next(each for each in typer.BadParameter.__mro__ if each.__name__ == "ClickException")
"""the usage errors of click, whether typer brings its own copy or not"""


def main() -> None:
    """Entry point."""
    debug = "--debug" in sys.argv
    given = [a for a in sys.argv[1:] if a != "--debug"]
    left = DRY if "--dry-run" in given else RETAINED
    try:
        with terminable(next(iter(given), "")):
            mount(installed_commands(OWN))
            code = app(args=given, standalone_mode=False)
        if code == INTERRUPTED:  # what typer makes of a KeyboardInterrupt
            raise KeyboardInterrupt
    except SystemExit as end:
        if end.code == TERMINATED:
            print(f"stopped by SIGTERM; {left}", file=sys.stderr)
        raise
    except InterlinguaError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"stopped; {left}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except USAGE as error:
        print(f"error: {error.format_message()}", file=sys.stderr)
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
