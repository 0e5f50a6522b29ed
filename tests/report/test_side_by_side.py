"""Several methods on one dataset, saved runs beside them, and what is shown of a user."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from interlingua.errors import ArtifactError, ConfigError
from interlingua.report.demo import pick_users, show_user
from interlingua.report.side_by_side import Method, Result, run_methods
from interlingua.runs import stages

METHODS = {"popular": "pop", "near": "itemknn"}


def recipe(folder: Path, name: str, backbone: str, users: int = 60, extra: str = "") -> str:
    """A recipe over a file of drawn events (a generated world would follow the seed)."""
    events = folder / f"events-{users}.csv"
    rng = np.random.default_rng(0)
    lines = [
        f"u{user},i{item},{1_500_000_000 + 1000 * user + place}"
        for user in range(users)
        for place, item in enumerate(rng.choice(40, 8, replace=False, p=np.arange(40, 0, -1) / 820))
    ]
    events.write_text("user,item,timestamp\n" + "\n".join(lines) + "\n", encoding="utf-8")
    path = folder / f"{name}.toml"
    path.write_text(
        f'# {name}\n[data]\nname = "{events}"\nsplit = "leave-one-out"\n[backbone]\nname = "{backbone}"\n{extra}',
        encoding="utf-8",
    )
    return str(path)


@pytest.fixture
def methods(tmp_path) -> list[Method]:
    return [Method(label, recipe(tmp_path, label, backbone)) for label, backbone in METHODS.items()]


def saved(tmp_path: Path, **changes) -> Path:
    """A run of another program at another time, with another seed."""
    session = stages.run(recipe(tmp_path, "mine", "ease", **changes), out=tmp_path / "elsewhere", seed=99)
    return session.done["evaluate"].path


def test_a_saved_run_follows_the_demos_own_with_its_numbers_and_answers(tmp_path, methods):
    path = saved(tmp_path)
    results = run_methods(methods, out=tmp_path / "runs", seed=7, extra_runs=[path])
    assert [one.method.label for one in results] == ["popular", "near", "mine (saved)"]
    last: Result = results[-1]
    assert last.run == path
    assert last.method.note == "trained before, seed 99"
    measured = json.loads((path / "metrics.json").read_text(encoding="utf-8"))["full"]["metrics"]["ndcg@10"]
    assert last.cell("full", None, "ndcg@10").value == measured
    assert results[0].cell("full", None, "ndcg@10").value != measured
    (row,) = pick_users(results[0].session, 1, 7)
    shown = show_user(row, results[0], None, extra_runs=[last], k=4)
    assert set(shown.answers) == {"popular", "mine (saved)"}
    assert len(set(shown.answers["mine (saved)"])) == 4
    assert not set(shown.answers["mine (saved)"]) & set(shown.history)


def test_two_saved_runs_of_one_recipe_are_told_apart_and_nothing_is_shown_twice(tmp_path, methods):
    first = saved(tmp_path)
    path = recipe(tmp_path, "mine", "ease", extra="l2 = 10.0\n")
    second = stages.run(path, out=tmp_path / "elsewhere", seed=99).done["evaluate"].path
    own = stages.run(methods[0].recipe, out=tmp_path / "runs", seed=7).done["evaluate"].path
    results = run_methods(methods[:1], out=tmp_path / "runs", seed=7, extra_runs=[first, own, second, first])
    assert [(one.method.label, one.run) for one in results] == [
        ("popular", own), ("mine (saved) 1", first), ("mine (saved) 2", second),
    ]  # fmt: skip


def test_overrides_reach_data_and_evaluation_of_all_and_the_named_sections_of_each(tmp_path, methods):
    tuned = [methods[0], replace(methods[1], sections=("backbone",))]
    sets = ["evaluate.max_users=20", "backbone.neighbours=5"]
    results = run_methods(tuned, out=tmp_path / "runs", seed=7, overrides=sets)
    assert [one.reports["full"]["n_users"] for one in results] == [20, 20]
    assert results[1].session.recipe.backbone.config.neighbours == 5


def test_a_run_on_other_data_or_by_another_protocol_is_refused_before_anything_long_runs(tmp_path, methods):
    other = saved(tmp_path, users=50)
    with pytest.raises(ConfigError, match=r"cannot stand beside.*its data .*events-50.* are not the demo's"):
        run_methods(methods, out=tmp_path / "runs", seed=7, extra_runs=[other])
    assert [p.name.split("-")[1] for p in (tmp_path / "runs").glob("train-*")] == ["pop"]
    narrow = saved(tmp_path, extra='[evaluate]\nprotocols = ["full"]\n')
    with pytest.raises(ConfigError, match="protocol sampled-20 is 'not measured' there"):
        run_methods(methods, out=tmp_path / "runs", seed=7, extra_runs=[narrow])


def test_what_is_no_run_is_refused_at_once(tmp_path, methods):
    with pytest.raises(ArtifactError):
        run_methods(methods, out=tmp_path / "runs", seed=7, extra_runs=[tmp_path])
    assert not (tmp_path / "runs").exists()


def test_overrides_that_reach_nothing_are_refused_and_none_undoes_what_makes_a_method(tmp_path, methods):
    own = replace(methods[1], overrides=("backbone.neighbours=7",), sections=("backbone",))
    assert own.resolve(["backbone.neighbours=3"]).backbone.config.neighbours == 7
    for wrong in ("bogus", "evalaute.retrieve=10"):
        with pytest.raises(ConfigError, match=r"section\.key=value|unknown section 'evalaute'"):
            own.resolve([wrong])
