"""The load scripts of benchmarks/serve, in tiny: a crowd is answered; what was acknowledged survives a kill -9."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.source_trees import SOURCE

pytest.importorskip("uvicorn")
pytest.importorskip("sqlalchemy")

from interlingua.runs.stages import run

SCRIPTS = SOURCE.parents[1] / "benchmarks" / "serve"
if not SCRIPTS.is_dir() or not Path("/proc/self/smaps_rollup").is_file():
    pytest.skip("needs the checkout and /proc", allow_module_level=True)


def script(name: str, out: Path, *options: str) -> dict[str, object]:
    command = [sys.executable, str(SCRIPTS / name), "--out", str(out), *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr
    found: dict[str, object] = json.loads(out.read_text())
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = ("data.options={num_users = 60, num_items = 40}", 'evaluate.protocols=["full"]')
    return run("textknn", out=tmp_path_factory.mktemp("runs"), data="planted", overrides=options, device="cpu").path


@pytest.mark.parametrize("times", ["1", pytest.param("20", marks=pytest.mark.slow)])
def test_nothing_acknowledged_is_lost_or_there_twice(folder: Path, tmp_path: Path, times: str) -> None:
    found = script("crash.py", tmp_path / "r.json", "--run", str(folder), "--times", times, "--seconds", "1")
    assert found["acknowledged_event_batches"]
    assert (found["event_batches_lost"], found["event_batches_not_whole_or_twice"]) == (0, 0)
    assert (found["items_lost"], found["items_twice"]) == (0, 0)


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed (apt-get install wrk)")
@pytest.mark.parametrize("minutes", ["0.03", pytest.param("2", marks=pytest.mark.slow)])
def test_steady_load_breaks_nothing(folder: Path, tmp_path: Path, minutes: str) -> None:
    found = script("soak.py", tmp_path / "r.json", "--run", str(folder), "--minutes", minutes)
    assert found["requests"]
    assert (found["refused"], found["broken"]) == (0, 0)
    assert float(str(found["rss_mib_at_the_end"])) < 1.2 * float(str(found["rss_mib_after_30_s"]))
