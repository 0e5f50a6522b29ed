"""Golden traces: what every shipped recipe gave when it was recorded, it gives again; bit for bit on the same machine.

On another processor sums are rounded otherwise: then all losses, sizes and norms of weights, validations and metrics
are compared within :data:`ELSEWHERE`, and with other versions of packages within :data:`OTHER_PACKAGES`. A number that
was meant to change is written anew (see :mod:`tests.golden.traces`), and CHANGELOG says so.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

pytest.importorskip("transformers")
pytest.importorskip("sentence_transformers")

from tests.golden import traces
from tests.golden.traces import README, file_of, machine, models, names_of, shortened, small, trace

ROOT = Path(__file__).parents[2]
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


class Bounds(NamedTuple):
    """How far numbers may be from those that were recorded."""

    losses: float
    """of each epoch, relative"""
    norm: float
    """of a stage's weights, relative"""
    metrics: float
    """validations and final metrics, absolute: a user of 25 counts 0.04"""


ELSEWHERE = Bounds(losses=1e-3, norm=1e-3, metrics=0.09)
"""another processor; with plain instead of AVX512 kernels losses moved by 4e-6, norms by 2e-4, metrics by one user"""
OTHER_PACKAGES = Bounds(losses=0.02, norm=0.02, metrics=0.2)
PROCESSOR = ("machine", "cpu", "kernels")
"""entries of a machine that are not versions of packages"""


def bounds(then: dict[str, str], now: dict[str, str]) -> Bounds | None:
    """None: the same machine."""
    if then == now:
        return None
    packages = [{k: v for k, v in each.items() if k not in PROCESSOR} for each in (then, now)]
    return ELSEWHERE if packages[0] == packages[1] else OTHER_PACKAGES


def compare(world: str, name: str, found: dict[str, Any], here: dict[str, str] | None = None) -> None:
    """``here``: the machine that it was found on; None: this one."""
    kept = golden(world)
    then, now = kept["recipes"][name], json.loads(json.dumps(found))
    allowed = bounds(then.pop("machine", kept["machine"]), here or machine())
    assert len(now["stages"]) == len(then["stages"])
    now["stages"] = [recorded(*pair) for pair in zip(now["stages"], then["stages"], strict=True)]
    if allowed is None:
        assert now == then
        return
    for own, old in zip(now["stages"], then["stages"], strict=True):
        assert own.get("numbers") == old.get("numbers")
        if "norm" in old:  # traces of the packages' first versions have none
            assert own["norm"] == pytest.approx(old["norm"], rel=allowed.norm, abs=1e-4)
        for epoch, before in zip(own.get("losses", []), old.get("losses", []), strict=True):
            assert (epoch["rows"], epoch["steps"]) == (before["rows"], before["steps"])
            assert epoch["losses"] == pytest.approx(before["losses"], rel=allowed.losses, abs=1e-5)
            assert epoch.get("valid") == pytest.approx(before.get("valid"), abs=allowed.metrics)
    assert now["metrics"].keys() == then["metrics"].keys()
    for protocol, values in then["metrics"].items():
        assert now["metrics"][protocol] == pytest.approx(values, abs=allowed.metrics)


def recorded(now: dict[str, Any], then: dict[str, Any]) -> dict[str, Any]:
    """A stage without what an older record does not have."""
    return {key: value for key, value in now.items() if key in then or key not in ("numbers", "norm")}


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


