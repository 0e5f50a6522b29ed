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


STRANGERS = ["d", "b", "a"]
"""ids of the rows in another order than the items, and as many: read by position they would go to wrong items"""


def ids_under(folder, kind, name, ids):
    path = folder / f"v.{kind}"
    if kind == "parquet":
        pl.DataFrame({name: ids, "vector": VECTORS[:3].tolist()}).write_parquet(path)
    elif kind == "wide":
        pl.DataFrame({name: ids, "x": VECTORS[:3, 0], "y": VECTORS[:3, 1]}).write_parquet(path)
    elif kind == "npz":
        np.savez(path, **{"vectors": VECTORS[:3], name: np.array(ids)})
    else:
        save_file({"vectors": VECTORS[:3], name: np.array(ids)}, path)
    return NpyConfig(path=str(path.rename(path.with_suffix(".parquet")) if kind == "wide" else path))


@pytest.mark.parametrize("name", ["id", "ItemId", "item_ids"])
@pytest.mark.parametrize("kind", ["parquet", "wide", "npz"])
def test_ids_under_other_names_are_ids(tmp_path, kind, name):
    source = Npy(ids_under(tmp_path, kind, name, STRANGERS), [""] * 3, item_ids=["a", "b", "d"])
    assert source.rows("items").tolist() == [[4, 5], [2, 3], [0, 1]]


@pytest.mark.parametrize("kind", ["parquet", "wide", "npz", "safetensors"])
@pytest.mark.parametrize("ids", [STRANGERS, [40, 20, 10]], ids=["texts", "numbers"])
def test_what_may_be_ids_is_never_passed_over(tmp_path, kind, ids):
    if kind == "safetensors":
        ids = [40, 20, 10]  # the format has no texts
    items = sorted(map(str, ids))
    config = ids_under(tmp_path, kind, "sku", ids)
    with pytest.raises(DataError, match=r"no ids under a known name \(item_id, .*'sku' may be ids.*text\.id_column"):
        Npy(config, [""] * 3, item_ids=items)
    named = Npy(config.model_copy(update={"id_column": "sku"}), [""] * 3, item_ids=items)
    assert named.rows("items").tolist() == [[4, 5], [2, 3], [0, 1]]
    with pytest.raises(ConfigError, match=r"unknown column 'skus' in text\.id_column .*did you mean 'sku'"):
        Npy(config.model_copy(update={"id_column": "skus"}), [""] * 3, item_ids=items)
    if kind == "parquet":
        (tmp_path / "ids.txt").write_text("\n".join(map(str, ids)))
        given = Npy(config.model_copy(update={"ids": str(tmp_path / "ids.txt")}), [""] * 3, item_ids=items)
        assert given.rows("items").tolist() == [[4, 5], [2, 3], [0, 1]]


def test_tables_without_anything_like_ids_keep_their_order(tmp_path, capsys):
    for frame, expected in (
        ({"x": [1.0, 2.0, 3.0], "n": [7, 7, 8]}, [[1, 7], [2, 7], [3, 8]]),
        ({"x": [1, 2, 3], "y": [6, 5, 4]}, [[1, 6], [2, 5], [3, 4]]),
        ({"n": [7, 7, 8], "vector": [[1.0], [2.0], [3.0]]}, [[1], [2], [3]]),
    ):
        pl.DataFrame(frame).write_parquet(tmp_path / "v.parquet")
        source = Npy(NpyConfig(path=str(tmp_path / "v.parquet")), [""] * 3, item_ids=["a", "b", "d"])
        assert source.rows("items").tolist() == expected
        assert "no ids" in capsys.readouterr().err


def test_each_side_has_its_own_ids_and_arrays(tmp_path):
    pl.DataFrame({"item_id": ["a", "b"], "vector": [[1.0], [2.0]]}).write_parquet(tmp_path / "items.parquet")
    pl.DataFrame({"id": ["v", "u"], "vector": [[3.0], [4.0]]}).write_parquet(tmp_path / "users.parquet")
    paths = {side: str(tmp_path / f"{side}.parquet") for side in ("items", "users")}
    config = NpyConfig(path=paths["items"], user_path=paths["users"])
    source = Npy(config, [""] * 2, item_ids=["b", "a"], user_ids=["u", "v"])
    assert (source.rows("items").tolist(), source.rows("users").tolist()) == ([[2], [1]], [[4], [3]])
    with pytest.raises(DataError, match=r"'item_id' may be ids of users: rename to 'user_id'"):
        Npy(config.model_copy(update={"user_path": paths["items"]}), [""] * 2, item_ids=["b", "a"], user_ids=["u", "v"])
    both = tmp_path / "vectors.safetensors"
    save_file({"items": np.ones((2, 1), np.float32), "users": np.zeros((2, 1), np.float32)}, both)
    config = NpyConfig(path=str(both), user_path=str(both))
    source = Npy(config, [""] * 2, user_ids=["u", "v"])
    assert (source.rows("items").tolist(), source.rows("users").tolist()) == ([[1], [1]], [[0], [0]])


def test_a_list_column_of_any_name_is_the_vectors(tmp_path):
    path = tmp_path / "v.parquet"
    frame = {"item_id": ["b", "a"], "n": [5, 6], "tags": [["x"], ["y"]], "embedding": [[1.0, 2.0], [3.0, 4.0]]}
    pl.DataFrame(frame).write_parquet(path)
    source = Npy(NpyConfig(path=str(path)), [""] * 2, item_ids=["a", "b"])
    assert source.rows("items").tolist() == [[3, 4], [1, 2]]
    fixed = pl.Series([[9.0], [8.0]], dtype=pl.Array(pl.Float32, 1))
    pl.DataFrame(frame).with_columns(image=fixed).write_parquet(path)
    with pytest.raises(DataError, match=r"2 columns of lists \(embedding, image\).*text\.vector_column"):
        Npy(NpyConfig(path=str(path)), [""] * 2, item_ids=["a", "b"])
    named = Npy(NpyConfig(path=str(path), vector_column="image"), [""] * 2, item_ids=["a", "b"])
    assert named.rows("items").tolist() == [[8], [9]]
    with pytest.raises(ConfigError, match=r"unknown column 'imag' in text\.vector_column"):
        Npy(NpyConfig(path=str(path), vector_column="imag"), [""] * 2, item_ids=["a", "b"])


def test_a_list_of_whole_numbers_is_not_taken_for_vectors_beside_numbers(tmp_path):
    names = ["a", "b", "c"]
    frame = pl.DataFrame({"item_id": names, "genres": [[1, 2]] * 3, "d0": [0.0, 1.0, 2.0], "d1": [1.0, 0.5, 0.0]})
    frame.write_parquet(tmp_path / "v.parquet")
    with pytest.raises(DataError, match="lists of whole numbers"):
        Npy(NpyConfig(path=str(tmp_path / "v.parquet")), [""] * 3, item_ids=names)


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
        (lambda p: np.save(p / "v.npy", np.array([["a", "b"]] * 4)), "cannot be read"),
    ],
    ids=["pickled objects", "not a table", "nan", "damaged", "texts"],
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
