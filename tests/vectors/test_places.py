"""Vectors in three databases: what is written is read, and each ranks by dot products as we do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.store.postgres import Cluster

from interlingua.errors import ConfigError, DataError
from interlingua.vectors.places import Place, contents_of, place_of, read_place

IDS = [f"i,{number}" for number in range(120)]
VECTORS = np.random.default_rng(0).normal(size=(120, 9)).astype(np.float32)
PAYLOAD = [{"title": f"T {number}", "price": float(number)} for number in range(120)]
ABOUT = {"width": 9, "query_encoder": {"backbone": {"name": "mf"}}}


@pytest.fixture(params=["qdrant", "lancedb", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "postgresql":
        pytest.importorskip("pgvector", reason="pgvector is not installed (the extra vectors)")
        with Cluster.started("vector") as cluster:
            yield cluster.database()
        return
    package = {"qdrant": "qdrant_client", "lancedb": "lancedb"}[request.param]
    pytest.importorskip(package, reason=f"{package} is not installed (the extra vectors)")
    yield f"{request.param}:{tmp_path / 'here'}"


def test_what_is_written_is_read_and_ranked_exactly(address: str) -> None:
    place = place_of(address)
    assert place is not None
    store = place.open()
    store.write("t_items", IDS[:5], VECTORS[:5, :3], PAYLOAD[:5], {})
    store.write("t_items", IDS, VECTORS, PAYLOAD, ABOUT)  # in place of what was there
    assert store.about("t_items") == ABOUT
    ids, vectors = store.read("t_items")
    assert ids == IDS
    np.testing.assert_array_equal(vectors, VECTORS)
    for query in np.random.default_rng(1).normal(size=(5, 9)).astype(np.float32):
        assert store.search("t_items", query, 10) == [IDS[row] for row in np.argsort(-(VECTORS @ query))[:10]]
    with pytest.raises(DataError, match=r"no (collection|table) 'nowhere' in"):
        store.read("nowhere")
    store.close()


def test_the_contents_of_a_table_are_a_hash_of_what_it_holds(tmp_path: Path) -> None:
    pytest.importorskip("lancedb")
    place = place_of(f"lancedb:{tmp_path}/a#t_items")
    assert place is not None
    store, order = place.open(), np.random.default_rng(2).permutation(120)
    store.write("t_items", IDS, VECTORS, PAYLOAD, ABOUT)
    before = contents_of(place)
    store.write("t_items", [IDS[row] for row in order], VECTORS[order], PAYLOAD, {})
    assert contents_of(place) == before
    store.write("t_items", IDS, VECTORS + np.float32(1e-3), PAYLOAD, ABOUT)
    assert contents_of(place) != before
    with pytest.raises(ConfigError, match="names no table"):
        read_place(Place("lancedb", f"{tmp_path}/a", ""))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("items.parquet", None),
        ("C:/vectors/items.npy", None),
        ("qdrant:some/folder", Place("qdrant", "some/folder", "")),
        ("qdrant:http://127.0.0.1:6333#x_items", Place("qdrant", "http://127.0.0.1:6333", "x_items")),
        ("postgresql://me@db/shop#x", Place("postgresql", "postgresql://me@db/shop", "x")),
        ("postgres://db/shop", Place("postgresql", "postgresql://db/shop", "")),
        ("lancedb:a b/c#t-1", Place("lancedb", "a b/c", "t-1")),
    ],
)
def test_addresses(text: str, expected: Place | None) -> None:
    assert place_of(text) == expected
    if expected is not None:
        assert place_of(str(expected)) == expected
        assert expected.is_remote == ("://" in text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("postgresql://me:secret@db/shop", "holds a password"),
        ("qdrant:", "names no place"),
        ("lancedb:x#a;drop", "cannot be named so"),
    ],
)
def test_addresses_that_are_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        place_of(text)
    assert "secret" not in str(caught.value)


def test_a_server_that_does_not_answer_is_said() -> None:
    pytest.importorskip("pgvector")
    place = place_of("postgresql://me@127.0.0.1:9/none#t")
    assert place is not None
    with pytest.raises(DataError, match=r"cannot open the vectors in postgresql://me@127.0.0.1:9/none#t"):
        read_place(place)