TRIED = ("sasrec", "kar", "itemknn")
"""recipes that are run with other kernels: by gradient, with an aligner, a closed form"""
ELSEWHERE_SCRIPT = """
import json, sys
from pathlib import Path
from tests.golden.traces import machine, models, small, trace
folder = Path(sys.argv[1])
tiny = models(folder)
found = {name: trace(small(name, tiny), folder / "runs") for name in sys.argv[2:]}
(folder / "found.json").write_text(json.dumps({"machine": machine(), "recipes": found}))
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a processor without wide registers gives: PyTorch's plain kernels, in a process of their own."""
    folder = tmp_path_factory.mktemp("elsewhere")
    paths = [str(ROOT / "src"), str(ROOT)]
    environment = os.environ | {"ATEN_CPU_CAPABILITY": "default", "PYTHONPATH": os.pathsep.join(paths)}
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE_SCRIPT, str(folder), *TRIED], env=environment, capture_output=True,
        text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads((folder / "found.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", TRIED)
def test_another_processor_gives_nearly_the_same(name: str, elsewhere: dict[str, Any]) -> None:
    assert elsewhere["machine"]["kernels"] == "DEFAULT"
    compare("planted", name, elsewhere["recipes"][name], elsewhere["machine"])


def test_the_other_processor_is_another_one(elsewhere: dict[str, Any], tiny: dict[str, str], runs: Path) -> None:
    """Else the test above would compare equal bits."""
    if machine()["kernels"] == "DEFAULT":
        pytest.skip("this processor has plain kernels only")
    here = json.loads(json.dumps(trace(small("kar", tiny), runs)))
    assert here != elsewhere["recipes"]["kar"]


CHANGES = {
    "a loss of the last epoch": lambda found: found["stages"][0]["losses"][-1]["losses"].update(ce=3.7),
    "the norm of the weights": lambda found: found["stages"][0].update(norm=1.01 * found["stages"][0]["norm"]),
    "the number of weights": lambda found: found["stages"][0].update(numbers=found["stages"][0]["numbers"] + 1),
    "a validation": lambda found: found["stages"][0]["losses"][0]["valid"].update({"recall@20": 0.1}),
    "steps": lambda found: found["stages"][0]["losses"][0].update(steps=2),
    "a metric": lambda found: next(iter(found["metrics"].values())).update({"ndcg@10": 0.95}),
    "a metric's name": lambda found: next(iter(found["metrics"].values())).pop("ndcg@10"),
    "a stage": lambda found: found["stages"].clear(),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_seen_on_another_machine_too(what: str) -> None:
    other = golden("planted")["machine"] | {"cpu": "another", "kernels": "DEFAULT"}
    found = golden("planted")["recipes"]["sasrec"]
    compare("planted", "sasrec", found, other)
    CHANGES[what](found)
    with pytest.raises(AssertionError):
        compare("planted", "sasrec", found, other)


def test_other_packages_have_wider_bounds() -> None:
    kept = golden("planted")["machine"]
    assert bounds(kept, kept) is None
    assert bounds(kept, kept | {"cpu": "another"}) == ELSEWHERE
    assert bounds(kept, kept | {"cpu": "another", "torch": "3.0"}) == OTHER_PACKAGES


def test_a_trace_that_is_recorded_on_another_machine_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other traces are those of the machine that the file names; its own is compared bit for bit on its machine."""
    file, here = tmp_path / "planted.json", golden("planted")["machine"] | {"cpu": "another"}
    file.write_text(file_of("planted").read_text(encoding="utf-8"), encoding="utf-8")
    before = golden("planted")
    found = before["recipes"]["sasrec"]
    monkeypatch.setattr(traces, "file_of", lambda _: file)
    monkeypatch.setattr(traces, "models", lambda _: {})
    monkeypatch.setattr(traces, "machine", lambda: here)
    monkeypatch.setattr(traces, "trace", lambda *_: json.loads(json.dumps(found)))
    monkeypatch.setattr(sys, "argv", ["traces", "planted", "sasrec"])
    traces.main()
    after = json.loads(file.read_text(encoding="utf-8"))
    assert after["recipes"].pop("sasrec") == found | {"machine": here}
    del before["recipes"]["sasrec"]
    assert after == before
    monkeypatch.setitem(globals(), "file_of", lambda _: file)
    compare("planted", "sasrec", found, here)
    found["stages"][0]["tensors"] = "other bits"
    with pytest.raises(AssertionError):
        compare("planted", "sasrec", found, here)
    compare("planted", "sasrec", found, golden("planted")["machine"])
