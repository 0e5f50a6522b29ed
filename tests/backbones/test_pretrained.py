"""Vectors from outside: every file kind, joined by id, missing rows, cold users, and the errors people will meet."""

import json

import numpy as np
import polars as pl
import pytest
import torch
from safetensors.torch import save_file

from interlingua.backbones.pretrained import Pretrained, PretrainedConfig
from interlingua.contracts.batch import Batch
from interlingua.contracts.fitting import Fitting
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError, DataError


@pytest.fixture(name="world")
def _world(random_world):
    return random_world(users=6, items=5, events=20)


V = np.arange(10, dtype=np.float32).reshape(5, 2) + 1
SHUFFLED = [3, 0, 4, 2, 1]
IDS = [f"i{n}" for n in SHUFFLED]


def solved(world, **options):
    model = Pretrained(PretrainedConfig(**{k: str(v) if k != "half_life" else v for k, v in options.items()}), world)
    model.fit(Fitting(world))
    return model


def write(folder, kind):
    rows = V[SHUFFLED]
    if kind == "parquet-list":
        pl.DataFrame({"item_id": IDS, "vector": rows.tolist()}).write_parquet(folder / "v.parquet")
        return {"items": folder / "v.parquet"}
    if kind == "parquet-wide":
        pl.DataFrame({"id": IDS, "a": rows[:, 0], "b": rows[:, 1]}).write_parquet(folder / "v.parquet")
        return {"items": folder / "v.parquet"}
    if kind == "safetensors":
        save_file({"items": torch.from_numpy(rows.copy())}, folder / "v.safetensors")
        (folder / "ids.json").write_text(json.dumps(IDS))
        return {"items": folder / "v.safetensors", "item_ids": folder / "ids.json"}
    np.save(folder / "v.npy", rows)
    if kind == "npy+object":  # id -> row, in the order of the dataset
        (folder / "ids.json").write_text(json.dumps({name: IDS.index(name) for name in sorted(IDS)}))
        return {"items": folder / "v.npy", "item_ids": folder / "ids.json"}
    if kind == "npy+bom":
        (folder / "ids.txt").write_text("\n".join(IDS) + "\n", encoding="utf-8-sig")
        return {"items": folder / "v.npy", "item_ids": folder / "ids.txt"}
    if kind == "npy+npy":
        np.save(folder / "ids.npy", np.array(IDS))
        return {"items": folder / "v.npy", "item_ids": folder / "ids.npy"}
    (folder / "ids.txt").write_text("\n".join(IDS) + "\n")
    return {"items": folder / "v.npy", "item_ids": folder / "ids.txt"}


@pytest.mark.parametrize(
    "kind", ["parquet-list", "parquet-wide", "safetensors", "npy+npy", "npy+txt", "npy+object", "npy+bom"]
)
def test_rows_are_joined_by_id(world, tmp_path, kind):
    model = solved(world, **write(tmp_path, kind))
    assert model.item_embeddings().tolist() == V.tolist()
    assert model.score(Queries.of([[0, 2]])).tolist() == [(V @ V[[0, 2]].mean(0)).tolist()]


def test_rows_of_users_are_joined_by_id_too(world, tmp_path):
    rows, order = np.arange(12, dtype=np.float32).reshape(6, 2), [4, 1, 5, 0, 3, 2]
    np.save(tmp_path / "v.npy", V)
    np.save(tmp_path / "u.npy", rows[order])
    (tmp_path / "u.json").write_text(json.dumps([str(world.user_ids[n]) for n in order]))
    model = solved(world, items=tmp_path / "v.npy", users=tmp_path / "u.npy", user_ids=tmp_path / "u.json")
    assert model.user_embeddings(world.queries(np.arange(6))).tolist() == rows.tolist()


def test_without_ids_the_dataset_order_is_assumed_and_counted(world, tmp_path):
    np.save(tmp_path / "v.npy", V)
    assert solved(world, items=tmp_path / "v.npy").item_embeddings().tolist() == V.tolist()
    np.save(tmp_path / "v.npy", V[:4])
    with pytest.raises(DataError, match=r"4 rows but the dataset has 5 items.*item_ids"):
        solved(world, items=tmp_path / "v.npy")


def test_items_without_a_vector_are_zero_and_do_not_dilute_the_mean(world, tmp_path):
    pl.DataFrame({"id": ["i0", "i3", "elsewhere"], "v": [[1.0, 0.0], [3.0, 2.0], [9.0, 9.0]]}).write_parquet(
        tmp_path / "v.parquet"
    )
    model = solved(world, items=tmp_path / "v.parquet")
    assert model.known_items.tolist() == [True, False, False, True, False]
    assert model.user_embeddings(Queries.of([[0, 1, 3], [1], []])).tolist() == [[2.0, 1.0], [0.0, 0.0], [0.0, 0.0]]


