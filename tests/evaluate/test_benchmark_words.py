"""The benchmarks' overrides and stages are of today's words: rows that cannot be made any more are seen at once."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from interlingua.runs import recipe as recipes
from interlingua.runs.plan import VERSIONS

FOLDER = Path(__file__).parents[2] / "benchmarks"
STAGE = re.compile(r"(?:session|again|run)\.done(?:\[|\.get\()\"([\w.]+)\"|\"([\w.]+)\" (?:not )?in session\.done")


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(FOLDER / "quality"), *sys.path])


def test_every_row_of_the_two_tables_resolves():
    import a_llmrec
    import injections

    for recipe, overrides in a_llmrec.METHODS.values():
        recipes.load(recipe, overrides, "movielens-small")
    for overrides in injections.ROWS.values():
        recipes.load("kv-mixture", overrides, "movielens-small")


def test_scripts_ask_for_stages_that_there_are():
    found = {
        first or second
        for script in FOLDER.rglob("*.py")
        for first, second in STAGE.findall(script.read_text(encoding="utf-8"))
    }
    assert "rank" in found  # the pattern finds something
    assert found <= {"prepare", "embed", "train", "align", "rank", "evaluate"} < set(VERSIONS)
