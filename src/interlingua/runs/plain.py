"""Values as Python and frames give them: NaN is no value, and infinity is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from interlingua.errors import DataError, shown
from interlingua.runs.answers import id_text

OF_PANDAS = ("NAType", "NaTType")
"""classes of pandas.NA and pandas.NaT; pandas itself is not imported here"""


def without_nan(given: Any) -> Any:
    """Mappings with None for NaN, which beside texts would become the text "NaN"; anything else as it is."""
    if isinstance(given, Mapping):
        return {name: _value(value) for name, value in given.items()}
    if isinstance(given, Sequence) and not isinstance(given, str | bytes):
        return [without_nan(each) if isinstance(each, Mapping) else each for each in given]
    return given


def finite(frame: pl.DataFrame, what: str) -> pl.DataFrame:
    """A frame of things with null for NaN.

    Raises:
        DataError: infinity, with its row and column.
    """
    numbers = [name for name, kind in frame.schema.items() if kind.is_float()]
    for name in numbers:
        wrong = frame[name].is_infinite().fill_null(False)
        if wrong.any():
            _refuse(what, int(wrong.arg_max() or 0), frame.height, name, frame.filter(wrong)[name][0])
    return frame.with_columns(pl.col(name).fill_nan(None) for name in numbers)


def check_finite(given: Any, what: str) -> None:
    """Raises: DataError: infinity in a mapping, where beside texts it would become the text "inf"."""
    lines = [given] if isinstance(given, Mapping) else given
    if not isinstance(lines, Sequence) or isinstance(lines, str | bytes):
        return
    for number, line in enumerate(lines):
        for name, value in line.items() if isinstance(line, Mapping) else ():
            if isinstance(value, float | np.floating) and np.isinf(value):
                _refuse(what, number, len(lines), name, float(value))


def _refuse(what: str, place: int, count: int, name: Any, value: Any) -> None:
    raise DataError(f"{what} {place + 1} of {count}: {name} is {shown(value)}; give a finite number, or none")


def _value(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_value(each) for each in value]
    return None if _is_nan(value) else value


def _is_nan(value: Any) -> bool:
    """NaN, and what pandas has for it beside texts and dates."""
    return (isinstance(value, float | np.floating) and bool(np.isnan(value))) or type(value).__name__ in OF_PANDAS


def with_ids(frame: pl.DataFrame, given: Any, column: str, source: str, what: str) -> pl.DataFrame:
    """A frame of things with the ids of one column as texts, each as it was written.

    Args:
        frame: read from ``given``.
        given: a frame, or mappings of one thing each.
        column: of the frame.
        source: its name in ``given``.
        what: one of them, for errors.

    Raises:
        DataError: NaN, nothing, blanks, or yes and no, where an id should be.
    """
    mappings = [given] if isinstance(given, Mapping) and frame.height == 1 else given
    lines = isinstance(mappings, Sequence) and len(mappings) == frame.height
    ids = [line.get(source) for line in mappings] if lines else frame[column].to_list()
    for place, value in enumerate(ids):
        if value is None or _is_nan(value) or not str(value).strip():
            raise DataError(f"{what} {place + 1} of {len(ids)} has no {column}")
        if isinstance(value, bool | np.bool_):
            raise DataError(f"{what} {place + 1} of {len(ids)}: {column} is {value}; an id is a text or a number")
    if lines and all(isinstance(value, str | int | float | np.generic) for value in ids):
        return frame.with_columns(pl.Series(column, map(id_text, ids), pl.String))
    return frame
