"""Training again with what a store has learned since: data, run, comparison, promotion.

One command, or a timer's: it may be killed at any moment and is continued by the same call, on the same data, stage by
stage. Nothing that serves is touched before the end, when the new version is promoted.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interlingua.data.prepare import DataConfig
from interlingua.errors import ConfigError, DataError, shown
from interlingua.life.gate import METRIC, Verdict, judge
from interlingua.life.training_data import TrainingData, training_data
from interlingua.life.versions import KEY_LENGTH, enter, promote, served
from interlingua.progress import say
from interlingua.runs.opening import open_session
from interlingua.runs.stages import run as run_recipe

if TYPE_CHECKING:
    from interlingua.runs.session import Session
    from interlingua.store import Store

Names = tuple[str, ...]
Begun = tuple[DataConfig, dict[str, int], Names]
"""the recipe's [data], counts, items that do not exist"""
NAMED = 5
"""items that do not exist and that are named"""
FRAMES = "frames"
"""folder below the runs with data that were in memory"""


@dataclass(frozen=True)
class Refreshed:
    """What came of it."""

    counts: dict[str, int]
    """see :class:`interlingua.life.training_data.TrainingData`"""
    served: str | None
    """version that served, with which the new one was compared"""
    version: str | None = None
    """the new one; None: a dry run"""
    path: str | None = None
    """its run"""
    promoted: bool = False
    reason: str = ""
    """why it was promoted or not, in words"""
    verdict: Verdict | None = None
    waiting: tuple[str, ...] = ()
    """items of events that are not trained on, because there are no such items; the first ones"""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def refresh(
    run: Path | str | None,
    store: Store,
    *,
    out: Path | str | None = None,
    data: str | None = None,
    metric: str = METRIC,
    device: str = "auto",
    trust: bool = False,
    dry_run: bool = False,
) -> Refreshed:
    """Trains the run's recipe on its data and the store's, and promotes it if it is not worse than what serves.

    Args:
        run: folder of a finished run, whose recipe, options and seed are used; None: of the version that serves.
        store: items, events and versions.
        out: folder of runs; None: the one of ``run``.
        data: where the run's source lies now, if it was moved.
        metric: by which the versions are compared.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        trust: the run may import code and use the network.
        dry_run: counts what is new, and writes nothing.

    Raises:
        ConfigError: no run and none promoted.
        DataError: the source is not here any more.
    """
    now = served(store)
    if run is None and now is None:
        raise ConfigError(f"no version is promoted in {store.place}: name the run whose recipe is to be trained again")
    of = open_session(run if run is not None or now is None else now.path, device, trust=trust)  # type: ignore[arg-type]
    root = Path(out) if out is not None else of.path.parent
    progress = root / f"refresh-{_version(of)}.json"
    config = of.recipe.data if data is None else of.recipe.data.model_copy(update={"name": data})
    found = None if dry_run else _begun(progress, store)
    if found is None:
        trained = (now, *(model for model in store.models() if model.version == _version(of)))
        since = max((model.events for model in trained if model is not None), default=0)
        made = training_data(config, of.seed, store, of.data.catalogue, former=of.recipe.data, since=since)
        waiting = made.waiting[:NAMED]
        say(counted(made.counts, waiting))
        if dry_run:
            served_now, reason = None if now is None else now.version, "nothing was trained (dry run)"
            return Refreshed(made.counts, served_now, reason=reason, waiting=waiting)
        found = _begin(progress, made, root, store)
    section, counts, waiting = found
    session = run_recipe(_with_data(of, section), out=root, seed=of.seed, device=device)
    result = _decided(session, of, store, counts, waiting, metric, trust)
    progress.unlink(missing_ok=True)
    return result


def _version(session: Session) -> str:
    return session.done["evaluate"].key[:KEY_LENGTH]


def _decided(
    session: Session, of: Session, store: Store, counts: dict[str, int], waiting: Names, metric: str, trust: bool
) -> Refreshed:
    """Compares the new run with what serves now, enters it, and promotes it or not."""
    now = served(store)
    version, path = _version(session), str(session.path.resolve())
    before = None if now is None else now.version
    if before == version:
        reason = "the same version serves already: nothing has changed since"
        return Refreshed(counts, before, version, path, False, reason, waiting=waiting)
    old = of if now is None else open_session(now.path, session.device, trust=trust)
    verdict, passed = None, False
    try:
        verdict = judge(session, old, store, metric)
        passed, reason = verdict.passed, verdict.said
    except DataError as error:
        reason = f"not compared: {error}"
    name = _version(old)
    done = "promoted" if passed else "not promoted"
    numbers = {} if verdict is None else {f"gate {metric}": verdict.new, f"gate {metric} of {name}": verdict.served}
    note = f"refresh of {name} with {of_store(counts)}{left_out(counts, waiting)}; {reason}; {done}"
    enter(store, path, note, counts["newest"], numbers)
    if passed:
        promote(store, version)
    return Refreshed(counts, before or name, version, path, passed, reason, verdict, waiting)


def _with_data(of: Session, section: DataConfig) -> Any:
    """The run's recipe over other data."""
    members = tuple(replace(each, data=section) for each in of.recipe.members)
    return replace(of.recipe, data=section, members=members)


def _begin(progress: Path, made: TrainingData, root: Path, store: Store) -> Begun:
    """Writes the data, then that they are to be trained on: a killed refresh goes on with the same."""
    section = made.written(root / FRAMES)
    about = {
        "store": store.place, "forgotten": store.counters()["forgotten"], "data": section.model_dump(mode="json"),
        "counts": made.counts, "waiting": made.waiting[:NAMED],
    }  # fmt: skip
    progress.write_text(json.dumps(about, indent=1), encoding="utf-8")
    return section, made.counts, made.waiting[:NAMED]


def _begun(progress: Path, store: Store) -> Begun | None:
    """What an interrupted refresh of this run trains on; None: there is none, or its data are out of date."""
    try:
        about = json.loads(progress.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    folder = Path(about["data"]["name"])
    same = about["store"] == store.place and "store_events" in about["counts"]
    if not same or about["forgotten"] != store.counters()["forgotten"] or not folder.is_dir():
        shutil.rmtree(folder, ignore_errors=True)  # somebody is in it who was forgotten since, or nobody needs it
        return None
    say(f"continuing the refresh that was interrupted, with its data ({progress})")
    return DataConfig.model_validate(about["data"]), about["counts"], tuple(about.get("waiting", ()))


def counted(counts: dict[str, int], waiting: Names) -> str:
    """What there is to train on, in a line."""
    return (
        f"data: {counts['events']:,} events of the source, {of_store(counts)}{left_out(counts, waiting)}; items: "
        f"{counts['new_items']:,} new or changed, {counts['deleted_items']:,} deleted"
    )


def of_store(counts: dict[str, int]) -> str:
    """The events of the store, and how many of them are new."""
    return f"{counts['store_events']:,} events of the store ({counts['new_events']:,} new)"


def left_out(counts: dict[str, int], waiting: Names) -> str:
    """What is not trained on; empty: everything is."""
    said = ""
    if counts["waiting_events"]:
        names = ", ".join(map(shown, waiting))
        said += f"; {counts['waiting_events']:,} wait for items that do not exist ({names})"
    if counts["strange_values"]:
        said += f"; {counts['strange_values']:,} left out, with values off the scale of the data"
    return said
