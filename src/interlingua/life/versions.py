"""Versions of a model in a store: which run is one, which one serves, which one served before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interlingua.errors import ArtifactError, ConfigError, DataError, MissingExtraError, shown, unknown
from interlingua.runs.saved import run_in
from interlingua.storage import artifact

if TYPE_CHECKING:
    from interlingua.store import ModelVersion, Store

KEY_LENGTH = 12
"""characters of a run's key that are its version, as in ``Recommender.version``"""


def open_store(place: Path | str, *, make: bool = False) -> Store:
    """The store at a place: a file, or ``postgresql://...``.

    Args:
        place: see above.
        make: whether it is made where there is none.

    Raises:
        StoreError: it cannot be opened, or is not there.
        MissingExtraError: SQLAlchemy is not installed.
    """
    try:
        from interlingua.store import Store
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "store", "a store") from None
    return Store.open(place, make=make)


def version_of(run: Path | str) -> tuple[str, Path, dict[str, float]]:
    """Version, folder and measured numbers (``PROTOCOL METRIC`` -> mean over users) of a finished run.

    Raises:
        ArtifactError: not the folder of a finished run.
    """
    found = artifact.load(run_in(Path(run)))
    if found.kind != "evaluate":
        raise ArtifactError(f"{run} is a {found.kind!r} stage; a run is the folder that starts with 'evaluate-'")
    reports = json.loads((found.path / "metrics.json").read_text(encoding="utf-8"))
    metrics = {
        f"{protocol} {metric}": float(value)
        for protocol, report in reports.items()
        for metric, value in report["metrics"].items()
        if value is not None and value == value
    }
    return found.key[:KEY_LENGTH], found.path.resolve(), metrics


def enter(
    store: Store, run: Path | str, note: str = "", events: int = 0, more: dict[str, float] | None = None
) -> ModelVersion:
    """Enters a run as a version; one that is known keeps its note and events where none are given.

    Args:
        store: where to.
        run: folder of the run.
        note: where it came from.
        events: number of the newest event of the store that it was trained with.
        more: further numbers beside the run's own.
    """
    from interlingua.store import ModelVersion

    version, path, metrics = version_of(run)
    known = next((model for model in store.models() if model.version == version), None)
    made = None if known is None else known.made
    if known is not None:
        note, events, metrics = note or known.note, events or known.events, {**known.metrics, **metrics}
    entered = ModelVersion(version, str(path), metrics | (more or {}), note, made, events)
    store.add_model(entered)
    return entered


def served(store: Store) -> ModelVersion | None:
    """The version that was promoted last; None: none was yet."""
    promotions = store.promotions()
    return None if not promotions else named(store, promotions[-1])


def named(store: Store, version: str) -> ModelVersion:
    """A version by its name, or by the first characters of it.

    Raises:
        DataError: the store has none, or several.
    """
    models = {model.version: model for model in store.models()}
    if version in models:
        return models[version]
    found = [model for name, model in models.items() if version and name.startswith(version)]
    if len(found) > 1:
        raise DataError(
            f"several versions begin with {shown(version)}: {', '.join(model.version for model in found)}; "
            "give more of it"
        )
    if not found:
        raise DataError(unknown("version", version, models, f"the store {store.place}"))
    return found[0]


def promote(store: Store, version: str) -> ModelVersion:
    """Lets a version serve: services on the store swap to it within seconds.

    Raises:
        DataError: the store does not have it.
        ArtifactError: its folder is gone.
    """
    model = _usable(named(store, version))
    store.promote(model.version)
    return model


def _usable(model: ModelVersion) -> ModelVersion:
    """Raises: ArtifactError: the version's folder is gone."""
    if not model.path:
        raise ArtifactError(f"the folder of version {model.version} was deleted (versions --prune); name another one")
    if not Path(model.path).is_dir():
        raise ArtifactError(
            f"the run of version {model.version} is not at {model.path} any more; put it back, or enter it from where "
            "it is now: interlingua promote RUN --store STORE"
        )
    return model


def before(store: Store) -> ModelVersion:
    """The version that served before the present one was promoted: what a rollback lets serve again.

    Raises:
        DataError: none did.
    """
    return _step_before(store)[0]


def _step_before(store: Store) -> tuple[ModelVersion, int]:
    """The version before, and the number of its promotion; those whose folders were deleted are passed over."""
    from interlingua.store import steps

    done = steps(store.history())
    models = {model.version: model for model in store.models() if model.path}
    for step in reversed(done[:-1]):
        if step.version in models and step.version != done[-1].version:
            return models[step.version], step.number
    now = [step.version for step in done[-1:]]
    further = [version for version in models if version not in now]
    raise DataError(
        f"nothing served before {now[0] if now else 'now'} in {store.place}; name a version: "
        f"{', '.join(further) or 'there is no other'}"
    )


def rollback(store: Store, version: str | None = None) -> ModelVersion:
    """Takes promotions back: the version before serves again; again: the one before that.

    Args:
        store: whose versions they are.
        version: how far back: the last time that it served. One that is not among the steps back is promoted.

    Raises:
        DataError: no version served before, or the store does not have the one that is named.
        ArtifactError: its folder is gone.
    """
    from interlingua.store import steps

    if version is None:
        model, number = _step_before(store)
    else:
        model = named(store, version)
        found = [step.number for step in steps(store.history()) if step.version == model.version]
        if not found:
            return promote(store, model.version)
        number = found[-1]
    _usable(model)
    store.go_back(number)
    return model


def listing(store: Store) -> list[dict[str, Any]]:
    """All versions, newest first: what they are, whether one serves, and when it began to (seconds since 1970).

    ``path`` is empty where the folder was deleted.
    """
    promotions = store.history()
    return [
        {
            "version": model.version,
            "serves": bool(promotions) and promotions[-1].version == model.version,
            "promoted": [each.time for each in promotions if each.version == model.version],
            "made": model.made,
            "metrics": dict(model.metrics),
            "note": model.note,
            "events": model.events,
            "path": model.path,
        }
        for model in reversed(store.models())
    ]


def folder_of(name: str, store: Store | None = None) -> Path:
    """The run that is meant: its folder, or a version of the store.

    Raises:
        ConfigError: neither.
        DataError: the store has no such version.
    """
    if Path(name).is_dir():
        return Path(name)
    if store is None:
        raise ConfigError(f"{name} is no folder of a run; for a version name its store, too (--store)")
    return Path(named(store, name).path)
