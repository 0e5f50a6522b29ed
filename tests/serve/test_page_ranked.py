"""The page's lists of a run with a language model: the backbone's order stands beside the model's."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient

import interlingua
from interlingua.runs.stages import run
from interlingua.serve.app import create_app
from interlingua.testing.tiny_models import build, tokenizer_of


def test_the_backbone_and_the_language_model_side_by_side(tmp_path: Path) -> None:
    build("llama").save_pretrained(tmp_path / "lm")
    tokenizer_of().save_pretrained(tmp_path / "lm")
    options = (
        "data.options={num_users = 60, num_items = 40}", 'evaluate.protocols=["full"]', "evaluate.max_users=3",
        "evaluate.retrieve=6", f"ranker.model={tmp_path / 'lm'}",
    )  # fmt: skip
    session = run("llm-only", out=tmp_path / "runs", data="planted", overrides=options, device="cpu")
    recommender = interlingua.load(session)
    with TestClient(create_app(recommender)) as client:
        columns = client.get("/v1/page/about").json()["columns"]
        named = {column["id"]: column for column in columns}
        assert session.recipe.backbone is not None
        assert named["backbone"]["name"] == session.recipe.backbone.name
        assert named["served"]["about"] == "what is recommended: the language model's order (llm-only)"
        lists = {}
        for name in named:
            answer = client.post("/v1/page/list", json={"column": name, "user_id": "u00003", "k": 6}).json()
            assert answer["fallback_reason"] is None
            lists[name] = [item["item_id"] for item in answer["items"]]
        assert lists["served"] == [one.item_id for one in recommender.recommend("u00003", k=6)]
        assert lists["backbone"] == [one.item_id for one in recommender.recommend("u00003", k=6, rerank=False)]
        assert sorted(lists["served"]) == sorted(lists["backbone"])  # the model orders what the backbone retrieved
        assert lists["served"] != lists["backbone"]
