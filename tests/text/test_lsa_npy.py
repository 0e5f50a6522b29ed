"""LSA against a dense computation; brought vectors joined by id in every format."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.numpy import save_file

from interlingua.errors import ConfigError, DataError
from interlingua.text.lsa import Lsa, LsaConfig
from interlingua.text.npy import Npy, NpyConfig

DOCS = ["river river boat", "river boat sea", "robot space war", "robot war", "", "space robot sea"]


def test_lsa_equals_a_dense_computation():
    words = sorted({w for d in DOCS for w in d.split() if sum(w in e.split() for e in DOCS) >= 2 and w})
    tf = np.array([[d.split().count(w) for w in words] for d in DOCS], float)
    keep = (tf > 0).sum(0) <= 3
    tf = tf[:, keep]
    weight = np.where(tf > 0, 1 + np.log(np.maximum(tf, 1)), 0) * (np.log(7 / (1 + (tf > 0).sum(0))) + 1)
    unit = weight / np.maximum(np.linalg.norm(weight, axis=1, keepdims=True), 1e-300)
    _, _, right = np.linalg.svd(unit, full_matrices=False)
    expected = unit @ right[:2].T
    expected /= np.maximum(np.linalg.norm(expected, axis=1, keepdims=True), 1e-300)
    got = Lsa(LsaConfig(dim=2), DOCS).rows("items").numpy()
    signs = np.sign((got * expected).sum(0))
    assert np.allclose(got * signs, expected, atol=1e-5)
    assert not got[4].any()


def test_lsa_iterative_and_dense_agree_up_to_size(monkeypatch):
    rng = np.random.default_rng(0)
    docs = [" ".join(f"w{w}" for w in rng.integers(0, 60, 8)) for _ in range(120)]
    dense = Lsa(LsaConfig(dim=10), docs).rows("items")
    monkeypatch.setattr("interlingua.text.lsa.SMALL", 1)
    iterative = Lsa(LsaConfig(dim=10), docs).rows("items")
    assert torch.allclose(dense, iterative, atol=1e-5)
    assert torch.equal(iterative, Lsa(LsaConfig(dim=10), docs).rows("items"))


def test_lsa_places_new_and_user_texts_in_the_same_space():
    source = Lsa(LsaConfig(dim=3), DOCS, user_texts=["robot war"])
    assert torch.allclose(source.encode(["robot war"]), source.rows("items", torch.tensor([3])))
    assert torch.allclose(source.rows("users"), source.rows("items", torch.tensor([3])))
    assert not source.encode(["unknown words only"]).any()


def test_lsa_near_texts_are_near():
    rows = Lsa(LsaConfig(dim=2), DOCS).rows("items")
    assert rows[2] @ rows[3] > rows[2] @ rows[0]


@pytest.mark.parametrize("docs", [["one"], ["same", "same"], ["a b", "c"], ["日本", "日本 語"]])
def test_lsa_of_a_handful_of_texts(docs):
    assert Lsa(LsaConfig(), docs).rows("items").shape[0] == len(docs)


def test_lsa_without_words():
    with pytest.raises(DataError, match="no word"):
        Lsa(LsaConfig(), ["", "!!!"])


def write(folder, vectors, ids, kind):
    path = folder / f"v.{kind}"
    if kind == "npz":
        np.savez(path, vectors=vectors, ids=np.array(ids))
    elif kind == "parquet":
        pl.DataFrame({"item_id": ids, "vector": vectors.tolist()}).write_parquet(path)
    elif kind == "safetensors":
        save_file({"vectors": vectors}, path)
    else:
        np.save(path, vectors)
    (folder / "ids.txt").write_text("\n".join(ids))
    return NpyConfig(path=str(path), ids=str(folder / "ids.txt") if kind in ("npy", "safetensors") else None)


VECTORS = np.arange(8, dtype=np.float32).reshape(4, 2)


@pytest.mark.parametrize("kind", ["npy", "npz", "parquet", "safetensors"])
def test_npy_joins_by_id(tmp_path, capsys, kind):
    config = write(tmp_path, VECTORS, ["d", "b", "x", "a"], kind)
    source = Npy(config, ["", "", ""], item_ids=["a", "b", "d"])
    assert source.rows("items").tolist() == [[6, 7], [2, 3], [0, 1]]
    assert "vectors for 3 of 3 items (1 vectors of other items unused)" in capsys.readouterr().err


def test_files_of_ids_as_embed_writes_them(tmp_path):
    config = write(tmp_path, VECTORS, ["d", "b", "x", "a"], "npy")
    (tmp_path / "ids.json").write_text(json.dumps(["d", "b", "x", "a"]))
    rows = {"side": ["users"] + ["items"] * 4, "row": [0, 3, 1, 2, 0], "id": ["d", "a", "b", "x", "d"]}
    pl.DataFrame(rows).write_parquet(tmp_path / "ids.parquet")
    for name in ("ids.json", "ids.parquet"):
        config = config.model_copy(update={"ids": str(tmp_path / name)})
        assert Npy(config, [""] * 2, item_ids=["a", "b"]).rows("items").tolist() == [[6, 7], [2, 3]]
    (tmp_path / "ids.parquet").write_bytes(b"\xff\x00")
    with pytest.raises(DataError, match=r"text\.ids: cannot read ids"):
        Npy(config, [""] * 2, item_ids=["a", "b"])


def test_parquet_of_number_columns(tmp_path):
    pl.DataFrame({"item_id": ["b", "a"], "x": [1.0, 2.0], "y": [3, 4]}).write_parquet(tmp_path / "v.parquet")
    source = Npy(NpyConfig(path=str(tmp_path / "v.parquet")), ["", ""], item_ids=["a", "b"])
    assert source.rows("items").tolist() == [[2, 4], [1, 3]]


def test_missing_rows_are_decided_visibly(tmp_path, capsys):
    config = write(tmp_path, VECTORS, ["a", "b", "c", "d"], "npz")
    ids, texts = ["a", "new", "c"], [""] * 3
    with pytest.raises(DataError, match=r"1 of 3 items have no vector .*new"):
        Npy(config, texts, item_ids=ids)
    mean = Npy(config.model_copy(update={"missing": "mean"}), texts, item_ids=ids).rows("items")
    assert mean[1].tolist() == [2, 3]
    zero = Npy(config.model_copy(update={"missing": "zero"}), texts, item_ids=ids).rows("items")
    assert zero[1].tolist() == [0, 0]
    assert "1 items without a vector get zeros" in capsys.readouterr().err


def test_no_common_id_is_an_error_whatever_missing_says(tmp_path):
    config = write(tmp_path, VECTORS, ["a", "b", "c", "d"], "npz").model_copy(update={"missing": "zero"})
    with pytest.raises(DataError, match="2 of 2 items have no vector"):
        Npy(config, ["", ""], item_ids=["1", "2"])


def test_rows_without_ids_must_be_as_many_as_items(tmp_path, capsys):
    np.save(tmp_path / "v.npy", VECTORS)
    config = NpyConfig(path=str(tmp_path / "v.npy"), normalise=True)
    source = Npy(config, [""] * 4)
    assert torch.allclose(source.rows("items").norm(dim=1), torch.ones(4))
    assert "no ids" in capsys.readouterr().err
    with pytest.raises(DataError, match=r"4 rows and no ids, but there are 3 items.*text\.ids"):
        Npy(config, [""] * 3)
    with pytest.raises(ConfigError, match="cannot encode 1 new texts"):
        source.encode(["new"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: np.save(p / "v.npy", np.array([{"a": 1}], dtype=object)), "cannot be read"),
        (lambda p: np.save(p / "v.npy", np.zeros(4)), r"shape \(4,\)"),
        (lambda p: np.save(p / "v.npy", np.full((4, 2), np.nan)), "NaN or infinity"),
        (lambda p: (p / "v.npy").write_bytes(b"not numpy"), "cannot be read"),
    ],
    ids=["pickled objects", "not a table", "nan", "damaged"],
)
def test_bad_files(tmp_path, make, message):
    make(tmp_path)
    with pytest.raises(DataError, match=message):
        Npy(NpyConfig(path=str(tmp_path / "v.npy")), [""] * 4)


def test_other_bad_input(tmp_path):
    with pytest.raises(DataError, match="there is no file"):
        Npy(NpyConfig(path=str(tmp_path / "v.npy")), [""])
    (tmp_path / "v.pkl").write_bytes(b"")
    with pytest.raises(DataError, match="pickles are never read"):
        Npy(NpyConfig(path=str(tmp_path / "v.pkl")), [""])
    config = write(tmp_path, VECTORS, ["a", "b", "b", "d"], "npz")
    with pytest.raises(DataError, match="more than once"):
        Npy(config, [""], item_ids=["a"])
    config = write(tmp_path, VECTORS, ["a", "b"], "npy")
    with pytest.raises(DataError, match="2 ids for 4 vectors"):
        Npy(config, [""], item_ids=["a"])
