"""The layers of the design, and the rules that need no execution to check, read from the syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "interlingua"
FILES = sorted(SOURCE.rglob("*.py"))
MAX_LINES = 350

LAYERS = {
    "batch": 1, "component": 1, "missing": 1, "steps": 4, "calibrate": 4, "pairs": 5, "preflight": 5, "estimate": 5,
    "probes": 5,
    "core": 1, "queries": 1, "config": 1, "registry": 1, "artifact": 1, "errors": 1, "progress": 1, "deploy": 1,
    "cancel": 1, "repeatable": 1, "durable": 1, "contents": 1, "trust": 1, "environment": 1,
    "losses": 2, "contrast": 2, "graph": 2, "graph_attention": 2, "data": 2, "vectors": 2, "topk": 2, "ann": 2,
    "screening": 2, "id_files": 2, "vector_columns": 2, "cache_argument": 2, "exact_files": 1,
    "decompose": 1, "sorted_sets": 1,
    "backbones": 3, "text": 3, "align": 3, "llm": 3,
    "fit": 4, "fit_log": 4, "evaluate": 4, "checkpoint": 4, "recipe": 5, "planner": 5, "session": 5, "cascade": 5,
    "stages": 5, "export": 5, "recommender": 5, "side_by_side": 5, "showcase": 5, "results": 5, "several": 5,
    "answers": 5, "neighbours": 5, "plan": 5, "opening": 5,
    "cli": 6, "serve": 6, "web": 6, "demo": 6,
}  # fmt: skip
"""first part of a module's name -> its layer; imports point to the same layer or a lower one"""
SIBLINGS = {"backbones", "text", "align", "llm"}


def ident(path: Path) -> str:
    """The file's path below the package."""
    return str(path.relative_to(SOURCE))


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, module) of every import that runs: those under ``if TYPE_CHECKING`` are for type checkers only."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            for other in node.orelse:
                yield from imports(other)
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import; write the whole module name"
            yield node.lineno, node.module or ""
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        yield from imports(node)


def violations(name: str, source: str) -> list[str]:
    """What is wrong with the imports of the module ``name`` (path below the package, e.g. ``align/none.py``)."""
    own = name.removesuffix(".py").split("/")[0]
    if own == "__init__":  # the package's public names, lazy
        return []
    if own not in LAYERS:
        return [f"{name}: {own!r} has no layer; give it one in tests/test_layering.py"]
    found = []
    for line, module in imports(ast.parse(source)):
        parts = module.split(".")
        if parts[0] != "interlingua" or len(parts) < 2 or parts[1] not in LAYERS:
            continue
        other = parts[1]
        if LAYERS[other] > LAYERS[own]:
            found.append(f"{name}:{line} (layer {LAYERS[own]}) imports {module} (layer {LAYERS[other]})")
        if own in SIBLINGS and other in SIBLINGS and own != other:
            found.append(f"{name}:{line} imports its sibling {module}")
    return found


@pytest.mark.parametrize("path", FILES, ids=ident)
def test_imports_point_downward(path: Path) -> None:
    assert not violations(ident(path), path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "source", "bad"),
    [
        ("core.py", "from interlingua.stages import run", True),
        ("align/x.py", "from interlingua import backbones", True),
        ("align/x.py", "def f():\n    import interlingua.backbones.mf", True),
        ("backbones/x.py", "from interlingua.fit import fit_best", True),
        ("backbones/x.py", "if TYPE_CHECKING:\n    from interlingua.fit import Batches", False),
        ("backbones/x.py", "from interlingua.losses import bpr", False),
        ("fit.py", "from interlingua.core import Batch", False),
        ("evaluate/x.py", "from interlingua.cli.main import main", True),
        ("stray.py", "import numpy", True),
    ],
)
def test_the_check_itself_tells_good_from_bad(name: str, source: str, bad: bool) -> None:
    assert bool(violations(name, source)) is bad


def dotted(node: ast.AST) -> str:
    """``a.b.c`` of a name or attribute, ``""`` for anything else."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def forbidden(name: str, source: str) -> list[str]:
    """Calls and imports that the project does without."""
    tree, found = ast.parse(source), []
    prints = name.startswith("cli/") or name == "progress.py"
    for line, module in imports(tree):
        if module.split(".")[0] in ("pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"):
            found.append(f"{name}:{line} imports {module}: files are safetensors, parquet, npz or JSON")
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = dotted(node.func)
        wheres = f"{name}:{node.lineno}"
        if called in ("torch.load", "torch.save", "pd.read_pickle", "pandas.read_pickle"):
            found.append(f"{wheres} calls {called}, which pickles")
        if any(
            k.arg == "allow_pickle" and not (isinstance(k.value, ast.Constant) and k.value.value is False)
            for k in node.keywords
        ):
            found.append(f"{wheres} allows pickles")
        if isinstance(node.func, ast.Attribute) and node.func.attr == "cuda":
            found.append(f"{wheres} calls .cuda(): tensors follow parameters and buffers")
        if called == "print" and not prints:
            found.append(f"{wheres} prints: stdout is for results, progress.say for people")
        if called in ("eval", "exec", "os.system"):
            found.append(f"{wheres} calls {called}")
    return found


@pytest.mark.parametrize("path", FILES, ids=ident)
def test_nothing_forbidden_is_called(path: Path) -> None:
    assert not forbidden(ident(path), path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from joblib import load",
        "torch.load(p)",
        "np.load(p, allow_pickle=True)",
        "np.load(p, allow_pickle=flag)",
        "x.cuda()",
        "self.model.encoder.cuda(0)",
        "print(1)",
        "eval(s)",
    ],
)
def test_each_forbidden_thing_is_seen(source: str) -> None:
    assert forbidden("backbones/x.py", source)


@pytest.mark.parametrize("source", ["np.load(p, allow_pickle=False)", "module.eval()", "re.compile('a')"])
def test_harmless_lines_pass(source: str) -> None:
    assert not forbidden("backbones/x.py", source)


@pytest.mark.parametrize("path", FILES, ids=ident)
def test_a_file_is_one_idea(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_LINES, f"{ident(path)} has {lines} lines; split it by idea"


def docstring_lines(text: str) -> int:
    """Lines that are bare strings: docstrings of modules, classes, functions and fields."""
    nodes = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))
    return sum((n.end_lineno or n.lineno) - n.lineno + 1 for n in nodes if isinstance(n.value.value, str))


def test_only_the_registry_compares_component_names() -> None:
    """``if name == "sasrec"`` outside the registry is how one component's quirk leaks into the others."""
    names = {
        p.stem.replace("_", "-")
        for kind in ("backbones", "align", "llm")
        for p in (SOURCE / kind).glob("*.py")
        if 'kind = "' in p.read_text(encoding="utf-8") or "kind: ClassVar" in p.read_text(encoding="utf-8")
    }
    found = []
    for path in FILES:
        if ident(path).split("/")[0] in ("registry.py", "demo", "demo.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare) and any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
                sides = (node.left, *node.comparators)
                same = [side.value for side in sides if isinstance(side, ast.Constant) and side.value in names]
                found += [f"{ident(path)}:{node.lineno} compares with the component name {name!r}" for name in same]
    assert not found


MAX_FUNCTION = 60


@pytest.mark.parametrize("path", FILES, ids=ident)
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
