"""The mutation script puts its faults where it says, and its list of harmless ones names lines that are there."""

from __future__ import annotations

import ast
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def mutate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mutate", ROOT / "tools" / "mutate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["mutate"] = module  # dataclasses look there for annotations
    spec.loader.exec_module(module)
    return module


def test_every_fault_is_another_program_in_the_file_that_it_names(mutate: ModuleType) -> None:
    for name in mutate.WIRING:
        found = mutate.mutants_of(mutate.PACKAGE / name)
        assert len(found) > 10, name
        assert {mutant.file for mutant in found} == {name}
    name = "store/sampling.py"
    plain = ast.unparse(ast.parse((mutate.PACKAGE / name).read_text(encoding="utf-8")))
    for mutant in mutate.mutants_of(mutate.PACKAGE / name):
        wrong = mutate.source_of(mutate.PACKAGE / name, mutant.number)
        compile(wrong, name, "exec")
        assert wrong != plain, mutant


def test_harmless_faults_whose_line_is_gone_are_told(mutate: ModuleType) -> None:
    name, line = "store/sampling.py", mutate.mutants_of(mutate.PACKAGE / "store/sampling.py")[0]
    code = (mutate.PACKAGE / name).read_text(encoding="utf-8").splitlines()[line.line - 1].strip()
    here = (name, code, line.what)
    gone = [(name, code, "another"), (name, "nothing()", line.what), ("store/gone.py", code, line.what)]
    assert mutate.stale([here, *gone]) == gone
