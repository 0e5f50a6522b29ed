"""Golden traces: what every shipped recipe gave when it was recorded, it gives again; bit for bit on the same machine.

Elsewhere (other versions of packages, another processor) sums are rounded otherwise: the losses are then compared with
a tolerance, and hashes and metrics of a few users say nothing.
A number that was meant to change is written anew (see :mod:`tests.golden.traces`), and CHANGELOG says so.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("transformers")
pytest.importorskip("sentence_transformers")

from tests.golden.traces import README, file_of, machine, models, names_of, shortened, small, trace

WITH_MODEL = {"a-llmrec", "ra-rec", "aligned-mixture", "kv-mixture"}
"""recipes of the README that read with a language model: minutes"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def golden(world: str) -> dict[str, Any]:
    return json.loads(file_of(world).read_text(encoding="utf-8"))


def compare(world: str, name: str, found: dict[str, Any]) -> None:
    kept = golden(world)
    found = json.loads(json.dumps(found))
    if kept["machine"] == machine():
        assert found == kept["recipes"][name]
        return
    assert len(found["stages"]) == len(kept["recipes"][name]["stages"])
    for now, then in zip(found["stages"], kept["recipes"][name]["stages"], strict=True):
        assert losses(now) == pytest.approx(losses(then), rel=0.02, abs=1e-4)
    assert {k: v.keys() for k, v in found["metrics"].items()} == {
        k: v.keys() for k, v in kept["recipes"][name]["metrics"].items()
    }


def losses(stage: dict[str, Any]) -> dict[str, float]:
    """Names and values of the first epoch's losses; later ones have drifted on another processor."""
    return dict(stage["losses"][0]["losses"]) if "losses" in stage else {}


def test_every_shipped_recipe_has_a_trace() -> None:
    for world in ("planted", "movielens-small"):
        assert sorted(golden(world)["recipes"]) == sorted(names_of(world))


@pytest.mark.parametrize("name", names_of("planted"))
def test_a_recipe_in_the_small_world(name: str, tiny: dict[str, str], runs: Path) -> None:
    compare("planted", name, trace(small(name, tiny), runs))


@pytest.mark.data
@pytest.mark.models
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in WITH_MODEL else []) for name in README]
)
def test_a_recipe_of_the_readme_on_movielens(name: str, data_root: Path, runs: Path) -> None:
    compare("movielens-small", name, trace(shortened(name), runs))


def test_on_another_machine_losses_are_compared_with_a_tolerance(
    tiny: dict[str, str], runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = trace(small("mf", tiny), runs)
    monkeypatch.setattr("tests.golden.test_traces.machine", dict)
    compare("planted", "mf", found | {"metrics": golden("planted")["recipes"]["mf"]["metrics"]})
    for value in found["stages"][0]["losses"]:
        value["losses"] = {name: 1.1 * loss for name, loss in value["losses"].items()}
    with pytest.raises(AssertionError):
        compare("planted", "mf", found)
