"""The package's files and their syntax trees: what the tests of rules that need no execution share."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "interlingua"
FILES = sorted(SOURCE.rglob("*.py"))
OPTIONS = re.compile(r"\w*Config")
"""names of classes of options"""


def ident(path: Path) -> str:
    """The file's path below the package."""
    return path.relative_to(SOURCE).as_posix()


def dotted(node: ast.AST) -> str:
    """``a.b.c`` of a name or attribute, ``""`` for anything else."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, module) of every import, of those under ``if TYPE_CHECKING`` too: a ranker follows them as well."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import; write the whole module name"
            yield node.lineno, node.module or ""
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def classes(source: str) -> dict[str, set[str]]:
    """Class -> names of its parents, as they are written."""
    found = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef))
    return {node.name: {dotted(base).rpartition(".")[2] for base in node.bases} for node in found}


def descendants(of: set[str], parents: dict[str, set[str]]) -> set[str]:
    """``of`` and all classes below."""
    found = set(of)
    while more := {name for name, above in parents.items() if above & found} - found:
        found |= more
    return found


PARENTS: dict[str, set[str]] = {}
for each in FILES:
    PARENTS |= classes(each.read_text(encoding="utf-8"))
