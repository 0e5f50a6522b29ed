"""Numbers and pictures on pages are those that a benchmark wrote."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from tests.test_docs import ROOT

render = runpy.run_path(str(ROOT / "benchmarks" / "render.py"))


def test_the_numbers_on_the_pages_are_those_of_the_results(capsys: pytest.CaptureFixture[str]) -> None:
    assert render["main"](["--check"]) == 0, capsys.readouterr().err


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with one page and one result."""
    results = tmp_path / "benchmarks" / "speed" / "results"
    results.mkdir(parents=True)
    report = {
        "command": "python speed.py", "commit": "0123456789abcdef", "machine": "2 cores",
        "rows": [
            {"method": "ours", "part": "test", "seconds": 0.123456, "users": 12345, "ratio": 10.0},
            {"method": "a | b", "part": "valid", "seconds": None, "users": 7, "ratio": 123.4},
        ],
        "results": {"csv": {"seconds": 41.234}, "parquet": {"seconds": 3.5}},
    }  # fmt: skip
    (results / "scan.json").write_text(json.dumps(report))
    (tmp_path / "README.md").write_text(
        "before\n<!-- numbers:speed/scan.rows columns=method,seconds,users,ratio -->\nold\n<!-- /numbers -->\n"
        "in <!-- number:speed/scan.results.csv.seconds digits=1 -->?<!-- /number --> s, after\n"
    )
    return tmp_path


def test_tables_and_numbers_are_written_into_their_regions(project: Path) -> None:
    main = render["main"]
    assert main(["--check"], project) == 1
    assert main([], project) == 0
    assert main(["--check"], project) == 0
    assert (project / "README.md").read_text() == (
        "before\n<!-- numbers:speed/scan.rows columns=method,seconds,users,ratio -->\n"
        "| method | seconds | users | ratio |\n|---|---:|---:|---:|\n"
        "| ours | 0.1235 | 12,345 | 10.00 |\n| a \\| b | - | 7 | 123 |\n\n"
        "<sub>`benchmarks/speed/results/scan.json`; `python speed.py`; commit 0123456789; 2 cores</sub>\n"
        "<!-- /numbers -->\nin <!-- number:speed/scan.results.csv.seconds digits=1 -->41.2<!-- /number --> s, after\n"
    )


@pytest.mark.parametrize(
    ("spec", "lines"),
    [
        ("speed/scan.rows where=part:valid columns=method,users", ["| a \\| b | 7 |"]),
        ("speed/scan.results digits=0", ["| csv | 41 |", "| parquet | 4 |"]),
        ("speed/scan.results.csv", ["| seconds | 41.23 |"]),
        ("speed/scan.rows.0 digits=2", ["| seconds | 0.12 |"]),
    ],
)
def test_each_shape_of_result_is_a_table(project: Path, spec: str, lines: list[str]) -> None:
    text = render["table_of"](spec, project)
    assert all(line in text.splitlines() for line in lines), text


@pytest.mark.parametrize(
    "spec",
    ["speed/absent.rows", "speed/scan.nothing", "speed/scan.rows columns=nothing", "speed/scan.rows where=part:none"],
)
def test_a_marker_that_no_result_answers_fails(project: Path, spec: str, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "README.md").write_text(f"<!-- numbers:{spec} -->\n<!-- /numbers -->\n")
    assert render["main"]([], project) == 1
    assert "README.md" in capsys.readouterr().err


def test_pictures_show_the_stored_results() -> None:
    script = Path(__file__).parents[1] / "benchmarks" / "picture.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("method", ["a-llmrec", "ra-rec", "rlmrec"])
def test_a_method_and_its_measurements_are_two_pages_that_name_each_other(method: str) -> None:
    page = (ROOT / "docs" / f"{method}.md").read_text(encoding="utf-8")
    assert not render["TABLE"].search(page)
    assert f"](results/{method}.md)" in page
    assert f"](../{method}.md)" in (ROOT / "docs/results" / f"{method}.md").read_text(encoding="utf-8")
