"""Push to and fetch from the hub, over HTTP, against a server on this machine that keeps what it is sent."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.hub_server import TOKEN, Hub, serving

import interlingua
from interlingua.errors import ConfigError
from interlingua.runs import recipe as recipes
from interlingua.runs import stages

pytest.importorskip("huggingface_hub")

WORLD = {
    "data": {"name": "planted", "options": {"num_users": 40, "num_items": 30}},
    "evaluate": {"protocols": ["full"]},
}
SCRIPT = """
import json, sys
from pathlib import Path
import interlingua

home, other, cache = sys.argv[1:]
recommender = interlingua.load(home)
history = ["i00003", "i00008"]
out = {"asked": [r.item_id for r in recommender.recommend(history=history, k=5)]}

def refused(what, call):
    try:
        call()
        out[what] = "nothing was refused"
    except interlingua.InterlinguaError as error:
        out[what] = f"{type(error).__name__}: {error}"

refused("no token", lambda: recommender.push_to_hub("me/model", token=False))
out["first"] = recommender.push_to_hub("me/model", private=True, license="mit", message="the first")
out["branch"] = interlingua.load(other).push_to_hub("me/model", revision="trial")
out["second"] = interlingua.load(other).push_to_hub("me/model")
first = out["first"].rsplit("/", 1)[-1]
for name, revision in {"by commit": first, "by branch": "trial", "main": None}.items():
    found = interlingua.from_pretrained("me/model", revision=revision, cache_dir=cache, device="cpu")
    items = [r.item_id for r in found.recommend(history=history, k=5)]
    out[name] = {"source": found.source, "items": items, "path": str(found.session.path)}
refused("no repository", lambda: interlingua.from_pretrained("me/nothing", cache_dir=cache))
refused("no revision", lambda: interlingua.from_pretrained("me/model", revision="v9", cache_dir=cache))
refused("not ours", lambda: interlingua.from_pretrained("me/stranger", cache_dir=cache))
kept = interlingua.from_pretrained("me/model", first, cache_dir=cache, local_files_only=True)
out["offline"] = [r.item_id for r in kept.recommend(history=history, k=5)]
print(json.dumps(out))
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Hub]:
    """What a process of its own pushed, fetched and was refused, and the hub after it."""
    root = tmp_path_factory.mktemp("hub")
    runs = [
        stages.run(recipes.resolve({**WORLD, "backbone": {"name": name}}, name), out=root / "runs", device="cpu").path
        for name in ("itemknn", "ease")
    ]
    with serving() as (url, hub):
        hub.repositories["me/stranger"] = {}
        hub.add("me/stranger", "main", {"config.json": b'{"model_type": "bert"}', "evil.py": b"raise SystemExit"}, "x")
        own = {"HF_ENDPOINT": url, "HF_HOME": str(root / "hf"), "HF_TOKEN": TOKEN, "HF_HUB_DISABLE_XET": "1"}
        own |= {"HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        arguments = [sys.executable, "-c", SCRIPT, *map(str, runs), str(root / "cache")]
        done = subprocess.run(arguments, env=os.environ | own, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.splitlines()[-1]), hub


def test_what_was_pushed_comes_back_at_its_commit(told: tuple[dict[str, Any], Hub]) -> None:
    out, hub = told
    first, second = (out[name].rsplit("/", 1)[-1] for name in ("first", "second"))
    assert out["by commit"]["items"] == out["asked"] == out["offline"]
    assert out["by commit"]["source"] == f"me/model@{first}"
    assert out["main"]["source"] == f"me/model@{second}"
    assert out["by branch"]["source"] == f"me/model@{hub.repositories['me/model']['trial']}"
    assert Path(out["main"]["path"]).name.startswith("evaluate-ease-")
    assert hub.private["me/model"]


def test_a_push_is_one_commit_that_replaces_the_model_before(told: tuple[dict[str, Any], Hub]) -> None:
    out, hub = told
    first, second = (hub.commits[out[name].rsplit("/", 1)[-1]] for name in ("first", "second"))
    assert hub.messages[-3] == "the first"
    assert {path.split("-")[0] for path in first if "/" in path} == {"prepare", "train", "evaluate"}
    assert any(path.startswith("train-itemknn-") for path in first)
    assert not any("itemknn" in path for path in second)
    assert ".gitattributes" in second
    page = first["README.md"].decode()
    assert 'license: "mit"' in page
    assert 'interlingua.from_pretrained("me/model")' in page
    assert any(path.endswith("weights.safetensors") for path in hub.large)


def test_nobody_is_pushed(told: tuple[dict[str, Any], Hub]) -> None:
    _, hub = told
    ids = interlingua.prepare("planted", options=WORLD["data"]["options"], quiet=True).interactions.user_ids
    for files in hub.commits.values():
        for path, contents in files.items():
            assert not [each for each in ids if str(each).encode() in contents], path
            assert not path.endswith((".npz", ".jsonl", ".toml"))


def test_what_is_not_ours_is_neither_downloaded_nor_opened(told: tuple[dict[str, Any], Hub]) -> None:
    out, hub = told
    assert "ArtifactError" in out["not ours"] or "ConfigError" in out["not ours"]
    assert not [path for _, path in hub.asked if path.endswith("evil.py")]


def test_refusals_are_words(told: tuple[dict[str, Any], Hub]) -> None:
    out, _ = told
    assert out["no token"].startswith("ConfigError: the hub and me/model: ")
    assert "hf auth login" in out["no token"]
    assert out["no repository"].startswith("ConfigError: the hub and me/nothing: ")
    assert out["no revision"].startswith("ConfigError: the hub and me/model@v9: ")


def test_names_that_are_no_place(tmp_path: Path) -> None:
    for name in ("nothing", "./nothing", "a/b/c", tmp_path / "nothing", "../a/b"):
        with pytest.raises(ConfigError, match="no saved model at"):
            interlingua.from_pretrained(name)
    (tmp_path / "there").mkdir()
    with pytest.raises(ConfigError, match="a revision"):
        interlingua.from_pretrained(tmp_path / "there", revision="v1")
