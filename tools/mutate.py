"""Mutation testing of the wiring: small faults are put into the source one by one; a good suite fails for each.

    python tools/mutate.py --coverage .mutation          # which test runs which line (the whole default suite, once)
    python tools/mutate.py --sample 150 --out RESULT.json

Each mutant runs only the tests that execute its line, the quickest first, until one fails, in a copy of ``src``. Heavy
libraries are imported once and every mutant is a fork, so a mutant costs its tests and little else. Survivors are
listed with their line; those known to change nothing stand in ``tools/equivalent.toml`` with the reason.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "interlingua"
WIRING = (
    "runs/stages.py", "runs/building.py", "runs/session.py", "runs/export.py", "recommender.py", "retrieval/cascade.py",
    "training/loop.py", "runs/shelf.py", "runs/new_events.py", "runs/event_times.py", "runs/new_items.py",
    "runs/new_texts.py", "runs/grown.py", "runs/stores.py", "runs/optional.py", "store/store.py", "store/records.py",
    "store/connect.py", "store/migrations.py", "store/sampling.py", "fuse/logit.py", "nn/kind_constants.py",
)  # fmt: skip
SPOKEN = {"say", "duration"}
"""calls that only speak to people: their loss is not a fault of the wiring"""
COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
}  # fmt: skip


@dataclass(frozen=True)
class Mutant:
    """One small fault."""

    file: str
    line: int
    what: str
    number: int
    """place among the changes of its file: the same number is the same change while the file stays as it is"""


def changes(tree: ast.Module) -> Iterator[tuple[ast.AST, str, Any]]:
    """(node, what, function that makes the fault in place) for every fault that the operators know."""
    for node in _code(tree):
        if isinstance(node, ast.Call):
            yield from _of_call(node)
        elif isinstance(node, (ast.If, ast.IfExp, ast.While)):
            yield node, "condition negated", lambda n: setattr(n, "test", ast.UnaryOp(ast.Not(), n.test))
        elif isinstance(node, ast.comprehension):
            for place in range(len(node.ifs)):
                yield node.ifs[place], "filter dropped", lambda _, n=node, p=place: n.ifs.pop(p)
        elif isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in COMPARISONS:
            new = COMPARISONS[type(node.ops[0])]
            yield node, f"comparison becomes {new.__name__}", lambda n, new=new: n.ops.__setitem__(0, new())
        elif isinstance(node, ast.BoolOp):
            other = ast.And if isinstance(node.op, ast.Or) else ast.Or
            yield node, f"becomes {other.__name__.lower()}", lambda n, other=other: setattr(n, "op", other())
        elif isinstance(node, ast.BinOp) and type(node.op) in ARITHMETIC:
            sign = ARITHMETIC[type(node.op)]
            yield node, f"arithmetic becomes {sign.__name__}", lambda n, sign=sign: setattr(n, "op", sign())
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.Invert, ast.USub)):
            yield node, f"{type(node.op).__name__} dropped", lambda n: setattr(n, "op", ast.UAdd())
        elif isinstance(node, ast.Constant) and type(node.value) in (bool, int, float):
            yield node, f"constant {node.value!r}", _other_constant
        elif (isinstance(node, (ast.Expr, ast.AugAssign, ast.Raise)) or _stores(node)) and not _speaks(node):
            yield node, f"{type(node).__name__} deleted", None


def _of_call(node: ast.Call) -> Iterator[tuple[ast.AST, str, Any]]:
    if _name(node.func) in SPOKEN:
        return
    for place, keyword in enumerate(node.keywords):
        if keyword.arg not in (None, "encoding"):  # on most systems it is the default
            yield keyword.value, f"{keyword.arg}= dropped", lambda _, n=node, p=place: n.keywords.pop(p)
    lowest = _name(node.func) in ("min", "max")
    if len(node.args) >= 2 and not lowest and not any(isinstance(a, ast.Starred) for a in node.args):
        yield node, "first arguments swapped", lambda n: n.args.__setitem__(slice(0, 2), n.args[1::-1])
    if lowest and isinstance(node.func, ast.Name):
        other = "max" if _name(node.func) == "min" else "min"
        yield node, f"becomes {other}", lambda n, other=other: setattr(n.func, "id", other)


def _other_constant(node: ast.Constant) -> None:
    value: Any = node.value
    node.value = (not value) if isinstance(value, bool) else value + 1 if isinstance(value, int) else value * 2 + 1


def _code(tree: ast.Module) -> Iterator[ast.AST]:
    """Every node that runs: no annotations, no docstrings, no imports for types, no messages of errors."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and _name(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Call) and _name(node.func) in SPOKEN):
            continue
        yield node
        if isinstance(node, ast.Raise):
            continue
        for field, value in ast.iter_fields(node):
            if field in ("annotation", "returns", "type_params", "decorator_list"):
                continue
            found = value if isinstance(value, list) else [value]
            todo += [child for child in found if isinstance(child, ast.AST)]


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _stores(node: ast.AST) -> bool:
    """An assignment into an object: its loss leaves names defined."""
    return isinstance(node, ast.Assign) and all(isinstance(t, (ast.Attribute, ast.Subscript)) for t in node.targets)


