"""What a column of the catalogue holds, by its cells: numbers, yes and no, or texts. Filters and new items go by it."""

from __future__ import annotations

import polars as pl

from interlingua.data.cells import SEVERAL, empty, numbers_of

YES_NO = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False, "1.0": True, "0.0": False}
"""texts of cells that a column of yes and no may have"""


def yes_no(cells: pl.Series) -> pl.Series | None:
    """(I,) the column as true, false and null where all its cells say one of these; else None."""
    if cells.dtype == pl.Boolean:
        return cells
    texts = cells.cast(pl.String).str.strip_chars().str.to_lowercase()
    found = texts.replace_strict(YES_NO, default=None, return_dtype=pl.Boolean)
    return found if not (found.is_null().to_numpy() & ~empty(cells)).any() else None


def how_many_numbers(column: str, cells: pl.Series) -> str:
    """How many of a column's cells are numbers: ``all``, ``most``, ``some``, ``none``; ``""``: it has none."""
    filled = int((~empty(cells)).sum())
    if cells.dtype == pl.String:
        filled -= int(cells.cast(pl.Float64, strict=False).is_nan().sum())
    if cells.dtype == pl.Boolean or column == SEVERAL or not filled:
        return ""
    found = len(numbers_of(cells).drop_nulls())
    if found in (0, filled):
        return "all" if found else "none"
    return "most" if found > filled / 2 else "some"
