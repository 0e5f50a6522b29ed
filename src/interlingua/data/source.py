"""Finds the reader of a source, and the folders of named datasets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from interlingua import registry
from interlingua.data.datasets import NamedDataset, named
from interlingua.data.files.columns import TIME_FORMAT, check_roles
from interlingua.data.files.frames import STORED, is_frame, read_frames
from interlingua.data.files.guard import guarded, refuse_unused
from interlingua.data.raw import Log, SourceTables
from interlingua.errors import DataError, unknown
from interlingua.storage.cached import cache_folder

DATA_VARIABLE = "INTERLINGUA_DATA"


def read(
    source: Any, *, columns: Mapping[str, str], options: Mapping[str, Any], reader: str | None, seed: int, log: Log
) -> SourceTables:
    """The tables of a source, from its reader.

    Raises:
        DataError: the source does not exist, no reader recognises it, or the reader cannot read it.
        ConfigError: options or columns that the reader does not take.
    """
    form = columns.get(TIME_FORMAT)
    columns = {role: column for role, column in columns.items() if role != TIME_FORMAT}
    raw = _read(source, columns=columns, options=options, reader=reader, seed=seed, log=log)
    raw.time_format = form
    return raw


def _read(
    source: Any, *, columns: Mapping[str, str], options: Mapping[str, Any], reader: str | None, seed: int, log: Log
) -> SourceTables:
    check_roles(columns)
    if is_frame(source) or isinstance(source, Mapping):
        refuse_unused("frames", "options", options, "columns.*; what texts there are comes as frames of their own")
        refuse_unused("frames", "reader", {reader: reader} if reader else {}, "columns.*; readers read files")
        with guarded("frames", "cannot be used", "correct the frame, or give its columns as arrays"):
            return read_frames(source, columns, log)
    if not isinstance(source, str | Path):
        raise DataError(
            f"cannot read a {type(source).__module__}.{type(source).__name__}; give a dataset's name, a path, a frame "
            "(pandas, Polars, Arrow) of events, or a mapping with the frames interactions, items, users"
        )
    known = named().get(str(source))
    if known and known.generated:
        path, name = Path(known.name), reader or known.reader or known.name
    else:
        path = locate(str(source), log)
        name = reader or (known.reader if known else None) or recognise(path)
    chosen = registry.find("data", name, "[data].reader")
    where, what = ("frames", "frame") if STORED.fullmatch(path.name) else (str(path), "file")
    with guarded(where, f"the reader {name} cannot use it", f"correct the {what}, or choose another with reader"):
        raw: SourceTables = chosen().read(path, columns=dict(columns), options=dict(options), seed=seed, log=log)
    raw.name = raw.name or path.name
    raw.path = None if known and known.generated else path
    if known:
        raw.name, raw.domain = known.name, known.domain
        raw.licence, raw.url = known.licence, known.url
    return raw


def recognise(path: Path) -> str:
    """Name of the reader that recognises a path.

    Raises:
        DataError: none does.
    """
    for name in (n for n in registry.names("data") if n != "table"):
        if registry.find("data", name).matches(path):
            return name
    if registry.find("data", "table").matches(path):
        return "table"
    inside = ""
    if path.is_dir():
        listed = sorted(p.name for p in path.iterdir())
        inside = f" (a folder with {', '.join(listed[:8]) or 'nothing in it'}{', ...' if len(listed) > 8 else ''})"
    raise DataError(
        f"no reader recognises {path}{inside}; give a file (csv, tsv, parquet, jsonl, also .gz), a folder that one of "
        f"the readers knows ({', '.join(registry.names('data'))}), or choose one with reader"
    )


def locate(source: str, log: Log) -> Path:
    """The path of a source: as given, in ``$INTERLINGUA_DATA``, in the cache, or after a download.

    Raises:
        DataError: not found, with the places that were searched.
    """
    path = Path(source).expanduser()
    if path.exists():
        return path
    known = named().get(source)
    if known is None:
        if os.sep in source or path.suffix:
            raise DataError(f"there is no file or folder {source} (in {Path.cwd()})")
        in_data = _in_data(source)
        if in_data is not None:
            return in_data
        raise DataError(
            f"{unknown('dataset', source, named(), see='interlingua data list')}; and no such file in {Path.cwd()}"
        )
    folder = present(known)
    if folder is not None:
        return folder
    if known.download is None:
        raise DataError(_nowhere(known))
    from interlingua.data.files.download import fetch

    return fetch(known, cache_folder() / "datasets", log)


def here(source: str) -> Path | None:
    """The path of a source on this machine, by the rules of :func:`locate`; None: not here, or generated."""
    path = Path(source).expanduser()
    if path.exists():
        return path
    known = named().get(source)
    return _in_data(source) if known is None else None if known.generated else present(known)


def present(known: NamedDataset) -> Path | None:
    """The folder of a named dataset on this machine, or None."""
    for folder in _places(known):
        if folder.is_dir() and any(folder.iterdir()):
            return folder
    return None


def _in_data(name: str) -> Path | None:
    root = os.environ.get(DATA_VARIABLE)
    path = Path(root) / name if root else None
    return path if path is not None and path.exists() else None


def _places(known: NamedDataset) -> list[Path]:
    names = (known.name, *known.folders)
    roots = [Path(root) for root in (os.environ.get(DATA_VARIABLE),) if root] + [cache_folder() / "datasets"]
    return [root / name for root in roots for name in names]


def _nowhere(known: NamedDataset) -> str:
    places = ", ".join(str(p) for p in _places(known))
    return (
        f"the dataset {known.name!r} is not here (looked at {places}) and cannot be fetched by itself; get it from "
        f"{known.url} ({known.licence}) and put {known.layout} into {cache_folder() / 'datasets' / known.name}, "
        f"or point ${DATA_VARIABLE} at the folder that holds {known.name}"
    )
