"""What a saved model refuses: edits, strangers' code, another language model; and what it never overwrites."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.saved_models import (
    HISTORY,
    Saved,
    contents,
)

import interlingua
from interlingua.errors import ArtifactError, ConfigError, install_command
from interlingua.runs import pretrained
from interlingua.runs.portable import with_templates
from interlingua.storage import artifact


@pytest.mark.parametrize(
    "victim", ["train-*/weights.safetensors", "prepare-*/dataset/items.parquet", "train-*/card.json"]
)
def test_a_tampered_folder_is_refused(saved: Callable[[str], Saved], tmp_path: Path, victim: str) -> None:
    shutil.copytree(saved("mf").folder, tmp_path / "model")
    path = next((tmp_path / "model").glob(victim))
    found = bytearray(path.read_bytes())
    found[len(found) // 2] ^= 1
    path.write_bytes(bytes(found))
    with pytest.raises(ArtifactError, match=r"changed after it was written|damaged"):
        interlingua.from_pretrained(tmp_path / "model")


def test_a_strangers_model_imports_nothing(saved: Callable[[str], Saved], tmp_path: Path) -> None:
    shutil.copytree(saved("mf").folder, tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    card_path = tmp_path / "model" / config["run"] / artifact.CARD
    card = json.loads(card_path.read_text())
    card["recipe"]["backbone"]["name"] = "evil_module:Evil"
    card[artifact.CARD_HASH] = artifact._card_hash(card)
    card_path.write_text(json.dumps(card))
    with pytest.raises(ConfigError, match=r"is not trusted: it imports 'evil_module:Evil'"):
        interlingua.from_pretrained(tmp_path / "model")
    for run in ("../elsewhere", "train-mf", 3, "/etc"):
        (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"run": run}))
        with pytest.raises(ArtifactError, match="no stage beside it"):
            interlingua.from_pretrained(tmp_path / "model")
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"format": 99}))
    with pytest.raises(ArtifactError, match="has format 99"):
        interlingua.from_pretrained(tmp_path / "model")


def test_a_template_never_leads_out_of_the_folder(tmp_path: Path) -> None:
    inside = with_templates({"ranker": {"template": "inside:rank-a/templates/template.txt", "n": 3}}, tmp_path)
    assert inside == {"ranker": {"template": str(tmp_path / "rank-a/templates/template.txt"), "n": 3}}
    for place in ("../secret.txt", "/etc/passwd", "a/../../b", "C:\\x.txt", ""):
        with pytest.raises(ArtifactError, match="outside its folder"):
            with_templates({"fuse": {"members": [{"ranker": {"template": f"inside:{place}"}}]}}, tmp_path)


def test_what_lies_there_is_not_overwritten(saved: Callable[[str], Saved], tmp_path: Path) -> None:
    opened = interlingua.from_pretrained(saved("pop").folder)
    folder = opened.save_pretrained(tmp_path / "model")
    first = (folder / "config.json").read_bytes()
    with pytest.raises(ConfigError, match=r"holds a saved model.*overwrite=True"):
        interlingua.from_pretrained(saved("mf").folder).save_pretrained(folder)
    assert (folder / "config.json").read_bytes() == first
    interlingua.from_pretrained(saved("mf").folder).save_pretrained(folder, overwrite=True)
    assert interlingua.from_pretrained(folder).recommend(history=HISTORY, k=8) == saved("mf").answers[0]
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds something else than a saved model \(notes.txt\)"):
        opened.save_pretrained(folder, overwrite=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"library_name": "transformers"}')
    with pytest.raises(ConfigError, match="holds something else than a saved model"):
        opened.save_pretrained(tmp_path / "other", overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model", "other"]


def test_an_interrupted_save_leaves_nothing(
    saved: Callable[[str], Saved], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = interlingua.from_pretrained(saved("mf").folder)
    folder = opened.save_pretrained(tmp_path / "model")
    before = contents(folder)

    def stop(*_: Any, **__: Any) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(pretrained, "front_page", stop)
    for target in (folder, tmp_path / "new"):
        with pytest.raises(KeyboardInterrupt):
            opened.save_pretrained(target, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert contents(folder) == before


def test_a_lacking_language_model_is_named(saved: Callable[[str], Saved], tmp_path: Path) -> None:
    made = saved("kv")
    with pytest.raises(
        ArtifactError, match=r"ranker.model = './small-lm' is not here any more \(needed: sha256 .*models="
    ):
        interlingua.from_pretrained(made.folder, device="cpu")
    other = tmp_path / "other"
    shutil.copytree(made.options["models"]["./small-lm"], other)
    (other / "config.json").write_text((other / "config.json").read_text() + " ")
    with pytest.raises(ArtifactError, match="holds something else now"):
        interlingua.from_pretrained(made.folder, models={"./small-lm": str(other)})
    page = (made.folder / "README.md").read_text()
    assert "| `ranker.model` | `./small-lm` | sha256 " in page
    assert install_command("llm") in page
