"""A run folder as it was written before the stages had today's names: refused in words, and its recipe runs again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from interlingua.errors import ArtifactError
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.opening import open_session
from interlingua.storage import artifact

pytest.importorskip("transformers")
VALUES: dict[str, Any] = {
    "data": {"name": "planted", "options": {"num_users": 30, "num_items": 20}},
    "backbone": {"name": "itemknn"},
    "ranker": {"name": "llm-only", "history_length": 3},
    "evaluate": {"protocols": ["sampled-5"], "max_users": 3, "retrieve": 3},
}


def rewritten(folder: Path, **changes: Any) -> None:
    """A card with other entries, and the hash of them."""
    card = json.loads((folder / artifact.CARD).read_text(encoding="utf-8")) | changes
    card[artifact.CARD_HASH] = artifact._card_hash(card)
    (folder / artifact.CARD).write_text(json.dumps(card), encoding="utf-8")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """What commit 2a75687 changed, taken back: the stage ``read`` of the section ``[llm]`` in the place of ``rank``."""
    from interlingua.testing.tiny_models import build, tokenizer_of

    build("llama").save_pretrained(tmp_path / "lm")
    tokenizer_of().save_pretrained(tmp_path / "lm")
    values = VALUES | {"ranker": VALUES["ranker"] | {"model": str(tmp_path / "lm")}}
    run = stages.run(recipes.resolve(values), out=tmp_path / "runs", seed=1, device="cpu").path
    card = json.loads((run / artifact.CARD).read_text(encoding="utf-8"))
    made = card["parents"].pop("rank")
    rank = run.parent / made["folder"]
    read = rank.rename(rank.with_name(rank.name.replace("rank-", "read-")))
    fingerprint = json.loads((read / artifact.CARD).read_text(encoding="utf-8"))["fingerprint"]
    rewritten(read, kind="read", fingerprint={k.replace("ranker.", "llm."): v for k, v in fingerprint.items()})
    recipe = {("llm" if section == "ranker" else section): table for section, table in card["recipe"].items()}
    rewritten(run, parents=card["parents"] | {"read": made | {"folder": read.name}}, recipe=recipe)
    return run


def test_it_is_refused_in_words_and_not_opened_without_its_ranker(old: Path) -> None:
    with pytest.raises(ArtifactError, match=r"stage 'read'.*older.*run its recipe again.*config\.toml"):
        open_session(old, "cpu")


def test_its_recipe_is_read_and_runs_again(old: Path) -> None:
    card = json.loads((old / artifact.CARD).read_text(encoding="utf-8"))
    found = recipes.resolve(card["recipe"], stored=True)
    assert found.ranker is not None
    assert found.ranker.name == "llm-only"
    again = stages.run(found, out=old.parents[1] / "again", seed=1, device="cpu")
    assert again.done["rank"].kind == "rank"
    assert open_session(again.path, "cpu").done["rank"].path.name.startswith("rank-")
