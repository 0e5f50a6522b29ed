"""The prepared GPU run, in tiny on a CPU: every step gives numbers, a second call finds them, the clock is kept."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytest.importorskip("peft")
pytest.importorskip("sentence_transformers")


def call(tmp_path, *options):
    out = tmp_path / "result.json"
    command = [sys.executable, ROOT / "benchmarks" / "gpu" / "run.py", "--tiny", "--device", "cpu", "--out", out]
    environment = {k: v for k, v in os.environ.items() if k != "INTERLINGUA_DATA"} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--runs", tmp_path / "runs", *options], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(out.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_all_steps_run_in_tiny_and_are_kept(tmp_path):
    first = call(tmp_path, "--seeds", "7")
    assert first["left_out"] == {}
    steps = first["steps"]
    readers = {name for name in steps if name.endswith("seed 7")}
    assert len(readers) == 5
    assert set(steps) - readers == {
        "matrix peak", "training", "scoring", "training, OPT-6.7B's shape", "scoring, OPT-6.7B's shape",
    }  # fmt: skip
    assert all(0 <= steps[name]["hit@1"] <= 1 and steps[name]["prompts"] > 0 for name in readers)
    assert steps["training"]["plain, batches of 4"]["users_per_s"] > 0
    assert str(tmp_path) not in json.dumps(first)
    again = call(tmp_path, "--seeds", "7", "8", "--minutes", "0.05")  # too little for any step of another seed
    assert again["steps"] == steps
    assert len(again["left_out"]) == 5
    assert all("were left" in why for why in again["left_out"].values())


def test_a_step_that_outlasts_the_clock_is_stopped_and_a_broken_one_does_not_end_the_others(tmp_path):
    code = f"""
import sys, time
sys.path.insert(0, {str(ROOT / "benchmarks" / "gpu")!r})
from pathlib import Path
import run

def slow():
    while True:
        time.sleep(0.01)

def broken():
    raise ValueError("no such model")

results = run.Results(Path("r.json"), {{"settings": {{}}}})
steps = [run.Step("a", "a", 0.1, lambda: {{"value": 1}}), run.Step("b", "b", 0.1, broken),
         run.Step("long", "long", 1e9, slow), run.Step("c", "c", 0.1, slow), run.Step("d", "d", 0.1, slow)]
run.run(iter(steps), results, time.monotonic() + 2)
"""
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=tmp_path)
    found = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert found["steps"]["a"]["value"] == 1
    assert list(found["left_out"]) == ["b", "long", "c", "d"]
    assert found["left_out"]["b"] == "ValueError: no such model"
    assert found["left_out"]["c"].startswith("stopped after")
