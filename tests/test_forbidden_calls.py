"""Calls and imports that the project does without: pickles, ``.cuda()``, prints, code from texts."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from tests.source_trees import FILES, dotted, ident, imports


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
