"""A file is one idea, a function fits on a screen."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from tests.source_trees import FILES, ident

MAX_LINES = 350
MAX_FUNCTION = 60


@pytest.mark.parametrize("path", FILES, ids=ident)
def test_a_file_is_one_idea(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_LINES, f"{ident(path)} has {lines} lines; split it by idea"


def docstring_lines(text: str) -> int:
    """Lines that are bare strings: docstrings of modules, classes, functions and fields."""
    nodes = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))
    return sum((n.end_lineno or n.lineno) - n.lineno + 1 for n in nodes if isinstance(n.value.value, str))


@pytest.mark.parametrize("path", [p for p in FILES if not ident(p).startswith("testing/")], ids=ident)
def test_functions_fit_on_a_screen(path: Path) -> None:
    long = [
        f"{ident(path)}:{node.lineno} {node.name} has {(node.end_lineno or 0) - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        and (node.end_lineno or 0) - node.lineno >= MAX_FUNCTION
        # the docstring explains every argument of the loop; what counts is what one has to follow
        and (node.end_lineno or 0) - node.lineno - docstring_lines(ast.unparse(node)) >= MAX_FUNCTION
    ]
    assert not long, "; ".join(long)


def test_no_two_test_files_share_a_name() -> None:
    """pytest imports tests of folders without `__init__.py` by their bare name: a second one stops the whole run."""
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert not {name for name in names if names.count(name) > 1}