def _speaks(node: ast.AST) -> bool:
    if not isinstance(node, ast.Expr):
        return False
    value = node.value
    return isinstance(value, (ast.Constant, ast.Yield)) or (isinstance(value, ast.Call) and _name(value.func) in SPOKEN)


class _Delete(ast.NodeTransformer):
    def __init__(self, target: ast.AST) -> None:
        self.target = target

    def visit(self, node: ast.AST) -> ast.AST:
        if node is self.target:
            return ast.copy_location(ast.Pass(), node)
        return self.generic_visit(node)


def mutants_of(path: Path) -> list[Mutant]:
    """All faults of a file, in a fixed order."""
    found, file = changes(ast.parse(path.read_text(encoding="utf-8"))), path.relative_to(PACKAGE).as_posix()
    return [Mutant(file, getattr(n, "lineno", 0), what, i) for i, (n, what, _) in enumerate(found)]


def source_of(path: Path, number: int) -> str:
    """The file with one fault in it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    node, _, make = list(changes(tree))[number]
    if make is None:
        tree = _Delete(node).visit(tree)
    else:
        make(node)
    return ast.unparse(ast.fix_missing_locations(copy.deepcopy(tree)))


def cover(folder: Path, workers: int, tests: list[str]) -> None:
    """Runs the default suite once and keeps which test executes which line, and how long each takes."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "coveragerc"
    config.write_text(f"[run]\nsource = {PACKAGE}\ndata_file = {folder / 'coverage'}\n", encoding="utf-8")
    arguments = [sys.executable, "-m", "pytest", "-q", "-n", str(workers), "--dist", "loadfile", *tests]
    arguments += ["--cov", str(PACKAGE), "--cov-context=test", f"--cov-config={config}", "--cov-report="]
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent), "OMP_NUM_THREADS": "1"}
    subprocess.run([*arguments, f"--junitxml={folder / 'junit.xml'}"], cwd=ROOT, env=environment, check=False)


def tests_by_line(folder: Path, file: str) -> dict[int, set[str]]:
    """Line -> tests that execute it (without parameters' own marks: ids as pytest names them)."""
    from coverage.numbits import numbits_to_nums

    out: dict[int, set[str]] = {}
    with sqlite3.connect(folder / "coverage") as base:
        query = (
            "select context.context, line_bits.numbits from line_bits join file on file.id = line_bits.file_id "
            "join context on context.id = line_bits.context_id where file.path = ?"
        )
        for context, bits in base.execute(query, (str(PACKAGE / file),)):
            name = context.split("|")[0]
            if name:
                for line in numbits_to_nums(bits):
                    out.setdefault(line, set()).add(name)
    return out


