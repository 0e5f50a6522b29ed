"""The layers of the design: what each room may import, and that it says what lives there."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from tests.source_trees import FILES, SOURCE, ident, imports

FLOORS = (
    "__main__", "testing", "cli", "serve", "bench", "tune", "report", "life", "recommender", "runs", "profiles",
    "backbones text align rankers fuse",
    "explain", "evaluate", "retrieval", "injection", "training", "clients", "lm", "vectors", "nn", "contracts", "data",
    "store", "config", "runtime", "storage", "registry", "progress", "errors", "web",
)  # fmt: skip
"""rooms from the front doors to the ground: a room imports from those below it; rooms of one floor do not meet"""
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor.split()}
TOP_LEVEL = {"__init__", "__main__", "config", "errors", "progress", "recommender", "registry"}


def violations(name: str, source: str) -> list[str]:
    """What is wrong with the imports of the module ``name`` (path below the package, e.g. ``align/none.py``)."""
    own = name.removesuffix(".py").split("/")[0]
    if own == "__init__":  # the package's public names, lazy
        return []
    if own not in FLOOR:
        return [f"{name}: the room {own!r} has no floor; give it one in tests/test_layering.py"]
    found = []
    for line, module in imports(ast.parse(source)):
        parts = module.split(".")
        if parts[0] != "interlingua" or len(parts) < 2 or parts[1] not in FLOOR or parts[1] == own:
            continue
        if FLOOR[parts[1]] < FLOOR[own]:
            found.append(f"{name}:{line} imports {module}, which is above it")
        elif FLOOR[parts[1]] == FLOOR[own]:
            found.append(f"{name}:{line} imports {module}, a room of its own floor")
    return found


def test_the_top_level_holds_what_everybody_names() -> None:
    assert {path.stem for path in SOURCE.glob("*.py")} == TOP_LEVEL


def test_every_room_says_what_lives_there_and_what_does_not() -> None:
    for folder in {path.parent for path in FILES} - {SOURCE}:
        said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
        assert len(said.splitlines()[0]) > 20, folder
        assert "Not here: " in said, folder


def test_no_circle_of_imports() -> None:
    """Modules in an order in which each comes after all that it imports, also where only types are imported."""
    known = {ident(path).removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in FILES}
    graph: dict[str, set[str]] = {}
    for name, path in known.items():
        asked = {m.removeprefix("interlingua.") for _, m in imports(ast.parse(path.read_text(encoding="utf-8")))}
        graph[name] = (asked & known.keys()) - {name} if name != "__init__" else set()
    list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("path", FILES, ids=ident)
def test_imports_point_downward(path: Path) -> None:
    assert not violations(ident(path), path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "source", "bad"),
    [
        ("contracts/x.py", "from interlingua.runs.stages import run", True),
        ("align/x.py", "from interlingua import backbones", True),
        ("align/x.py", "def f():\n    import interlingua.backbones.mf", True),
        ("backbones/x.py", "from interlingua.runs.stages import run", True),
        ("backbones/x.py", "from interlingua.align import ridge", True),
        ("data/x.py", "if TYPE_CHECKING:\n    from interlingua.contracts.batch import Batch", True),
        ("backbones/x.py", "from interlingua.nn.losses import bpr", False),
        ("training/x.py", "from interlingua.contracts import Batch", False),
        ("evaluate/x.py", "from interlingua.cli.main import main", True),
        ("stray.py", "import numpy", True),
        ("nn/x.py", "from interlingua.backbones.mf import Mf", True),
        ("contracts/x.py", "from interlingua import fuse", True),
        ("retrieval/x.py", "import interlingua.fuse.sum", True),
        ("evaluate/x.py", "from interlingua.rankers import chat", True),
        ("training/x.py", "if TYPE_CHECKING:\n    from interlingua.align.ridge import Ridge", True),
        ("fuse/x.py", "from interlingua.rankers.chat import Chat", True),
        ("fuse/x.py", "from interlingua.contracts.fusion import Fusion", False),
    ],
)
def test_the_check_itself_tells_good_from_bad(name: str, source: str, bad: bool) -> None:
    assert bool(violations(name, source)) is bad
