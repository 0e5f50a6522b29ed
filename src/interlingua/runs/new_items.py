"""Lines of a catalogue from whatever describes items: read, cleaned and named as the run's own catalogue was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from interlingua.data.catalogue import Catalogue
from interlingua.data.clean import CleanConfig, clean_texts
from interlingua.data.files.columns import ITEM_ROLES, rename
from interlingua.data.raw import Log
from interlingua.errors import DataError, identifier, shown
from interlingua.runs.bring_checks import lines_frame, table_of
from interlingua.runs.plain import check_finite, finite, with_ids, without_nan
from interlingua.vectors.id_files import id_name

AVAILABLE = "available"
"""column that says whether an item may come out; it is no column of the catalogue"""
CLEARED = ""
"""cell of a line: the item is to have no value there"""
EXAMPLE = "{'item_id': 'i9', 'title': 'Heat'}"
MOST_COLUMNS = 1_000
"""columns that items after training may have beside the catalogue's: each has a place in every line"""
NO = ("false", "0", "no")
YES = ("true", "1", "yes")


def lines_of(given: Any, catalogue: Catalogue) -> tuple[pl.DataFrame, list[bool | None], list[str]]:
    """(n) lines of a catalogue, each id once (the last counts), which of them may come out (None: not said), and notes.

    A cell is null where nothing is said of it, and an empty text (:data:`CLEARED`) where the item is to have no value:
    in a mapping by None, an empty text or an empty list. A gap of a frame, and NaN, say nothing.

    Args:
        given: a frame (Polars, pandas, Arrow), mappings of one item each, one mapping, or a file of a table.
        catalogue: the run's.

    Raises:
        DataError: no table, no column of ids, a line without an id, infinity, or a value that cannot be read.
    """
    given = table_of(given, "catalogue")
    if isinstance(given, Sequence) and not isinstance(given, str | bytes):
        check_columns((name for each in given if isinstance(each, Mapping) for name in each), catalogue)
    if isinstance(given, Mapping) and _is_one(given, catalogue):
        given = [given]
    check_finite(given, "item")
    cleared = _cleared(given)
    frame = finite(lines_frame(without_nan(given), "item", EXAMPLE), "item")
    back = {word: column for column, word in catalogue.names.items() if word in frame.columns}
    twice = next((word for word, column in back.items() if column in frame.columns and column != word), None)
    if twice is not None:
        raise DataError(
            f"items have both {back[twice]!r} and {twice!r}, its name in the run's own data; give one of them"
        )
    frame = frame.rename({word: column for word, column in back.items() if column not in frame.columns})
    if not frame.height:
        return catalogue.items.head(0), [], []
    frame, used = rename(frame, ITEM_ROLES, {}, "items", Log(quiet=True))
    check_columns(frame.columns, catalogue)
    if "item_id" not in frame.columns:
        raise DataError(f"items have no column item_id (they have {', '.join(frame.columns) or 'none'})")
    source = back.get(used["item_id"], used["item_id"])
    frame = with_ids(frame, given, "item_id", source, "item")
    for number, each in enumerate(frame["item_id"].cast(pl.String, strict=False), 1):
        identifier(each, f"item {number} of {frame.height}: item_id")
    ids = frame["item_id"].cast(pl.String).to_list()
    lines, frame = frame.height, frame.unique("item_id", keep="last", maintain_order=True)
    repeated = lines - frame.height
    notes = [f"{repeated:,} of {lines:,} lines repeat an item_id: the last line of each counts"] if repeated else []
    cleaned = clean_texts(frame, "item_id", "item", CleanConfig(), Log(quiet=True), "items")
    if cleared:
        roles = {source: role for role, source in used.items()}
        named = {word: roles.get(back.get(word, word), back.get(word, word)) for line in cleared for word in line}
        last = dict(zip(ids, cleared, strict=True))
        cleaned = _with_cleared(cleaned, {item: {named[word] for word in words} for item, words in last.items()})
    allowed: list[bool | None] = [None] * cleaned.height
    if AVAILABLE in cleaned.columns:
        allowed = [_switch(value, item) for value, item in zip(cleaned[AVAILABLE], cleaned["item_id"], strict=True)]
        cleaned = cleaned.drop(AVAILABLE)
    absent = [column for column in catalogue.items.columns if column not in cleaned.columns]
    cleaned = cleaned.with_columns(pl.lit(None, pl.String).alias(column) for column in absent)
    own = catalogue.items.columns
    return cleaned.select(*own, *(column for column in cleaned.columns if column not in own)), allowed, notes


def _cleared(given: Any) -> list[set[str]]:
    """(n) names that each of some mappings gives no value on purpose; empty: no mapping does, or there are none."""
    if isinstance(given, Mapping) or not isinstance(given, Sequence) or isinstance(given, str | bytes):
        return []
    mappings = [each for each in given if isinstance(each, Mapping)]
    found = [{str(name) for name, value in each.items() if _nothing(value)} - {AVAILABLE} for each in mappings]
    return found if any(found) else []


def _nothing(value: Any) -> bool:
    return value is None or (isinstance(value, str | list | tuple) and not len(value))


def _with_cleared(lines: pl.DataFrame, cleared: Mapping[str, set[str]]) -> pl.DataFrame:
    """Lines with an empty text where a cell was cleared."""
    ids = lines["item_id"].to_list()
    for column in {name for names in cleared.values() for name in names} & {*lines.columns} - {"item_id"}:
        mask = pl.Series([column in cleared.get(item, ()) for item in ids], dtype=pl.Boolean) & lines[column].is_null()
        lines = lines.with_columns(pl.when(mask).then(pl.lit(CLEARED)).otherwise(pl.col(column)).alias(column))
    return lines


def _is_one(given: Mapping[Any, Any], catalogue: Catalogue) -> bool:
    """Whether a mapping describes one item, with lists in it perhaps: its id is no list of ids."""
    word = id_name([str(name) for name in given], "items") or catalogue.names.get("item_id")
    return isinstance(given.get(word), str | int | float | np.generic)


def check_columns(names: Iterable[Any], catalogue: Catalogue) -> None:
    """Raises: DataError: more than :data:`MOST_COLUMNS` names that the catalogue does not have."""
    further = dict.fromkeys(names)
    for name in (AVAILABLE, *catalogue.items.columns):
        further.pop(name, None)
    if len(further) > MOST_COLUMNS:
        examples = ", ".join(shown(name) for name in list(further)[:3])
        raise DataError(
            f"items after training would have {len(further):,} attributes that the catalogue does not have (e.g. "
            f"{examples}), and a run takes at most {MOST_COLUMNS:,}; give the same attributes to many items"
        )


def _switch(value: str | None, item: str) -> bool | None:
    if value is None:
        return None
    word = value.strip().lower()
    if word not in (*YES, *NO):
        raise DataError(f"item {shown(item)}: {AVAILABLE} is {shown(value)}; it is true or false")
    return word in YES
