"""RecBole: atomic files with one benchmark split, and a configuration that names them.

``NAME.train.inter``, ``NAME.valid.inter``, ``NAME.test.inter``, ``NAME.item`` (and ``NAME.user``), ``NAME.yaml``.
RecBole's ``token_seq`` is split at blanks, so that blanks inside a category become ``_``.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import polars as pl

from interlingua.data.catalogue import values_in
from interlingua.data.prepared import Dataset
from interlingua.data.writers.parts import NAMES, one_line, part_tables
from interlingua.errors import DataError

TYPES = {"user_id": "token", "item_id": "token", "timestamp": "float", "rating": "float", "label": "float"}


def write(data: Dataset, folder: Path) -> None:
    """Writes the files; ``folder``'s name is the dataset's.

    Raises:
        DataError: an id with a tab or an end of line, which an atomic file cannot hold.
    """
    name = folder.resolve().name.lstrip(".")
    columns: list[str] = []
    for part, events in part_tables(data):
        _check(events)
        columns = events.columns
        _table(events, folder / f"{name}.{part}.inter", TYPES)
    items = data.catalogue.items
    seqs = {each: "token_seq" for each in ("categories",) if each in items.columns}
    _table(
        items.with_columns(pl.col(each).map_elements(_words(each), pl.String).alias(each) for each in seqs),
        folder / f"{name}.item", seqs,
    )  # fmt: skip
    loaded = {"inter": columns, "item": items.columns}
    if data.catalogue.users is not None:
        _table(data.catalogue.users, folder / f"{name}.user", {})
        loaded["user"] = data.catalogue.users.columns
    lines = ["# recbole: run_recbole(config_file_list=[this file], dataset=..., config_dict={'data_path': ...})"]
    lines += [f"benchmark_filename: {json.dumps(list(NAMES))}", "load_col:"]
    lines += [f"  {kind}: {json.dumps(each)}" for kind, each in loaded.items()]
    lines += ["USER_ID_FIELD: user_id", "ITEM_ID_FIELD: item_id", "TIME_FIELD: timestamp"]
    lines += ["RATING_FIELD: rating"] if "rating" in columns else []
    lines += ["LABEL_FIELD: label"] if "label" in columns else []
    (folder / f"{name}.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _check(events: pl.DataFrame) -> None:
    for column in ("user_id", "item_id"):
        odd = events.filter(pl.col(column).str.contains(r"[\t\r\n]"))
        if len(odd):
            raise DataError(f"{column} {odd[column][0]!r} holds a tab or an end of line; atomic files cannot have it")


def _words(column: str) -> Callable[[str], str]:
    return lambda cell: " ".join(value.replace(" ", "_") for value in values_in(column, cell))


def _table(table: pl.DataFrame, path: Path, types: dict[str, str]) -> None:
    texts = [one_line(name) for name, kind in table.schema.items() if kind == pl.String]
    named = table.with_columns(texts).rename({name: f"{name}:{types.get(name, 'token')}" for name in table.columns})
    named.write_csv(path, separator="\t", quote_style="never")
