"""Small saved models, and runs over one world, each made once for all files; a test that changes one copies it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.runs.new_items_world import Make, events, items
from tests.saved_models import Saved, made_at_home, saving

import interlingua
from interlingua.recommender import Recommender
from interlingua.testing.tiny_sentence_encoder import tiny_encoder


@pytest.fixture(scope="session")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return made_at_home(tmp_path_factory.mktemp("secret-home"))


@pytest.fixture(scope="session")
def saved(given: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Saved]:
    """Each method's saved model, made once."""
    return saving(given, tmp_path_factory)


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_encoder(tmp_path_factory.mktemp("encoder")))


@pytest.fixture(scope="session")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    from interlingua.testing.tiny_models import build, tokenizer_of

    folder = tmp_path_factory.mktemp("lm")
    build("smollm2").save_pretrained(folder)
    tokenizer_of(False).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory, encoder: str, language_model: str) -> Make:
    """``make(sections, without)``: a run over the world, or over the world without some items, made once."""
    out, made = tmp_path_factory.mktemp("runs"), {}

    def with_encoder(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: with_encoder(each) for key, each in value.items()}
        if isinstance(value, list):
            return [with_encoder(each) for each in value]
        return {"ENCODER": encoder, "LM": language_model}.get(value, value) if isinstance(value, str) else value

    def build(sections: dict[str, Any], without: tuple[int, ...] = ()) -> Recommender:
        key = repr((sections, without))
        if key not in made:
            recipe = {"evaluate": {"protocols": ["full"]}, "data": {"split": "given"}} | with_encoder(sections)
            data = {"interactions": events(without), "items": items(without)}
            made[key] = interlingua.run(recipe, data=data, out=out / str(len(made)), device="cpu", trust=True)
        return interlingua.load(made[key])

    return build
