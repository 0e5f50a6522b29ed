"""A dry run that takes long says what it is at; stopped, it says nothing of stages that it never makes."""

from __future__ import annotations

import re
import sys
import time

import pytest

from interlingua import progress
from interlingua.cli import main as command
from interlingua.config import Config
from interlingua.runs import estimate, preflight
from interlingua.runs import recipe as recipes
from interlingua.runs.planner import describe
from interlingua.runs.session import Session

RECIPE = {
    "data": {"name": "planted", "options": {"num_users": 60, "num_items": 40}},
    "backbone": {"name": "itemknn"},
    "evaluate": {"protocols": ["full"]},
}


@pytest.fixture
def session(tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "FIRST_AFTER_S", 0.0)
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", 0.0)
    monkeypatch.setattr(progress, "BEAT_S", 0.01)
    return Session(recipes.resolve(RECIPE, "knn"), tmp_path / "runs")


def test_a_step_that_says_nothing_is_said_to_go_on(session, capsys):
    with progress.task("models", 2) as shown, progress.long_step(shown, "encoder"):
        time.sleep(0.1)
    first, *_, last = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"models: 0/2, 0\.\d s elapsed, encoder", first)
    assert last.startswith("models: 1/2")


def test_every_stage_that_is_estimated_is_named_while_it_takes_long(session, monkeypatch, capsys):
    real = estimate.Estimator._train

    def slow(self):
        time.sleep(0.1)
        return real(self)

    monkeypatch.setattr(estimate.Estimator, "_train", slow)
    rows = describe(session)
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("estimating knn: 1/3")]
    assert any(line.endswith("train") for line in lines)
    assert [row["stage"] for row in rows] == ["prepare", "train", "evaluate"]


def test_models_that_are_tried_are_named_while_it_takes_long(session, monkeypatch, capsys):
    class Slow(Config):
        def check_models(self) -> None:
            time.sleep(0.1)

    monkeypatch.setattr(preflight, "_used", lambda session: [Slow()])
    preflight.check([session])
    assert "looking at models: 0/1, 0." in capsys.readouterr().err


def test_what_takes_long_is_measured_once(session, monkeypatch):
    taken = []

    def timed(work):
        work()
        return 6.0

    monkeypatch.setattr(estimate.probes, "timed", timed)
    monkeypatch.setattr(estimate, "measure", lambda *given, max_users, **options: taken.append(max_users))
    found = estimate.Estimator(session)
    found._fresh()
    assert found._evaluate().seconds == pytest.approx(6.0 / taken[0] * 60)  # of 60 users, in proportion
    assert len(taken) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "mf"], "stopped; finished stages and checkpoints are kept, run the same command to continue"),
        (["run", "mf", "--dry-run"], "stopped; a dry run trains nothing, so there is nothing to continue"),
    ],
)
def test_a_dry_run_that_is_stopped_speaks_of_no_stages(arguments, said, monkeypatch, capsys):
    def app(**options):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "app", app)
    monkeypatch.setattr(command, "mount", lambda commands: None)
    monkeypatch.setattr(sys, "argv", ["interlingua", *arguments])
    with pytest.raises(SystemExit) as end:
        command.main()
    assert (end.value.code, capsys.readouterr().err.strip()) == (130, said)
