"""Components say what they have and do: nobody tries them, asks for their class, or looks inside."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from tests.source_trees import FILES, OPTIONS, PARENTS, descendants, dotted, ident

PROBING = (
    "runs/", "recommender.py", "serve/", "cli/", "report/", "explain/", "align/", "fuse/", "evaluate/", "retrieval/",
    "contracts/", "training/",
)  # fmt: skip
"""who uses components: by what they declare, never by trying what they have"""


def probes(source: str) -> list[str]:
    """Lines that ask an object what it has, or wait for it to refuse."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and dotted(node.func) in ("getattr", "hasattr"):
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
        if isinstance(node, ast.ExceptHandler) and node.type is not None:
            caught = ast.unparse(node.type)
            if "NotImplementedError" in caught or "AttributeError" in caught:
                found.append(f"line {node.lineno}: except {caught}")
    return found


OF_OTHER_THINGS = {
    "explain/explain.py": "a tokenizer's template",
    "evaluate/result.py": "a file of results that is no table",
}
"""files that ask what a library's object, or a file, holds: no component"""


@pytest.mark.parametrize(
    "path", [p for p in FILES if ident(p).startswith(PROBING) and ident(p) not in OF_OTHER_THINGS], ids=ident
)
def test_components_are_not_probed(path: Path) -> None:
    assert not probes(path.read_text(encoding="utf-8"))


def test_a_probe_is_seen() -> None:
    assert probes("x = getattr(reader, 'calibrate', None)")
    assert probes("try:\n    f()\nexcept (NotImplementedError, KeyError):\n    pass")


TYPED = descendants({"Component", "Scorer", "Text", "Source", "Joint"}, PARENTS)
"""classes that nobody asks an object about: every component, every scorer, what stands for a text encoder"""
TYPE_TESTS = {"evaluate/protocol.py": "a stranger's object comes in here: what is no Scorer is refused in words"}
"""the places that may ask"""


def type_tests(source: str) -> list[str]:
    """Lines that ask for the class of a component or scorer, or whether its class has a method of its own."""
    found = []
    for node in ast.walk(ast.parse(source)):
        asked: list[ast.AST] = []
        if isinstance(node, ast.Call) and dotted(node.func) in ("isinstance", "issubclass"):
            asked = [each for each in ast.walk(node.args[1]) if isinstance(each, ast.Name | ast.Attribute)]
        if isinstance(node, ast.MatchClass):
            asked = [node.cls]
        if isinstance(node, ast.Compare) and any(isinstance(op, ast.Is | ast.IsNot) for op in node.ops):
            sides = [node.left, *node.comparators]
            own = [each for side in sides for each in ast.walk(side) if _of_class(each)]
            asked = [side for side in sides if own and isinstance(side, ast.Name | ast.Attribute)]
            if own and any(isinstance(side, ast.Attribute) and _of_class(side.value) for side in sides):
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
        names = {dotted(each).rpartition(".")[2] for each in asked}
        if names & TYPED:
            found.append(f"line {getattr(node, 'lineno', 0)}: {', '.join(sorted(names & TYPED))}")
    return found


def _of_class(node: ast.AST) -> bool:
    """``type(x)`` or ``x.__class__``."""
    called = isinstance(node, ast.Call) and dotted(node.func) == "type" and len(node.args) == 1
    return called or (isinstance(node, ast.Attribute) and node.attr == "__class__")


@pytest.mark.parametrize("path", [p for p in FILES if not ident(p).startswith("testing/")], ids=ident)
def test_nobody_asks_what_class_a_component_has(path: Path) -> None:
    assert bool(type_tests(path.read_text(encoding="utf-8"))) is (ident(path) in TYPE_TESTS)


@pytest.mark.parametrize(
    ("source", "bad"),
    [
        ("isinstance(scorer, TableScorer)", True),
        ("isinstance(x, int | scorer.Ann)", True),
        ("issubclass(cls, (str, Component))", True),
        ("type(encoder).fit is not Component.fit", True),
        ("x.__class__.fit is Aligner.fit", True),
        ("type(encoder).fit is not base", True),
        ("type(x) is RetrieveThenRerank", True),
        ("match x:\n    case Fusion():\n        pass", True),
        ("isinstance(values, Mapping)", False),
        ("type(x) is int", False),
        ("type(scorer).__name__", False),
        ("name = type(x).makes(x.config)", False),
    ],
)
def test_a_type_test_is_seen(source: str, bad: bool) -> None:
    assert bool(type_tests(source)) is bad


DECLARING = ("contracts/", "config.py", "testing/")
"""the one place that may look at a class: a contract makes declarations (``makes``, ``width``) of what a class defines,
so that everybody else reads those; the suite compares the two"""


def looks_inside(source: str) -> list[str]:
    """Lines that ask which options a component has, or whether its class overrides a method of the contract's."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Compare):
            continue
        sides = [side for side in (node.left, *node.comparators) if isinstance(side, ast.Attribute)]
        if any(isinstance(op, ast.In | ast.NotIn) for op in node.ops):  # a NAMED options class is asked by its owner
            of = [dotted(side.value) or "?" for side in sides if side.attr == "model_fields"]
            bad = any(not OPTIONS.fullmatch(each) or each == "Config" for each in of)
        else:
            same = len(sides) == 2 and sides[0].attr == sides[1].attr
            named = {dotted(side.value).rpartition(".")[2] for side in sides}
            bad = same and bool(named & TYPED) and any(isinstance(op, ast.Is | ast.IsNot) for op in node.ops)
        if bad:
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


@pytest.mark.parametrize("path", [p for p in FILES if not ident(p).startswith(DECLARING)], ids=ident)
def test_what_a_component_has_is_read_from_its_declarations(path: Path) -> None:
    assert not looks_inside(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("source", "bad"),
    [
        ("option in type(x.config).model_fields", True),
        ("'slots' not in part.cls.Config.model_fields", True),
        ("cls.fit is not Backbone.fit", True),
        ("part.cls.batches is aligner.Aligner.batches", True),
        ("key in SplitConfig.model_fields", False),
        ("self.data is other.data", False),
    ],
)
def test_a_look_inside_is_seen(source: str, bad: bool) -> None:
    assert bool(looks_inside(source)) is bad
