"""A run served behind an approximate index: the same answers as without, masks included, or a refusal in words."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("usearch")

import interlingua
from interlingua.errors import ArtifactError, ConfigError
from interlingua.retrieval.ann import Ann
from interlingua.runs.export import embed
from interlingua.runs.session import Session

DATA = "data.options={num_users = 400, num_items = 300}"


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    sets = [DATA, "backbone.fit.epochs=1", 'evaluate.protocols=["full"]']
    return interlingua.run("mf", data="planted", out=tmp_path_factory.mktemp("runs"), overrides=sets, device="cpu")


@pytest.mark.parametrize("stored", [False, True])
def test_an_index_serves_with_all_masks(session: Session, tmp_path: Path, stored: bool) -> None:
    where = embed(session, tmp_path / "vectors", index="usearch").path if stored else "usearch"
    exact, near = interlingua.load(session), interlingua.load(session, index=where)
    assert isinstance(near._lists.by_retriever.retriever, Ann)
    users = [str(user) for user in exact.train.user_ids[:20]]
    own = exact.session.data.catalogue.categories
    one = sorted(own[0])[0]
    for asked in ({}, {"repeat": True}, {"exclude": [str(exact.train.item_ids[3])]}, {"filters": {"categories": one}}):
        found, truth = near.recommend(users=users, k=8, **asked), exact.recommend(users=users, k=8, **asked)
        keys = ["user_id", "item_id"]
        assert found.join(truth, on=keys).height > 0.9 * truth.height
        assert found.height == truth.height


def test_over_http(session: Session) -> None:
    pytest.importorskip("fastapi")
    from fastapi.testclient import TestClient

    from interlingua.serve.app import create_app

    with TestClient(create_app(interlingua.load(session, index="usearch"))) as client:
        assert client.get("/health/ready").json()["index"] == "approximate"
        answer = client.post("/v1/recommend", json={"history": [], "k": 4})
        assert len(answer.json()["items"]) == 4


def test_what_cannot_be_indexed_is_said_at_once(session: Session, tmp_path: Path) -> None:
    plain = interlingua.run("pop", data="planted", out=tmp_path, overrides=[DATA], device="cpu")
    with pytest.raises(ConfigError, match="does not score by dot products"):
        interlingua.load(plain, index="usearch")
    with pytest.raises(ConfigError, match="unknown index 'faiss': use usearch, or a folder"):
        interlingua.load(session, index="faiss")
    made = embed(session, tmp_path / "vectors", index="usearch")
    with pytest.raises(ArtifactError, match="indexes the run"):
        interlingua.load(plain, index=made.path)
