"""Values as Python and frames give them: NaN is no value, and infinity is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from interlingua.errors import DataError, shown


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
    if isinstance(value, list):
        return [_value(each) for each in value]
    return None if isinstance(value, float | np.floating) and np.isnan(value) else value
