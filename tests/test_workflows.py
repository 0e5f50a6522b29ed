"""The workflow files of the repository's host: they cannot run here, so what they name must at least exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

yaml = pytest.importorskip("yaml")
ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def jobs(path: Path) -> dict[str, Any]:
    read = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert read["permissions"] == {"contents": "read"}
    assert True in read, "no `on:`"  # YAML 1.1 reads the bare word `on` as true
    found: dict[str, Any] = read["jobs"]
    return found


def lines(job: dict[str, Any]) -> list[str]:
    """The job's shell lines, once for each value of its matrix."""
    out = []
    for step in job["steps"]:
        texts = [step.get("run", "")]
        for name, values in job.get("strategy", {}).get("matrix", {}).items():
            texts = [re.sub(r"\$\{\{ *matrix\." + name + r" *\}\}", str(value), t) for t in texts for value in values]
        out += [line for text in texts for line in text.splitlines()]
    return out


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_make_target_and_file_of_a_workflow_exists(path: Path) -> None:
    for name, job in jobs(path).items():
        assert job["timeout-minutes"] <= 180, name
        for line in lines(job):
            assert "${{" not in line, f"{name}: {line}"
            if line.startswith("make "):
                assert line.split()[1] in TARGETS, f"{name}: {line}"
            for place in re.findall(r"\b(?:tests|tools|benchmarks)/[\w./-]+", line):
                assert (ROOT / place).exists(), f"{name}: {place}"


def test_the_workflows_cover_what_is_promised() -> None:
    """Supported Pythons as pyproject names them; newest and lowest versions; wheel, coverage, other systems."""
    every = jobs(ROOT / ".github" / "workflows" / "tests.yml")
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert every["test"]["strategy"]["matrix"]["python"] == re.findall(r"Python :: (3\.\d+)", project)
    run = {line for job in every.values() for line in lines(job)}
    assert {"make lint", "make coverage", "make wheel-smoke", "make test-newest", "make test-lowest"} <= run
    assert set(every["systems"]["strategy"]["matrix"]["system"]) == {"windows-latest", "macos-latest"}
