"""Files of ids in every form that people bring, read to the same list, and the ones that cannot be told apart."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from interlingua.errors import DataError, first_line
from interlingua.vectors.id_files import id_name, id_strings, read_ids

IDS = ["b", "7", "é", "a"]


def write(folder: Path, kind: str) -> Path:
    path = folder / f"ids.{kind.split('-', maxsplit=1)[0]}"
    if kind == "npy":
        np.save(path, np.array(IDS))
    elif kind == "npy-bytes":
        np.save(path, np.array([name.encode() for name in IDS]))
    elif kind == "json":
        path.write_text(json.dumps(IDS), encoding="utf-8")
    elif kind == "json-bom":
        path.write_text(json.dumps(IDS), encoding="utf-8-sig")
    elif kind == "json-rows":  # in another order than the rows
        path.write_text(json.dumps({IDS[row]: row for row in (2, 0, 3, 1)}), encoding="utf-8")
    elif kind == "json-ids":
        path.write_text(json.dumps({str(row): IDS[row] for row in (2, 0, 3, 1)}), encoding="utf-8")
    elif kind == "parquet":
        pl.DataFrame({"title": list("wxyz"), "ID": IDS}).write_parquet(path)
    elif kind == "parquet-one":
        pl.DataFrame({"sku": IDS}).write_parquet(path)
    elif kind == "parquet-rows":
        pl.DataFrame({"row": [3, 1, 0, 2], "item_id": [IDS[row] for row in (3, 1, 0, 2)]}).write_parquet(path)
    elif kind == "parquet-sides":
        sides = ["users"] * 2 + ["items"] * 4
        frame = pl.DataFrame({"side": sides, "row": [0, 1, 0, 1, 2, 3], "id": ["u", "v", *IDS]})
        frame.sample(fraction=1, shuffle=True, seed=1).write_parquet(path)
    else:
        path.write_text("\n".join(IDS) + "\n", encoding="utf-8-sig" if kind == "txt-bom" else "utf-8")
    return path


KINDS = ["txt", "txt-bom", "npy", "npy-bytes", "json", "json-bom", "json-rows", "json-ids"]
KINDS += ["parquet", "parquet-one", "parquet-rows", "parquet-sides"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_form_is_the_same_list(kind, tmp_path):
    assert read_ids(write(tmp_path, kind), "items", "text.ids") == IDS


def test_the_other_side_of_one_table(tmp_path):
    assert read_ids(write(tmp_path, "parquet-sides"), "users", "backbone.user_ids") == ["u", "v"]


def test_an_object_of_numbers_is_read_only_where_both_ways_agree(tmp_path):
    path = tmp_path / "ids.json"
    path.write_text('{"0": 1, "1": 0, "2": 2}')
    assert read_ids(path, "items", "text.ids") == ["1", "0", "2"]
    for text in ('{"0": 1, "1": 2, "2": 0}', '{"0": "1", "1": "2", "2": "0"}'):
        path.write_text(text)
        with pytest.raises(DataError, match=r"numbers on both sides.*list with one id per row"):
            read_ids(path, "items", "text.ids")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": 1, "b": 2}', r"values are not the row numbers 0 to 1.*'b': '2'"),
        ('{"a": 0, "b": 0}', r"each once \(see 'b': '0'\)"),
        ('{"a": 0, "b": true}', r"see 'b': 'True'"),
        ('{"a": 0, "b": "x"}', r"see 'b': 'x'"),
        ('{"0": 4711, "1": 4712}', r"see '0': '4711'"),  # may be rows of another table as well as ids
        ('{"ids": ["a", "b"]}', r"see 'ids': "),
        ('["a", null]', "'None', which is no id"),
        ('["a", ["b"]]', "which is no id"),
        ('"a"', "holds 'a'; a file of ids is one id per line"),
        ("[", "text.ids: cannot read ids from .*json"),
    ],
)
def test_json_that_is_no_ids(text, message, tmp_path):
    (tmp_path / "ids.json").write_text(text)
    with pytest.raises(DataError, match=message):
        read_ids(tmp_path / "ids.json", "items", "text.ids")


def test_tables_that_are_no_ids(tmp_path):
    path = tmp_path / "ids.parquet"
    for frame, message in (
        ({"side": ["users"], "row": [0], "id": ["u"]}, "no ids of items: its column 'side' holds users"),
        ({"sku": ["a"], "title": ["b"]}, r"no column of ids \(item_id, .*its columns: sku, title"),
        ({"row": [1, 1], "id": ["a", "b"]}, "'row' is not 0 to 1, each once, for 2 items"),
        ({"row": ["0", "1"], "id": ["a", "b"]}, "'row' is not 0 to 1"),
    ):
        pl.DataFrame(frame).write_parquet(path)
        with pytest.raises(DataError, match=message):
            read_ids(path, "items", "text.ids")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(DataError, match=r"backbone\.item_ids: no file of ids"):
        read_ids(tmp_path / "absent", "items", "backbone.item_ids")
    for name in ("ids.parquet", "ids.npy", "ids.npz"):
        (tmp_path / name).write_bytes(b"\xff\xfe\x00damaged")
        with pytest.raises(DataError, match=rf"text\.ids: cannot read ids from .*{name}.*a file of ids is one id per"):
            read_ids(tmp_path / name, "items", "text.ids")
    np.save(tmp_path / "ids.npy", np.zeros((2, 2)))
    with pytest.raises(DataError, match=r"shape \(2, 2\); ids are a list"):
        read_ids(tmp_path / "ids.npy", "items", "text.ids")


def test_names_of_ids():
    assert id_name(["vector", "id", "Item_ID"], "items") == "Item_ID"
    assert id_name(["user_id", "id"], "items") == "id"
    assert id_name(["user_id", "vector"], "items") is None  # a file of the other side
    assert id_strings(np.array([3, 1]), "ids") == ["3", "1"]


def test_what_another_library_says_is_one_line(tmp_path):
    (tmp_path / "ids.parquet").write_bytes(b"\xff\xfe\x00damaged")
    with pytest.raises(DataError) as caught:
        read_ids(tmp_path / "ids.parquet", "items", "text.ids")
    assert "\n" not in str(caught.value)
    assert first_line(ValueError("\nwhat\n\nadvice")) == "what"
    assert first_line(KeyError()) == "KeyError"
