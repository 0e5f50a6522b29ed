"""The command ``interlingua``: mounts the command groups, prints errors without a traceback, exits 2 on bad input."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, Any

import typer

from interlingua.cli import (
    compare,
    data,
    demo,
    doctor,
    embed,
    evaluate,
    listing,
    profiles,
    recommend,
    report,
    run,
    serve,
)
from interlingua.errors import InterlinguaError

app = typer.Typer(
    name="interlingua",
    help="A common language for collaborative filtering and large language models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data.app, name="data")
app.command("run")(run.run)
app.command("demo")(demo.demo)
app.command("doctor")(doctor.doctor)
app.command("evaluate")(evaluate.evaluate)
app.command("compare")(compare.compare)
app.command("report")(report.report)
app.command("profiles")(profiles.profiles)
app.command("recommend")(recommend.recommend)
app.command("explain")(recommend.explain)
app.command("embed")(embed.embed)
app.command("serve")(serve.serve)
app.command("list")(listing.listing)
app.command("runs")(listing.runs)


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
KEPT = "finished stages and checkpoints are kept, run the same command to continue"


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
    try:
        with terminable(next(iter(given), "")):
            code = app(args=given, standalone_mode=False)
        if code == INTERRUPTED:  # what typer makes of a KeyboardInterrupt
            raise KeyboardInterrupt
    except SystemExit as end:
        if end.code == TERMINATED:
            print(f"stopped by SIGTERM; {KEPT}", file=sys.stderr)
        raise
    except InterlinguaError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"stopped; {KEPT}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except USAGE as error:
        print(f"error: {error.format_message()}", file=sys.stderr)
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
