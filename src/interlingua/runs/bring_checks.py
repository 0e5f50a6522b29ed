"""Checks of the arguments of ``interlingua.align``, before anything is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from interlingua.contracts.batch import FloatArray
from interlingua.data.files.columns import EVENT_ROLES, ITEM_ROLES
from interlingua.data.files.frames import is_frame, to_polars
from interlingua.data.files.tables import any_table
from interlingua.data.raw import Log
from interlingua.errors import ConfigError, DataError, first_line, shown
from interlingua.progress import say
from interlingua.vectors.id_files import ID_NAMES, id_name

WORDS = ("title", "description", "categories")
"""columns of a catalogue that texts are made of"""
Sides = Mapping[str, tuple[FloatArray, list[str]]]


def table_of(source: Any, name: str) -> Any:
    """The frame of a file; anything else as it is.

    Raises:
        DataError: no such file, or none that holds a table.
    """
    if not isinstance(source, str | Path):
        return source
    path = Path(source).expanduser()
    if not path.exists():
        raise DataError(
            f"{name}: there is no file {shown(str(source))} (in {Path.cwd()}); give a frame, or a file of one"
        )
    return any_table(path, Log(quiet=True), ITEM_ROLES if name == "catalogue" else EVENT_ROLES)


def lines_frame(given: Any, what: str, example: str) -> pl.DataFrame:
    """A frame of whatever describes things: a table, mappings of one thing each, or one mapping.

    Args:
        given: see above.
        what: one of them, for errors.
        example: a mapping, for errors.

    Raises:
        ConfigError: one of several is no mapping.
        DataError: what is given makes no table.
    """
    columns = (list, tuple, np.ndarray, pl.Series)
    if isinstance(given, Mapping) and all(not isinstance(value, columns) for value in given.values()):
        given = [given]
    if not isinstance(given, Sequence) or isinstance(given, str | bytes):
        return to_polars(given, f"{what}s")
    wrong = next((each for each in given if not isinstance(each, Mapping)), None)
    if wrong is not None:
        raise ConfigError(f"an {what} is {shown(wrong)}; give mappings such as {example}")
    try:
        return pl.DataFrame([dict(each) for each in given], infer_schema_length=None, strict=False)
    except (TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{what}s: cannot read {len(given)} mappings as a table: {first_line(error)}") from None


def check_vectors(sides: Sides) -> None:
    """Vectors of zeros have no direction: a side with nothing else is refused, single ones are reported.

    Raises:
        DataError: vectors of a side are all zero.
    """
    for side, (vectors, ids) in sides.items():
        zero = np.flatnonzero(~vectors.any(axis=1))
        if len(zero) == len(vectors):
            raise DataError(f"{side}: all {len(vectors):,} vectors are zero, so nothing is like anything")
        if len(zero):
            say(
                f"warning: {side}: {len(zero):,} of {len(vectors):,} vectors are zero (e.g. of {shown(ids[zero[0]])}): "
                "every score of theirs is 0"
            )


def check_catalogue(catalogue: Any, sides: Sides, aligns: bool) -> None:
    """Checks that a catalogue has texts, and names items of the vectors, each once.

    Raises:
        ConfigError: it is no frame, or has no texts to align.
        DataError: there is no column of ids, ids repeat, or none is an id of the vectors.
    """
    if catalogue is None:
        return
    if not is_frame(catalogue):
        raise ConfigError(
            f"catalogue is {shown(catalogue)}; give a frame, or a file of one, with item_id and {', '.join(WORDS)}"
        )
    frame = to_polars(catalogue, "catalogue")
    name = id_name(frame.columns, "items")
    if name is None:
        raise DataError(
            f"catalogue has no column of item ids ({', '.join(ID_NAMES['items'])}); it has {', '.join(frame.columns)}"
        )
    ids = frame[name].cast(pl.String)
    repeated = ids.filter(ids.is_duplicated())
    if len(repeated):
        count = len(repeated) - repeated.n_unique()
        raise DataError(f"catalogue repeats {count:,} item ids (e.g. {repeated[0]!r}); give one row per item")
    texts = [each for each in WORDS if each in frame.columns and frame[each].null_count() < frame.height]
    if aligns and not texts:
        raise ConfigError(
            f"catalogue has no texts: none of {', '.join(WORDS)} is a column with values (it has "
            f"{', '.join(frame.columns)}); rename the column with texts, or leave catalogue out"
        )
    meets(sides["items"][1], ids.to_list(), "items", f"catalogue[{name!r}]")


def check_events(interactions: Any, sides: Sides) -> None:
    """Raises: DataError: no event is of an item that has a vector."""
    if not is_frame(interactions):
        return
    frame = to_polars(interactions, "interactions")
    for side, (_, ids) in sides.items():
        name = f"{side[:-1]}_id"
        if name in frame.columns:
            meets(ids, frame[name].cast(pl.String).to_list(), side, f"interactions[{name!r}]")


def meets(ids: Sequence[str], known: Sequence[Any], side: str, where: str) -> None:
    """Raises: DataError: ids of vectors and those of a table have none in common."""
    if ids and known and not set(ids) & set(known):
        raise DataError(
            f"{side}: none of the {len(ids):,} ids of the vectors (e.g. {shown(ids[0])}) is in {where} (e.g. "
            f"{shown(known[0])}); give the ids of the rows with {side[:-1]}_ids=, written as in that table"
        )
