"""Whole runs: killed at random moments, side by side on one folder, repeated, damaged."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from interlingua.errors import ArtifactError
from interlingua.runs import stages
from interlingua.runs.opening import open_session
from interlingua.storage import artifact

RECIPE = """
[data]
name = "planted"
options = { num_users = 120, num_items = 60 }
[backbone]
name = "sasrec"
embedding_dim = 8
max_history = 10
[backbone.fit]
epochs = 40
patience = 50
[text]
name = "lsa"
[align]
name = "autoencoder"
latent_dim = 8
frozen = ["backbone"]
[align.fit]
epochs = 20
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


def _start(recipe: Path, out: Path) -> subprocess.Popen:
    # checkpoints after every epoch instead of every 20 s, so that a kill lands between two of them
    program = (
        "import sys, functools, interlingua.runs.stages as s, interlingua.training.loop as f;"
        "s.fit_best = functools.partial(f.fit_best, checkpoint_every_s=0.0);"
        "s.run(sys.argv[1], out=sys.argv[2], seed=3)"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", program, str(recipe), str(out)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _metrics(run: Path) -> dict:
    reports = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return {name: report["metrics"] for name, report in reports.items()}


def _only_run(out: Path) -> Path:
    runs = [a.path for a in artifact.listing(out) if a.kind == "evaluate"]
    assert len(runs) == 1
    return runs[0]


def _weights(out: Path) -> dict[str, str]:
    return {
        a.kind: artifact.file_hash(a.path / "weights.safetensors")
        for a in artifact.listing(out)
        if (a.path / "weights.safetensors").exists()
    }


def test_killed_again_and_again_ends_with_the_numbers_of_an_uninterrupted_run(recipe, tmp_path):
    whole = _start(recipe, tmp_path / "whole")
    assert whole.wait() == 0, whole.stderr.read().decode()[-2000:]
    out, dice, kills = tmp_path / "killed", random.Random(5), 0
    for marker in ("prepare-*", "train-*.partial/state.json", "align-*.partial/state.json", "align-*/log.jsonl"):
        process = _start(recipe, out)
        # wait for the work that the kill is aimed at, then strike at a random moment of it
        while process.poll() is None and not list(out.glob(marker)):
            time.sleep(0.005)
        time.sleep(dice.uniform(0.0, 0.3))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    last = _start(recipe, out)
    assert last.wait() == 0, last.stderr.read().decode()[-2000:]
    assert kills >= 2
    assert _metrics(_only_run(out)) == _metrics(_only_run(tmp_path / "whole"))
    assert _weights(out) == _weights(tmp_path / "whole")
    assert not list(out.glob("*.partial"))


def test_two_runs_at_once_on_one_folder_share_the_work(recipe, tmp_path):
    processes = [_start(recipe, tmp_path / "runs") for _ in range(2)]
    for process in processes:
        assert process.wait() == 0, process.stderr.read().decode()[-2000:]
    kinds = [a.kind for a in artifact.listing(tmp_path / "runs")]
    assert sorted(kinds) == ["align", "embed", "evaluate", "prepare", "train"]
    open_session(_only_run(tmp_path / "runs"))  # every hash holds


def test_same_seed_gives_bitwise_equal_metrics_and_another_seed_does_not(recipe, tmp_path):
    sets = ("backbone.fit.epochs=3", "align.fit.epochs=2")
    found = [
        stages.run(str(recipe), out=tmp_path / str(i), seed=seed, overrides=sets).done["evaluate"].path
        for i, seed in enumerate((3, 3, 4))
    ]
    assert _metrics(found[0]) == _metrics(found[1])
    assert _metrics(found[0]) != _metrics(found[2])


def test_finished_stages_are_reused_and_only_what_changed_runs_again(recipe, tmp_path):
    sets = ("backbone.fit.epochs=2", "align.fit.epochs=2")
    stages.run(str(recipe), out=tmp_path, seed=3, overrides=sets)
    again = stages.run(str(recipe), out=tmp_path, seed=3, overrides=sets)
    assert again.reused == set(again.plan)
    changed = stages.run(str(recipe), out=tmp_path, seed=3, overrides=(*sets, "align.latent_dim=4"))
    assert changed.reused == {"prepare", "embed", "train"}


def test_an_edited_parent_is_refused_with_the_file_named(recipe, tmp_path):
    session = stages.run(str(recipe), out=tmp_path, seed=3, overrides=("backbone.fit.epochs=1", "align.fit.epochs=1"))
    weights = session.done["train"].path / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(ArtifactError, match=r"weights\.safetensors"):
        open_session(session.done["evaluate"].path)
    with pytest.raises(ArtifactError, match=r"weights\.safetensors"):
        stages.run(str(recipe), out=tmp_path, seed=3, overrides=("backbone.fit.epochs=1", "align.fit.epochs=1"))


def test_reevaluating_a_run_writes_a_stage_beside_it(recipe, tmp_path):
    session = stages.run(str(recipe), out=tmp_path, seed=3, overrides=("backbone.fit.epochs=1", "align.fit.epochs=1"))
    opened = open_session(session.done["evaluate"].path)
    options = opened.recipe.evaluate.model_copy(update={"part": "valid", "protocols": ["sampled-10"]})
    again = stages.reevaluate(opened, options)
    assert again.path != session.done["evaluate"].path
    assert list(json.loads((again.path / "metrics.json").read_text(encoding="utf-8"))) == ["sampled-10"]
    assert open_session(again.path).recipe.evaluate.part == "valid"