def test_which_columns_of_a_table_are_the_vectors(world, tmp_path):
    path = tmp_path / "v.parquet"
    frame = pl.DataFrame({"id": [9, 8], "item_id": ["i0", "i3"], "n": [1, 2], "a": [[1.0], [2.0]], "b": [[3.0], [4.0]]})
    frame.write_parquet(path)
    with pytest.raises(DataError, match=r"2 columns of lists \(a, b\).*rename the one with the vectors to 'vector'"):
        solved(world, items=path)
    frame.rename({"b": "vector"}).write_parquet(path)
    assert solved(world, items=path).item_embeddings()[[0, 3]].tolist() == [[3.0], [4.0]]
    frame.drop("a", "b").write_parquet(path)  # integers under the name of an id are no dimension
    assert solved(world, items=path).item_embeddings()[[0, 3]].tolist() == [[1.0], [2.0]]
    frame.drop("id", "item_id").write_parquet(path)
    with pytest.raises(DataError, match=r"no column of ids \(item_id, .*its columns: n, a, b"):
        solved(world, items=path)


def test_known_users_keep_their_vector_and_others_get_the_mean(world, tmp_path):
    np.save(tmp_path / "v.npy", V)
    pl.DataFrame({"user_id": ["u2", "u4"], "x": [7.0, 5.0], "y": [0.0, 1.0]}).write_parquet(tmp_path / "u.parquet")
    model = solved(world, items=tmp_path / "v.npy", users=tmp_path / "u.parquet")
    queries = Queries.of([[0], [0], [0]], np.array([2, 3, -1]))
    assert model.user_embeddings(queries).tolist() == [[7.0, 0.0], V[0].tolist(), V[0].tolist()]
    fresh = Pretrained(model.config, world)
    fresh.load_state_dict(model.state_dict())
    assert (fresh.score(queries) == model.score(queries)).all()
    batch = Batch(torch.tensor([2, 3]), torch.tensor([1, 1]), None, torch.tensor([[-1, 0], [-1, 0]]))
    assert model.encode(model.input_embeddings(), batch).query.tolist() == [[7.0, 0.0], V[0].tolist()]


def test_cosine_scales_both_sides(world, tmp_path):
    np.save(tmp_path / "v.npy", V)
    scores = solved(world, items=tmp_path / "v.npy", similarity="cosine").score(Queries.of([[1]]))
    unit = V / np.linalg.norm(V, axis=1, keepdims=True)
    np.testing.assert_allclose(scores[0], unit @ unit[1], rtol=1e-5)


def test_recency(world, tmp_path):
    np.save(tmp_path / "v.npy", V)
    got = solved(world, items=tmp_path / "v.npy", half_life=1.0).user_embeddings(Queries.of([[0, 4]]))
    np.testing.assert_allclose(got[0].numpy(), (V[0] + 2 * V[4]) / 3, rtol=1e-5)


def test_errors_say_what_is_wrong(world, tmp_path):
    with pytest.raises(ConfigError, match=r"backbone\.items"):
        solved(world)
    with pytest.raises(DataError, match="no file of vectors"):
        solved(world, items=tmp_path / "absent.npy")
    with pytest.raises(ConfigError, match="similarity"):
        Pretrained(PretrainedConfig(similarity="euclid"), world)
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="cannot read vectors"):
        solved(world, items=tmp_path / "objects.npy")
    (tmp_path / "broken.parquet").write_bytes(b"nothing")
    with pytest.raises(DataError, match="not a parquet file"):
        solved(world, items=tmp_path / "broken.parquet")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(DataError, match="not a safetensors file"):
        solved(world, items=tmp_path / "broken.safetensors")
    np.save(tmp_path / "nan.npy", np.where(V == 4, np.nan, V))
    with pytest.raises(DataError, match="1 values that are not finite"):
        solved(world, items=tmp_path / "nan.npy")
    np.save(tmp_path / "v.npy", V)
    for ids, message in (
        ("a\nb\nc\nd\ne", "none of the 5 ids"),
        ("i0\ni0\ni1\ni2\ni3", "repeats 1 ids"),
        ("i0", "names 1 ids for the 5 rows"),
    ):
        (tmp_path / "ids.txt").write_text(ids)
        with pytest.raises(DataError, match=message):
            solved(world, items=tmp_path / "v.npy", item_ids=tmp_path / "ids.txt")
    np.save(tmp_path / "u.npy", np.zeros((6, 3), np.float32))
    with pytest.raises(DataError, match="3 wide"):
        solved(world, items=tmp_path / "v.npy", users=tmp_path / "u.npy")
