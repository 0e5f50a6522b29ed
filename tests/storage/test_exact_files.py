"""Brackets, stars and braces in a path are letters, not patterns."""

from __future__ import annotations

import ast
import json

import numpy as np
import polars as pl
import pytest
from tests.source_trees import FILES, ident

from interlingua.data.prepare import load, prepare, save
from interlingua.storage.exact_files import column_names, holds, read_parquet
from interlingua.text import npy
from interlingua.vectors.id_files import read_ids

EVENTS = pl.DataFrame({"user": ["a"] * 4, "item": list("wxyz"), "time": range(4)})
NAMES = ["data [old]", "star * name", "what?", "{a,b}", "[!x]"]
READS = ("read_parquet", "read_parquet_schema", "read_csv", "read_json", "read_ndjson", "read_ipc", "read_excel")


def polars_reads(source: str) -> list[int]:
    """Lines that call a ranker of Polars, which takes a path for a pattern."""
    calls = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name)]
    return [
        n.lineno for n in calls if n.value.id in ("pl", "polars") and (n.attr in READS or n.attr.startswith("scan_"))
    ]


def test_nothing_else_reads_files_through_polars():
    assert polars_reads("import polars as pl\npl.scan_parquet(x)\npl.read_csv(y)") == [2, 3]
    found = {ident(path): polars_reads(path.read_text(encoding="utf-8")) for path in FILES}
    assert {name for name, lines in found.items() if lines} == {"storage/exact_files.py"}


@pytest.mark.parametrize("name", NAMES)
def test_every_kind_of_file_is_read_from_such_a_folder(tmp_path, name):
    place = tmp_path / name
    place.mkdir()
    EVENTS.write_csv(place / "events [1].csv")
    EVENTS.write_ndjson(place / "events*.jsonl")
    (place / "events.json").write_text(json.dumps(EVENTS.to_dicts()))
    with (place / "events?.parquet").open("wb") as stream:
        EVENTS.write_parquet(stream)
    for file in ("events [1].csv", "events*.jsonl", "events.json", "events?.parquet"):
        world = prepare(str(place / file), quiet=True)
        assert world.interactions.num_items == 4, file
        save(world, place / f"prepared {file}")
        assert load(place / f"prepared {file}").fingerprint == world.fingerprint
        assert prepare(str(place / f"prepared {file}"), quiet=True).fingerprint == world.fingerprint
    vectors = pl.DataFrame({"item_id": list("wxyz"), "vector": np.eye(4).tolist()})
    with (place / "vectors.parquet").open("wb") as stream:
        vectors.write_parquet(stream)
    assert column_names(place / "vectors.parquet") == ["item_id", "vector"]
    assert [holds(place / "vectors.parquet", "item_id", each) for each in ("w", "v")] == [True, False]
    assert read_parquet(place / "vectors.parquet").equals(vectors)
    assert read_ids(place / "vectors.parquet", "items", "text.ids") == list("wxyz")
    found, ids = npy.read_vectors(npy.NpyConfig(path=str(place / "vectors.parquet")), "items")
    assert (found.shape, ids) == ((4, 4), list("wxyz"))
