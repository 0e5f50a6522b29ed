"""Studies: trials on the validation part alone, gone on with after a kill as if nothing had happened."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from tests.test_sealed import with_other_test_items
from typer.testing import CliRunner

from interlingua.cli.main import app, mount, own_commands
from interlingua.data.prepare import save
from interlingua.data.sources.planted import generate
from interlingua.errors import ConfigError
from interlingua.runs import stages
from interlingua.training.listeners import listening
from interlingua.tune import study as studies
from interlingua.tune.request import Request
from interlingua.tune.results import TrialResult, Tuned
from interlingua.tune.space import Choices, Range, Space
from interlingua.tune.study import tune

pytest.importorskip("optuna")
RATES: Space = {"backbone.fit.learning_rate": Range(1e-4, 0.1, log=True), "backbone.embedding_dim": Choices((4, 8))}
SMALL = ("data.options={num_users = 60, num_items = 40}", "backbone.fit.epochs=6", "backbone.fit.evaluate_every=1")


def request_of(out: Path, **changes: Any) -> Request:
    made = Request("mf", RATES, "planted", overrides=SMALL, out=out, device="cpu", prune=False)
    return replace(made, **changes)


def without_cost(trials: list[TrialResult]) -> list[Mapping[str, Any]]:
    return [{k: v for k, v in asdict(trial).items() if k not in ("seconds", "run")} for trial in trials]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    return tune(request_of(tmp_path_factory.mktemp("whole")), 4)


@pytest.mark.parametrize("trial", [0, 2])
def test_a_killed_study_goes_the_way_of_one_that_was_not(trial: int, whole: Tuned, tmp_path: Path) -> None:
    request = request_of(tmp_path)
    if trial:
        tune(request, trial)

    def killed(label: str, record: Mapping[str, Any]) -> None:
        if record["epoch"] == 3:
            raise KeyboardInterrupt

    with listening(killed), pytest.raises(KeyboardInterrupt):
        tune(request, 4)
    assert without_cost(tune(request, 4).trials) == without_cost(whole.trials)


def test_more_trials_go_on_with_those_there_are(whole: Tuned, tmp_path: Path) -> None:
    request = request_of(tmp_path)
    assert len(tune(request, 1).trials) == 1
    assert len(tune(request, 3).trials) == 3
    assert without_cost(tune(request, 4).trials) == without_cost(whole.trials)
    assert len(tune(request, 2).trials) == 4  # nothing is taken back


def test_the_value_of_a_trial_is_that_of_its_run(whole: Tuned, tmp_path: Path) -> None:
    best = whole.best
    assert best is not None
    made = stages.run(
        request_of(tmp_path).resolved(best.options), out=tmp_path, seed=7, device="cpu"
    )  # its overrides on their own
    assert made.metrics["full"]["ndcg@10"] == best.value
    assert all(best.value >= trial.value for trial in whole.trials if trial.value is not None)
    assert len({json.dumps(trial.options) for trial in whole.trials}) == 4


def test_the_test_part_has_no_say(tmp_path: Path) -> None:
    world = generate(num_users=60, num_items=40, seed=3)
    found = []
    for number in (1, 2):
        changed = with_other_test_items(world, number)
        save(changed, tmp_path / f"world{number}")
        request = request_of(tmp_path / str(number), data=str(tmp_path / f"world{number}"), overrides=SMALL[1:])
        found.append(without_cost(tune(request, 3).trials))
    assert found[0] == found[1]


def test_the_recipe_as_it_stands_is_the_first_trial_where_the_space_holds_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tune(request_of(tmp_path, overrides=(*SMALL, "backbone.embedding_dim=8")), 1).trials[0]
    assert own.options == {"backbone.fit.learning_rate": 0.002, "backbone.embedding_dim": 8}
    other = tune(request_of(tmp_path, overrides=(*SMALL, "backbone.embedding_dim=5")), 1).trials[0]
    assert other.options["backbone.embedding_dim"] in (4, 8)
    assert "embedding_dim = 5 is outside the search space" in capsys.readouterr().err


def test_a_training_worse_than_the_median_ends_early(tmp_path: Path) -> None:
    rates: Space = {"backbone.fit.learning_rate": Range(1e-6, 0.03, log=True)}
    larger = ("data.options={num_users = 200, num_items = 100}", "backbone.fit.epochs=8", "backbone.fit.batch_size=64")
    overrides = (*larger, *SMALL[2:], "backbone.fit.learning_rate=0.03")
    trials = tune(request_of(tmp_path, space=rates, overrides=overrides, prune=True, sampler="random"), 14).trials
    ended = [trial for trial in trials if trial.state == "pruned"]
    whole = [trial for trial in trials if trial.state == "complete"]
    assert len(ended) >= 2
    assert all(trial.value is None and "worse than the others' median" in trial.why for trial in ended)
    assert max(trial.options["backbone.fit.learning_rate"] for trial in ended) < 0.001
    assert not any("after epoch 1:" in trial.why or "after epoch 2:" in trial.why for trial in ended)
    assert not any(trial in ended for trial in trials[: studies.PRUNE_AFTER])
    made = [json.loads((Path(str(trial.run)) / "metrics.json").read_text()) for trial in whole]
    assert [each["full"]["metrics"]["ndcg@10"] for each in made] == [trial.value for trial in whole]


def test_a_trial_that_fails_is_written_down_and_the_next_one_begins(tmp_path: Path) -> None:
    rates: Space = {"backbone.fit.learning_rate": Choices((0.01, 1e30))}
    found = tune(request_of(tmp_path, space=rates, sampler="random"), 6)
    failed = [trial for trial in found.trials if trial.state == "failed"]
    assert failed
    assert "diverged" in failed[0].why
    assert found.best is not None
    assert found.best.options["backbone.fit.learning_rate"] == 0.01


def test_a_study_without_a_value_says_why(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none of 2 trials has a value; the last: .*hit@7"):
        tune(request_of(tmp_path, metric="hit@7"), 2)


def test_two_processes_do_not_share_a_study(tmp_path: Path) -> None:
    request = request_of(tmp_path)
    with studies._opened(request, request.check()), pytest.raises(ConfigError, match="another process tunes"):
        tune(request, 1)


@pytest.mark.parametrize(
    "changes",
    [{"seed": 8}, {"metric": "hit@10"}, {"sampler": "random"}, {"prune": True}, {"overrides": SMALL[:-1]},
     {"space": RATES | {"backbone.embedding_dim": Choices((4, 9))}}, {"protocol": "sampled-20"}],
)  # fmt: skip
def test_another_question_is_another_study(changes: dict[str, Any], tmp_path: Path) -> None:
    first, second = request_of(tmp_path), request_of(tmp_path, **changes)
    assert first.key(first.check()) != second.key(second.check())


@pytest.mark.parametrize(("metric", "best"), [("ndcg@10", 1), ("log-loss", 0)])
def test_the_best_is_by_the_direction_of_the_metric(metric: str, best: int) -> None:
    trials = [TrialResult(0, "complete", {}, 0.2), TrialResult(1, "complete", {}, 0.4), TrialResult(2, "failed", {})]
    found = Tuned("a", metric, "full", trials)
    assert found.best == trials[best]
    assert found.ordered[-1] == trials[2]


def test_the_command_prints_the_best_and_how_to_measure_it(tmp_path: Path) -> None:
    mount(own_commands())
    (tmp_path / "s.toml").write_text("[backbone]\nl2 = { low = 1.0, high = 1000.0, log = true }\n")
    words = [
        "tune",
        "ease",
        "--data",
        "planted",
        "--space",
        str(tmp_path / "s.toml"),
        "--trials",
        "3",
        "--set",
        SMALL[0],
    ]
    words += ["--out", str(tmp_path / "runs"), "--json"]
    made = CliRunner().invoke(app, words, catch_exceptions=False)
    found = json.loads(made.stdout)
    assert made.exit_code == 0
    assert found["part"] == "valid"
    assert [trial["number"] for trial in found["trials"]] == [0, 1, 2]
    assert found["best"]["value"] == max(trial["value"] for trial in found["trials"])
    assert found["next"].startswith("interlingua run ease --data planted --out ")
    assert found["best"]["set"][0] in found["next"]
