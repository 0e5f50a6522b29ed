"""Options of the commands: every one is checked before the work starts, and says what is wrong with it."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from interlingua import stages

Answer = tuple[int, str, str]
Cli = Callable[..., Answer]
WORLD = ("data.options={num_users=60, num_items=40}",)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Cli:
    """The command in this process: (exit code, stdout, stderr)."""

    def call(*arguments: str) -> Answer:
        from interlingua.cli.main import main

        monkeypatch.setattr(sys, "argv", ["interlingua", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return int(stop.value.code or 0), out, err

    return call


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Finished runs of popularity and of item neighbours."""
    root = tmp_path_factory.mktemp("runs")
    made = [stages.run(name, out=root, seed=3, data="planted", sets=WORLD) for name in ("pop", "itemknn")]
    return [str(session.done["evaluate"].path) for session in made]


@pytest.fixture(scope="module")
def run(runs: list[str]) -> str:
    return runs[0]


def test_evaluate_takes_sets_and_a_seed_of_its_candidates(run: str, cli: Cli) -> None:
    code, out, err = cli("evaluate", run, "--set", 'evaluate.protocols=["sampled-5"]', "--seed", "11", "--json")
    assert code == 0, err
    answer = json.loads(out)
    assert list(answer["protocols"]) == ["sampled-5"]
    assert "seed=11" in answer["protocols"]["sampled-5"]
    code, out, _ = cli("evaluate", run, "--protocol", "full", "--set", "evaluate.max_users=9", "--json")
    assert "users=9 of" in json.loads(out)["protocols"]["full"]
    code, out, _ = cli(
        "evaluate", run, "--protocol", "full", "--set", "evaluate.part=valid", "--part", "test", "--json"
    )
    assert "part=test" in json.loads(out)["protocols"]["full"]  # the more special option wins


@pytest.mark.parametrize("text", ["backbone.last_share=0.5", "evaluate=full", "retrieve=5"])
def test_evaluate_changes_only_how_a_run_is_measured(text: str, run: str, cli: Cli) -> None:
    code, _, err = cli("evaluate", run, "--set", text)
    assert code == 2
    assert "changes [evaluate] only" in err


def test_a_dry_run_of_evaluate_names_the_stage_that_would_be_made(run: str, cli: Cli) -> None:
    asked = ("evaluate", run, "--protocol", "sampled-7", "--seed", "2", "--json")
    before = sorted(Path(run).parent.iterdir())
    code, out, err = cli(*asked, "--dry-run")
    assert code == 0, err
    rows = {row["stage"]: row for row in json.loads(out)}
    assert {stage: row["cached"] for stage, row in rows.items()} == {"prepare": True, "train": True, "evaluate": False}
    assert sorted(Path(run).parent.iterdir()) == before
    assert json.loads(cli(*asked)[1])["stages"] == {stage: row["key"] for stage, row in rows.items()}


def test_compare_bootstraps_from_the_seed_that_was_given(runs: list[str], cli: Cli) -> None:
    def interval(*more: str) -> list[float]:
        code, out, err = cli("compare", *runs, "--protocol", "full", "--metric", "ndcg@10", "--json", *more)
        assert code == 0, err
        return json.loads(out)["comparisons"][0]["tests"][0]["interval"]

    assert interval("--seed", "5") == interval("--seed", "5")
    assert interval("--seed", "5") != interval("--seed", "6")
    assert interval() == interval("--seed", "0")
