"""External ids that stand beside vectors: the names under which they are known, and the files that hold them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from interlingua.errors import DataError, first_line
from interlingua.storage.exact_files import read_parquet

ID_NAMES = {
    "items": ("item_id", "itemid", "item_ids", "id", "ids"),
    "users": ("user_id", "userid", "user_ids", "id", "ids"),
}
"""side -> names of columns and arrays that hold its ids, in any case; the first that is there is taken"""
FORMS = "one id per line, a JSON list, a JSON object id -> row number, .npy, or .parquet with a column 'id'"


def id_name(names: Iterable[str], side: str) -> str | None:
    """The one of ``names`` that says it holds ids of ``side`` (``users`` or ``items``), if any."""
    found = {name.lower(): name for name in names}
    return next((found[known] for known in ID_NAMES[side] if known in found), None)


def id_strings(values: npt.NDArray[Any], where: str) -> list[str]:
    """(n,) ids as strings; numbers as they are written, bytes as UTF-8.

    Raises:
        DataError: the array is no list.
    """
    if values.ndim != 1:
        raise DataError(f"{where} has the shape {values.shape}; ids are a list, one per row")
    if values.dtype.kind == "S":
        return [name.decode("utf-8") for name in values.tolist()]
    return [str(name) for name in values]


def read_ids(path: str | Path, side: str, option: str) -> list[str]:
    """Ids in the order of the rows that they name.

    Args:
        path: text (one id per line), ``.json`` (a list, or an object id -> row number), ``.npy``, or ``.parquet`` (an
            id column; with columns ``side`` and ``row``, as ``interlingua embed`` writes, only this side, by row).
        side: ``users`` or ``items``.
        option: the option that named the file, for errors.

    Returns:
        (n,) external ids.

    Raises:
        DataError: no such file, or it cannot be read as ids.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise DataError(f"{option}: no file of ids at {path}")
    try:
        return READERS.get(path.suffix.lower(), _lines)(path, side)
    except (ValueError, OSError, pl.exceptions.PolarsError) as error:
        raise DataError(
            f"{option}: cannot read ids from {path}: {first_line(error)}; a file of ids is {FORMS}"
        ) from None


def _lines(path: Path, side: str) -> list[str]:
    return path.read_text(encoding="utf-8-sig").splitlines()  # editors on Windows put a byte order mark in front


def _npy(path: Path, side: str) -> list[str]:
    return id_strings(np.load(path, allow_pickle=False), str(path))


def _json(path: Path, side: str) -> list[str]:
    stored = json.loads(path.read_text(encoding="utf-8-sig"))
    if isinstance(stored, dict):
        return _object(stored, path)
    if not isinstance(stored, list):
        raise DataError(f"{path} holds {str(stored)[:40]!r}; a file of ids is {FORMS}")
    bad = next((name for name in stored if isinstance(name, bool) or not isinstance(name, str | int | float)), "")
    if bad != "":
        raise DataError(f"{path} lists {str(bad)[:40]!r}, which is no id; a file of ids is {FORMS}")
    return [str(name) for name in stored]


def _object(stored: dict[str, Any], path: Path) -> list[str]:
    """The ids of an object id -> row number, or of one row number -> id where it cannot be read the other way."""
    names, values = list(stored), list(stored.values())
    forward, backward = _by_row(names, values), _by_row(values, names)
    if forward is not None and backward is not None and forward != backward:
        raise DataError(
            f"{path} is an object of numbers on both sides (e.g. {names[0]!r}: {values[0]!r}), which may be read as "
            "id -> row or row -> id; write a list with one id per row"
        )
    if forward is not None:
        return forward
    if backward is not None and all(isinstance(value, str) for value in values):
        return backward
    positions = [_row(value) for value in values]
    first: dict[int, int] = {}
    bad = next(
        n for n, row in enumerate(positions) if row is None or row >= len(positions) or first.setdefault(row, n) != n
    )
    raise DataError(
        f"{path} is an object whose {len(values):,} values are not the row numbers 0 to {len(values) - 1:,}, each once "
        f"(see {names[bad]!r}: {str(values[bad])[:40]!r}); write id -> row number, or a list with one id per row"
    )


def _by_row(names: Sequence[Any], positions: Sequence[Any]) -> list[str] | None:
    """The names in the order of their rows; None unless the rows are 0 to n - 1, each once."""
    numbers = [_row(row) for row in positions]
    known = {row: str(name) for row, name in zip(numbers, names, strict=True)}
    if len(known) < len(names) or not all(row in known for row in range(len(names))):
        return None
    return [known[row] for row in range(len(names))]


def _row(value: Any) -> int | None:
    """A row number, also where JSON made a string of it (keys); None for anything else."""
    if isinstance(value, str) and value.isdecimal() and value == str(int(value)):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _parquet(path: Path, side: str) -> list[str]:
    frame = read_parquet(path)
    if "side" in frame.columns:  # users and items in one table, as `interlingua embed` writes it
        sides = sorted(str(one) for one in frame["side"].unique().to_list())
        frame = frame.filter(pl.col("side").cast(pl.String) == side)
        if not frame.height:
            raise DataError(f"{path} has no ids of {side}: its column 'side' holds {', '.join(sides)}")
    name = id_name(frame.columns, side) or (frame.columns[0] if frame.width == 1 else None)
    if name is None:
        raise DataError(
            f"{path} has no column of ids ({', '.join(ID_NAMES[side])}); its columns: {', '.join(frame.columns)}; "
            "rename the one that holds them"
        )
    if "row" in frame.columns and name != "row":
        rows = frame["row"]
        if not rows.dtype.is_integer() or sorted(rows.to_list()) != list(range(frame.height)):
            raise DataError(
                f"{path}: the column 'row' is not 0 to {frame.height - 1:,}, each once, for {frame.height:,} {side}; "
                "write the row that each id names, or leave the column out"
            )
        frame = frame.sort("row")
    return [str(each) for each in frame[name].cast(pl.String).to_list()]


READERS: dict[str, Callable[[Path, str], list[str]]] = {".json": _json, ".npy": _npy, ".parquet": _parquet}
"""suffix -> reader; any other file is text"""
