"""The vectors of a run in each database: it gives our exact best, and a run over them scores as the first one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from tests.store.postgres import Cluster

from interlingua.errors import ConfigError, DataError
from interlingua.recommender import load
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.session import Session
from interlingua.runs.vectors_out import embed_to
from interlingua.vectors.places import place_of

DATA = {"name": "planted", "options": {"num_users": 80, "num_items": 50}}
EVALUATE = {"protocols": ["full"], "max_users": 5}
KINDS = {"qdrant": "qdrant_client", "lancedb": "lancedb", "postgresql": "pgvector"}
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Session:
    backbone = {"name": "mf", "embedding_dim": 8, "fit": {"epochs": 2, "patience": None}}
    values = {"data": DATA, "backbone": backbone, "evaluate": EVALUATE}
    return stages.run(recipes.resolve(values, "out"), out=tmp_path_factory.mktemp("runs"), seed=3, device="cpu")


@pytest.fixture(params=list(KINDS))
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    pytest.importorskip(KINDS[request.param], reason=f"{KINDS[request.param]} is not installed (the extra vectors)")
    if request.param == "postgresql":
        with Cluster.started("vector") as cluster:
            yield cluster.database()
    else:
        yield f"{request.param}:{tmp_path / 'here'}"


def test_a_database_ranks_as_the_run_does(run: Session, address: str, tmp_path: Path, cli: Cli) -> None:
    path = str(run.done["evaluate"].path)
    code, out, err = cli("embed", path, "--to", f"{address}#shop", "--json")
    assert code == 0, err
    made = json.loads(out)
    assert (made["items"], made["users"], made["checked_users"]) == (50, 80, 80)
    assert made["recall"] == 1.0
    assert made["items_table"] == f"{address}#shop_items"
    place = place_of(address)
    assert place is not None
    store = place.open()
    about = store.about("shop_items")
    assert about["run"] == load(path).version
    assert about["query_encoder"]["backbone"]["name"] == "mf"
    assert "shop_users" in about["query_encoder"]["known_user"]
    store.close()
    brought = {"name": "pretrained", "items": made["items_table"], "users": made["users_table"]}
    again = {"data": DATA, "backbone": brought, "evaluate": EVALUATE}
    one, two = load(path), load(stages.run(recipes.resolve(again, "in"), out=tmp_path / "runs", seed=3, device="cpu"))
    users = [str(user) for user in one.train.user_ids[:20]]
    first, second = (each.recommend(users=users, k=5) for each in (one, two))
    assert first["item_id"].to_list() == second["item_id"].to_list()
    np.testing.assert_allclose(first["score"], second["score"], atol=1e-6)


def test_a_stage_is_made_anew_when_a_table_changed(run: Session, tmp_path: Path) -> None:
    pytest.importorskip("lancedb")
    made = embed_to(run, f"lancedb:{tmp_path / 'here'}")
    brought = {"data": DATA, "backbone": {"name": "pretrained", "items": made.items_table}, "evaluate": EVALUATE}
    keys = []
    for factor in (1, 1, 2):
        place = place_of(made.items_table)
        assert place is not None
        store = place.open()
        ids, vectors = store.read(place.table)
        store.write(place.table, ids, vectors * factor, [{} for _ in ids], {})
        done = stages.run(recipes.resolve(brought, "in"), out=tmp_path / "runs", seed=3, device="cpu").done
        keys.append(done["train"].key)
    assert keys[0] == keys[1] != keys[2]
    shutil.rmtree(tmp_path / "here")  # what was trained holds the vectors
    assert len(load(done["evaluate"].path).recommend(history=["i00003"], k=3)) == 3
    with pytest.raises(DataError, match="no table 'interlingua_items' in lancedb:"):
        stages.run(recipes.resolve(brought, "in"), out=tmp_path / "other", seed=3, device="cpu")


def test_what_cannot_be_written_is_said(run: Session, tmp_path: Path, cli: Cli) -> None:
    with pytest.raises(ConfigError, match=r"give qdrant:PATH_OR_URL, postgresql://HOST/DATABASE or lancedb:PATH"):
        embed_to(run, str(tmp_path))
    with pytest.raises(ConfigError, match="unknown events 'some'"):
        embed_to(run, f"lancedb:{tmp_path}", events="some")
    code, _, err = cli("embed", str(run.done["evaluate"].path), "--to", "lancedb:x", "--out", "y")
    assert (code, "--out and --index belong to files" in err) == (2, True)


def test_a_strangers_run_that_names_a_server_requires_trust(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text(
        '[data]\nname = "planted"\n[backbone]\nname = "pretrained"\nitems = "postgresql://elsewhere/x#t"\n'
    )
    with pytest.raises(
        ConfigError, match=r"reads vectors from the server 'postgresql://elsewhere/x#t' \(backbone.items\)"
    ):
        recipes.load(str(recipe), trust=False)
