"""How a benchmark says it was called: a command that can be run, without a path of the machine."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = [file for file in sorted(FOLDER.rglob("*.py")) if "from header import" in file.read_text(encoding="utf-8")]
OWN = re.compile(r"""rev-parse|"command": |platform\.machine|sys\.argv\[1:\]""")
"""a commit, a command, a machine or arguments that a script writes down itself"""


@pytest.fixture
def header(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    import header

    return header


def test_no_flag_loses_its_value(header, monkeypatch):
    given = ["--data", "planted", "--out", "/home/me/new one.json", "--runs=/tmp/r", "--set", "data.name=/x/y.csv"]
    monkeypatch.setattr(sys, "argv", ["x", *given, "--model", "org/name", "--seeds", "7", "8", "--more", "a/b.json"])
    made = header.header(str(FOLDER / "quality" / "all_round.py"))
    assert made["command"] == (
        "python benchmarks/quality/all_round.py --data planted --out RESULT.json --runs=RUNS --set data.name=NAME.csv "
        "--model org/name --seeds 7 8 --more a/b.json"
    )
    assert set(made) == {"command", "commit", "machine"}


def test_no_benchmark_has_a_head_of_its_own():
    own = [
        file.name
        for file in FOLDER.rglob("*.py")
        if file.name != "header.py" and OWN.search(file.read_text(encoding="utf-8"))
    ]
    assert own == []
    assert len(SCRIPTS) > 12


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda file: file.stem)
def test_every_script_finds_the_head_where_it_is_run(script: Path):
    """With its own folder first, as Python does for a script: the lines up to the head's import are executed alone."""
    tree = ast.parse(script.read_text(encoding="utf-8"))
    at = next(n for n, node in enumerate(tree.body) if isinstance(node, ast.ImportFrom) and node.module == "header")
    wanted = [node for node in tree.body[: at + 1] if not isinstance(node, ast.ImportFrom | ast.Import) or known(node)]
    code = compile(ast.Module(wanted, []), str(script), "exec")
    before, held = list(sys.path), sys.modules.pop("header", None)
    sys.path.insert(0, str(script.parent))
    try:
        names = {"__file__": str(script), "__name__": "head"}
        exec(code, names)
        assert Path(sys.modules["header"].__file__) == FOLDER / "header.py"
    finally:
        sys.path[:] = before
        sys.modules.pop("header", None)
        if held is not None:
            sys.modules["header"] = held


def known(node: ast.Import | ast.ImportFrom) -> bool:
    """Of the standard library, or the head."""
    module = node.module or "" if isinstance(node, ast.ImportFrom) else node.names[0].name
    return module == "header" or module.split(".")[0] in sys.stdlib_module_names


def test_the_head_imports_no_torch(monkeypatch):
    """Scripts measure memory and starts of processes."""
    code = f"import sys; sys.path.insert(0, {str(FOLDER)!r}); import header; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
