"""A folder as RLMRec publishes it is a dataset with its own split, its profiles as texts, its vectors as vectors."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import scipy.sparse as sp
import torch

from interlingua.cli.main import app
from interlingua.data.prepare import SplitConfig, prepare
from interlingua.errors import DataError
from interlingua.runs.recipe import load
from interlingua.runs.stages import run
from interlingua.vectors.tables import load_tables

USERS, ITEMS, WIDTH = 25, 12, 6
RNG = np.random.default_rng(1)
PARTS = RNG.choice(4, (USERS, ITEMS), p=[0.4, 0.4, 0.1, 0.1])
VECTORS = {"usr": RNG.standard_normal((USERS, WIDTH)), "itm": RNG.standard_normal((ITEMS, WIDTH))}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    out = tmp_path / "published"
    out.mkdir()

    def dump(name: str, value: object) -> None:
        (out / f"{name}.pkl").write_bytes(pickle.dumps(value))

    PARTS[:, 0] = 1
    for code, name in ((1, "trn"), (2, "val"), (3, "tst")):
        dump(f"{name}_mat", sp.coo_matrix((code == PARTS).astype(np.float64)))
    for side, count in (("usr", USERS), ("itm", ITEMS)):
        dump(f"{side}_prf", {row: {"profile": f"{side} {row} likes", "reasoning": "so"} for row in range(count)})
        dump(f"{side}_emb_np", VECTORS[side])
    return out


def test_the_split_and_the_profiles_are_those_of_the_files(folder: Path) -> None:
    out = prepare(folder, split=SplitConfig(name="given"), quiet=True)
    ids = [int(item) for item in out.interactions.item_ids]
    assert ids == list(range(ITEMS))
    assert out.catalogue.items["description"].to_list() == [f"itm {row} likes" for row in ids]
    assert out.catalogue.users is not None
    assert out.catalogue.users["profile"][3] == "usr 3 likes"
    np.testing.assert_array_equal(out.split.train.matrix().toarray(), PARTS == 1)
    for code, part in ((2, out.split.valid), (3, out.split.test)):
        pairs = {(int(u), int(i)) for n, u in enumerate(part.users) for i in part.of_row(n)}
        assert pairs == set(map(tuple, np.argwhere(code == PARTS).tolist()))
    assert any("may have seen" in warning for warning in out.card["warnings"])


def test_converted_vectors_reach_both_sides_of_a_recipe(folder: Path, tmp_path: Path) -> None:
    app(["data", "convert", str(folder), "--out", str(tmp_path / "parquet")], standalone_mode=False)
    assert not list((tmp_path / "parquet").glob("*.pkl"))
    sets = (
        "data.split=given", "data.filter.min_user=1", "data.filter.min_item=1", "backbone.fit.epochs=1",
        "backbone.embedding_dim=4", "text.name=npy", f"text.path={tmp_path / 'parquet' / 'item_vectors.parquet'}",
        f"text.user_path={tmp_path / 'parquet' / 'user_vectors.parquet'}", "text.users=texts",
    )  # fmt: skip
    session = run(load("rlmrec-con", sets, str(tmp_path / "parquet")), out=tmp_path / "runs")
    tables = load_tables(session.done["embed"].path)
    assert tables.users is not None
    rows = [int(user) for user in session.data.interactions.user_ids]
    torch.testing.assert_close(tables.users, torch.as_tensor(VECTORS["usr"][rows], dtype=torch.float32))
    torch.testing.assert_close(tables.items, torch.as_tensor(VECTORS["itm"], dtype=torch.float32))
    direct = prepare(folder, split=SplitConfig(name="given"), quiet=True)
    assert direct.interactions.item_ids.tolist() == session.data.interactions.item_ids.tolist()


class Harm:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("true",)


@pytest.mark.parametrize("name", ["trn_mat", "usr_prf", "itm_prf"])
def test_a_malicious_file_among_them_is_refused(folder: Path, name: str) -> None:
    (folder / f"{name}.pkl").write_bytes(pickle.dumps(Harm()))
    with pytest.raises(DataError, match=rf"(?s){name}.*system.*") as caught:
        prepare(folder, split=SplitConfig(name="given"), quiet=True)
    assert "nothing of it was run" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("val_mat", sp.coo_matrix(np.ones((3, 3))), "different shapes"),
        ("trn_mat", np.ones((3, 3)), "instead of a sparse matrix"),
        ("itm_prf", {99: {"profile": "x"}}, "row 99"),
        ("itm_prf", {"a": 1}, "row numbers"),
    ],
)
def test_files_that_do_not_fit_say_so(folder: Path, name: str, value: object, words: str) -> None:
    (folder / f"{name}.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(DataError, match=words):
        prepare(folder, split=SplitConfig(name="given"), quiet=True)


@pytest.mark.parametrize("value", [np.ones((3, WIDTH)), np.array([[np.nan] * WIDTH] * ITEMS), "text"])
def test_vectors_that_do_not_fit_say_so(folder: Path, tmp_path: Path, value: object) -> None:
    from interlingua.data.files.rlmrec_pickles import convert

    (folder / "itm_emb_np.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(DataError, match=r"itm_emb_np|vectors of items"):
        convert(folder, tmp_path / "out")


def test_profiles_are_optional(folder: Path) -> None:
    for file in folder.glob("*_prf.pkl"):
        file.unlink()
    out = prepare(folder, split=SplitConfig(name="given"), quiet=True)
    assert out.catalogue.users is None
    assert out.catalogue.items["description"].null_count() == ITEMS
    assert isinstance(out.catalogue.items, pl.DataFrame)
