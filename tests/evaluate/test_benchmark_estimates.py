"""The arithmetic of the table of estimates: parts of a run scaled to the whole, ratios, and what is kept."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from interlingua.runs import recipe as recipes


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "speed"))
    try:
        import estimates
    finally:
        del sys.path[0]
    return estimates


def test_rounds_of_a_training_are_scaled_to_its_steps_and_epochs(bench: ModuleType) -> None:
    rounds = [{"seconds": 9.0, "steps": 40}, {"seconds": 4.0, "steps": 40}, {"seconds": 4.0, "steps": 40}]
    measured = {"seconds": 20.0, "rounds": rounds, "validated": 3}
    expected = {"epochs": 20, "steps": 1000, "note": ""}
    # a tenth of a second a step; 3 s for three validations and the writing, and mf validates every other epoch
    assert bench.scaled("train", measured, expected, "mf", "planted") == pytest.approx(20 * 1000 * 0.1 + 10 * 1.0)
    kept = {"seconds": 20.0, "rounds": rounds, "validated": 0}  # without early stopping the rest comes once
    assert bench.scaled("train", kept, expected, "mf", "planted") == pytest.approx(20 * 1000 * 0.1 + 3.0)


def test_users_are_scaled_and_what_has_no_rounds_is_not(bench: ModuleType) -> None:
    seen = {"seconds": 2.0}
    assert bench.scaled("evaluate", seen, {"note": "6,040 users, full"}, "mf", "planted") == pytest.approx(2 * 30.2)
    assert bench.scaled("evaluate", seen, {"note": "100 users, full"}, "mf", "planted") == pytest.approx(2.0)
    assert bench.scaled("prepare", seen, {}, "mf", "planted") == 2.0


def test_joint_trainings_follow_the_backbones_options(bench: ModuleType) -> None:
    assert set(bench.fits("rlmrec-con", "planted")) == {"align"}
    assert "backbone.fit.epochs=3" in bench.few_steps("rlmrec-con", "planted")
    assert set(bench.fits("a-llmrec", "planted")) == {"train", "align", "rank"}
    assert bench.fits("ease", "planted") == {}


def test_few_steps_are_options_that_a_recipe_of_two_stages_takes(bench: ModuleType) -> None:
    made = recipes.load("recformer", bench.few_steps("recformer", "planted"), "planted")
    assert made.backbone is not None
    assert made.backbone.config.fit.epochs == 3


def test_a_process_is_measured_and_given_up_at_its_limit(bench: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text("import time\nx = bytearray(200 * 2**20)\nx[::4096] = b'1' * len(x[::4096])\ntime.sleep(30)\n")
    before, bench.__file__ = bench.__file__, str(file)
    try:
        done = bench.process([], 3.0)
    finally:
        bench.__file__ = before
    assert done["status"] == -1
    assert 3.0 <= done["seconds"] < 25
    assert done["bytes"] > 150 * 2**20


def test_rows_hold_ratios_and_count_those_within_two(bench: ModuleType) -> None:
    stage = {"seconds": 10.0, "parameters": 7, "memory_bytes": 2**30, "epochs": 3, "note": ""}
    real = {"seconds": 4.0, "parameters": 7, "epochs": 2}
    actual = {"how": "whole", "took": {"bytes": 2**30}, "stages": {"train": real}}
    cells = {
        "mf/planted": {"estimate": {"stages": {"train": stage}}, "actual": actual},
        "x/y": {},
        "x/z": {"left_out": "h"},
    }
    row, other = bench.rows(cells)
    assert other == {"recipe": "x", "data": "z", "how": "not measured: h"}
    assert (row["s ratio"], row["GiB ratio"], row["parameters"], row["epochs"]) == (2.5, 1.0, 7, "2")
    assert bench.within([row, other], "s ratio") == "0 of 1"
    assert bench.within([row], "GiB ratio") == "1 of 1"
