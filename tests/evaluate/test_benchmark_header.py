"""How a benchmark says it was called: a command that can be run, without a path of the machine."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "quality"


@pytest.fixture
def header(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    import header

    return header


def test_no_flag_loses_its_value(header, monkeypatch):
    given = ["--data", "planted", "--out", "/home/me/new one.json", "--runs=/tmp/r", "--set", "data.name=/x/y.csv"]
    monkeypatch.setattr(sys, "argv", ["x", *given, "--model", "org/name", "--seeds", "7", "8", "--more", "a/b.json"])
    made = header.header(str(FOLDER / "all_round.py"))
    assert made["command"] == (
        "python benchmarks/quality/all_round.py --data planted --out RESULT.json --runs=RUNS --set data.name=NAME.csv "
        "--model org/name --seeds 7 8 --more a/b.json"
    )
    assert set(made) == {"command", "commit", "machine"}


def test_no_benchmark_of_quality_has_a_head_of_its_own():
    own = [file.name for file in FOLDER.glob("*.py") if "rev-parse" in file.read_text(encoding="utf-8")]
    assert own == []
