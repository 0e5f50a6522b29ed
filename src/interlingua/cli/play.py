"""``interlingua play``: from nothing to a page to look at, in one command."""

from __future__ import annotations

import json
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from interlingua.cli.options import Device, Out, Overrides, Seed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from interlingua.serve.model import ServedModel
    from interlingua.store import Store

FAVOURITE, GENERATED = "movielens-small", "planted"
BETTER = "all-round"
FIRST_PORT, LAST_PORT = 8000, 8019
OF_BOTH = ("data", "evaluate")
"""sections whose options hold for the quick recipe too"""


def play(
    data: Annotated[
        str | None,
        typer.Argument(
            help="Dataset name, a prepared folder, or your own events: CSV, parquet, JSON (default: movielens-small "
            "where it is on this machine, else a generated world)."
        ),
    ] = None,
    items: Annotated[
        Path | None, typer.Option(help="Table of the items of your own events: ids, titles, texts, categories, ...")
    ] = None,
    overrides: Overrides = None,
    out: Out = Path("runs"),
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on (default: the first free one from 8000).")
    ] = None,
    full: Annotated[bool, typer.Option("--full", help="Train all-round before the page is there.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Stay with the quick recipe; nothing trains beside.")] = False,
    no_open: Annotated[bool, typer.Option("--no-open", help="Do not open the browser.")] = False,
    seed: Seed = 7,
    device: Device = "auto",
) -> None:
    """Prepare data, train a quick recipe, serve it and open its page; train all-round meanwhile, then serve that.

    --set data.... and evaluate.... hold for both recipes, every other one for all-round (interlingua run all-round).
    Events and items that are put in on the page last as long as the command. Ctrl-C ends everything; finished stages
    stay in the folder of runs.
    """
    from interlingua.errors import ConfigError, MissingExtraError

    if full and quick:
        raise ConfigError("--full trains all-round first, and --quick never: give one of them")
    try:
        from interlingua.life.versions import open_store
        from interlingua.serve.app import create_app
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "serve", "interlingua play") from None
    from interlingua.serve import server
    from interlingua.serve.access import Access
    from interlingua.serve.hosts import Hosts
    from interlingua.serve.keyring import ring_of
    from interlingua.serve.limits import ServeLimits
    from interlingua.serve.queue import WorkQueue

    options, of_first = _options(overrides or (), items, quick)
    chosen, host = _free_port(port), "127.0.0.1"
    source = data or favourite()
    _checked(source, options)
    first = _trained(source, out, seed, device, options if full else of_first, full)
    limits = ServeLimits()
    line = WorkQueue(limits.queue, limits.deadline_s)
    with tempfile.TemporaryDirectory(prefix="interlingua-play-", ignore_cleanup_errors=True) as folder:
        store = open_store(Path(folder) / "play.sqlite", make=True)
        try:
            model = _served(first, store, device, None if full or quick else (source, out, seed), options)
            app = create_app(model, limits, line, Access(ring_of(None), host, hosts=Hosts(host)))
            address = f"http://{host}:{chosen}/"
            print(f"page: {address}  (Ctrl-C ends it)", flush=True)
            if not no_open:
                threading.Thread(target=_open, args=(host, chosen, address), daemon=True).start()
            server.run(app, line, limits, host, chosen, log_level="warning")
        finally:
            store.close()


def favourite() -> str:
    """MovieLens where it is on this machine, else the generated world; nothing is fetched."""
    from interlingua.data.source import here
    from interlingua.progress import say

    if here(FAVOURITE) is not None:
        return FAVOURITE
    say(f"{FAVOURITE} is not on this machine (interlingua data prepare {FAVOURITE} fetches it): a generated world")
    return GENERATED


def _options(overrides: Sequence[str], items: Path | None, quick: bool) -> tuple[list[str], list[str]]:
    """What all-round is given, and what of it the quick recipe takes.

    Raises:
        ConfigError: an option that nothing here would read, or items twice.
    """
    from interlingua.config import parse_overrides
    from interlingua.errors import ConfigError

    table = parse_overrides(overrides).get("data", {})
    if isinstance(table, dict) and table.get("name"):
        raise ConfigError(f"--set data.name={table['name']}: write the data behind the command: interlingua play DATA")
    both = [each for each in overrides if each.partition(".")[0].strip() in OF_BOTH]
    rest = [each for each in overrides if each not in both]
    if quick and rest:
        raise ConfigError(f"--set {rest[0]}: with --quick only options of [data] and [evaluate] are read; leave it out")
    if items is not None:
        if not items.is_file():
            raise ConfigError(f"--items: there is no file {items} (in {Path.cwd()})")
        if isinstance(table, dict) and "items" in dict(table.get("options") or {}):
            raise ConfigError("--items and --set data.options.items name the items twice; leave one of them out")
        both = [*both, f"data.options.items={json.dumps(str(items))}"]
    return [*both, *rest], both


def _checked(source: str, options: Sequence[str]) -> None:
    """Reads the recipe that is trained last, so that what it cannot be given is said before minutes of work."""
    from interlingua.runs.recipe import load as load_recipe

    load_recipe(BETTER, options, source)


def _trained(source: str, out: Path, seed: int, device: str, options: Sequence[str], full: bool) -> Path:
    """The folder of the run that is served first."""
    from interlingua.runs.quick import quick_run
    from interlingua.runs.stages import run

    if full:
        return run(BETTER, out=out, overrides=options, seed=seed, device=device, data=source).path
    return quick_run(source, out, seed, device, options).path


def _served(
    first: Path, store: Store, device: str, better: tuple[str, Path, int] | None, overrides: Sequence[str]
) -> ServedModel:
    """The holder that begins with a run, and what is trained beside it."""
    from interlingua.recommender import load
    from interlingua.serve.promoted import served_model

    model = served_model(store, lambda path: load(path, device, store=store), first)
    if better is None:
        return model
    from interlingua.runs.recipe import load as load_recipe
    from interlingua.runs.session import Session
    from interlingua.serve.training import Training

    source, out, seed = better
    session = Session(load_recipe(BETTER, overrides, source), out, seed, device)
    stages = len(session.plan) + sum(len(each.plan) - 2 for each in session.members)  # data and measuring are shared
    program = "import sys; from interlingua.cli.main import main; sys.argv[0] = 'interlingua'; main()"
    options = ["--data", source, "--out", str(out), "--seed", str(seed), "--device", device, "--json"]
    changed = [part for each in overrides for part in ("--set", each)]
    command = [sys.executable, "-c", program, "run", BETTER, *options, *changed]
    training = Training(command, BETTER, stages, store, lambda words: print(words, file=sys.stderr, flush=True))
    model.companions.append(training)
    model.training = training.state
    return model


def _free_port(port: int | None) -> int:
    """The port to listen on, found before minutes of work.

    Raises:
        ConfigError: it is taken.
    """
    from interlingua.errors import ConfigError

    for candidate in range(FIRST_PORT, LAST_PORT + 1) if port is None else [port]:
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind(("127.0.0.1", candidate))
            except OSError:
                continue
            return int(tried.getsockname()[1])
    said = f"port {port} is" if port is not None else f"the ports {FIRST_PORT} to {LAST_PORT} are"
    raise ConfigError(f"{said} taken on this machine; name another, e.g. --port 0 for a free one")


def _open(host: str, port: int, address: str) -> None:
    """Opens the browser once somebody answers."""
    import webbrowser

    for _ in range(600):
        try:
            with socket.create_connection((host, port), timeout=1):
                break
        except OSError:
            time.sleep(0.1)
    webbrowser.open(address)


COMMANDS = {"play": play}