def seconds_of(folder: Path) -> dict[str, float]:
    """Test id -> seconds of the covering run."""
    from xml.etree import ElementTree

    out: dict[str, float] = {}
    for case in ElementTree.parse(folder / "junit.xml").iter("testcase"):
        place = case.get("classname", "").replace(".", "/")
        out[f"{place}.py::{case.get('name')}"] = float(case.get("time") or 0)
    return out


def choose(names: set[str], file: str, seconds: dict[str, float], most: int, limit: float) -> list[str]:
    """The file's own tests first, then the quickest; at most ``most`` of them and about ``limit`` seconds."""
    own = (f"/test_{Path(file).stem}.py::", "/test_wiring.py::")
    ordered = sorted(names, key=lambda name: (not any(part in name for part in own), seconds.get(name, 1.0)))
    chosen, spent = [], 0.0
    for name in ordered:
        spent += seconds.get(name, 1.0)
        if chosen and (spent > limit or len(chosen) >= most):
            break
        chosen.append(name)
    return chosen


def warm() -> None:
    """Imports once what every test needs, except the package under test."""
    import _pytest.assertion.rewrite
    import numpy
    import polars
    import pytest
    import scipy.sparse
    import torch
    from hypothesis import strategies

    for module in ("transformers", "fastapi", "accelerate", "typer", "rich.progress"):
        with suppress(ImportError):
            __import__(module)
    torch.set_num_threads(1)
    assert "interlingua" not in sys.modules
    del _pytest, numpy, polars, pytest, scipy, strategies


def attempt(mutant: Mutant, tests: list[str], limit: float) -> tuple[str, float]:
    """``killed``, ``survived`` or ``timeout`` (which kills too), and seconds."""
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="mutant-"))
    child = os.fork()
    if child == 0:
        os._exit(_inside(folder, mutant, tests))
    code = None
    while time.monotonic() - started < limit:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            break
        time.sleep(0.05)
    if code is None:
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(child, 0)
    shutil.rmtree(folder, ignore_errors=True)
    verdict = "timeout" if code is None else "survived" if code == 0 else "killed"
    return verdict, round(time.monotonic() - started, 2)


def _inside(folder: Path, mutant: Mutant, tests: list[str]) -> int:
    """In the fork: a copy of the source with the fault, and the chosen tests over it."""
    os.setsid()
    silent = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silent, stream)
    shutil.copytree(PACKAGE.parent, folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "recipes").symlink_to(ROOT / "recipes")
    path = folder / "src" / "interlingua" / mutant.file
    if mutant.number >= 0:
        path.write_text(source_of(PACKAGE / mutant.file, mutant.number), encoding="utf-8")
    os.environ |= {"PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(folder)}
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(folder / "src"))
    os.chdir(ROOT)
    import pytest

    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:randomly", f"--basetemp={folder}/t"]
    code = int(pytest.main([*options, *tests]))
    return code if code != 5 else 0


def equivalents() -> dict[tuple[str, str, str], str]:
    """(file, stripped source line, what) -> why the fault changes nothing."""
    path = Path(__file__).with_name("equivalent.toml")
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("equivalent", []) if path.is_file() else []
    return {(e["file"], e["code"], e["what"]): e["why"] for e in entries}


