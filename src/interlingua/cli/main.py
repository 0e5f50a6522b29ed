"""The command ``interlingua``: mounts the command groups, prints errors without a traceback, exits 2 on bad input."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from interlingua.cli import compare, data, demo, embed, evaluate, listing, profiles, recommend, report, run, serve
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


def main() -> None:
    """Entry point."""
    debug = "--debug" in sys.argv
    try:
        code = app(args=[a for a in sys.argv[1:] if a != "--debug"], standalone_mode=False)
    except InterlinguaError as error:
        if debug:
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("stopped; finished stages and checkpoints are kept, run the same command to continue", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        if not hasattr(error, "format_message"):  # not one of click's usage errors
            raise
        print(f"error: {error.format_message()}", file=sys.stderr)
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