def stale(known: Iterable[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    """Entries of harmless faults whose line or change is not there any more."""
    gone = []
    for file, code, what in known:
        path = PACKAGE / file
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        here = {(lines[m.line - 1].strip(), m.what) for m in mutants_of(path)} if lines else set()
        gone += [] if (code, what) in here else [(file, code, what)]
    return gone


def run(options: argparse.Namespace) -> int:
    """Draws mutants, tries each, prints and writes the result."""
    folder = options.coverage.resolve()
    seconds = seconds_of(folder)
    drawn = [m for name in options.files for m in mutants_of(PACKAGE / name)]
    total = len(drawn)
    if options.sample and options.sample < total:
        drawn = random.Random(options.seed).sample(drawn, options.sample)  # unsorted: any first part is a sample too
    lines = {name: tests_by_line(folder, name) for name in options.files}
    source = {name: (PACKAGE / name).read_text(encoding="utf-8").splitlines() for name in options.files}
    known = equivalents()
    for file, code, what in stale(known):
        print(f"tools/equivalent.toml: not there any more: {file}: {code}: {what}", flush=True)
    warm()
    rows: list[dict[str, Any]] = []
    for place, mutant in enumerate(drawn):
        code = source[mutant.file][mutant.line - 1].strip()
        row: dict[str, Any] = asdict(mutant) | {"code": code}
        if (mutant.file, code, mutant.what) in known:
            row |= {"verdict": "equivalent", "why": known[mutant.file, code, mutant.what]}
        else:
            every = set().union(*lines[mutant.file].values())  # a line that runs at import counts for all of them
            here = lines[mutant.file].get(mutant.line) or every
            tests = choose(here, mutant.file, seconds, options.most, options.seconds)
            verdict, spent = attempt(mutant, tests, 60 + 4 * options.seconds) if tests else ("not covered", 0.0)
            rest = choose(here - set(tests), mutant.file, seconds, 4 * options.most, 4 * options.seconds)
            if verdict == "survived" and rest:  # what the quick ones let through meets the slow ones
                verdict, more = attempt(mutant, rest, 60 + 16 * options.seconds)
                tests, spent = [*tests, *rest], round(spent + more, 2)
            row |= {"verdict": verdict, "seconds": spent, "tests": len(tests)}
        rows.append(row)
        if row["verdict"] in ("survived", "not covered"):
            print(f"{mutant.file}:{mutant.line} {mutant.what}: {row['verdict']}: {code}", flush=True)
        counts = Counter(r["verdict"] for r in rows)
        if options.out:
            options.out.write_text(json.dumps(_result(options, rows, counts, total), indent=1), encoding="utf-8")
        if place % 10 == 9:
            print(f"{place + 1}/{len(drawn)}: {dict(counts)}", flush=True)
    result = _result(options, rows, Counter(r["verdict"] for r in rows), total)
    print(f"{result['killed']} of {result['judged']} killed: {result['score']:.1%}")
    return 0 if result["score"] >= options.at_least else 1


def _result(options: argparse.Namespace, rows: list[Any], counts: Counter[str], total: int) -> dict[str, Any]:
    judged = len(rows) - counts["equivalent"]
    killed = counts["killed"] + counts["timeout"]
    head = {"files": list(options.files), "seed": options.seed, "all_mutants": total, "drawn": len(rows)}
    score = round(killed / judged, 4) if judged else 1.0
    left = [row for row in rows if row["verdict"] in ("survived", "not covered", "equivalent")]
    return head | {
        "judged": judged,
        "killed": killed,
        "score": score,
        "counts": dict(counts),
        "left": left,
        "rows": rows,
    }


def main() -> int:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coverage", type=Path, default=ROOT / ".mutation", help="folder of the covering run")
    parser.add_argument("--cover", action="store_true", help="make the covering run first, whatever is there")
    parser.add_argument("--tests", nargs="*", default=[], help="test files of the covering run (default: all)")
    parser.add_argument("--files", nargs="+", default=list(WIRING), help="files of the package")
    parser.add_argument("--sample", type=int, default=150, help="mutants to draw; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--most", type=int, default=60, help="tests per mutant at most")
    parser.add_argument("--seconds", type=float, default=40.0, help="seconds of tests per mutant, about")
    parser.add_argument("--workers", type=int, default=2, help="pytest processes of the covering run")
    parser.add_argument("--at-least", type=float, default=0.0, help="exit with 1 below this share")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.cover or not (options.coverage / "junit.xml").is_file():
        cover(options.coverage.resolve(), options.workers, options.tests)
    return run(options)


if __name__ == "__main__":
    raise SystemExit(main())
