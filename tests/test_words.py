"""The house's words: what a recommender engineer would have to look up may not become a name again."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest
from tests.source_trees import FILES, ident

WORDS = {
    "rows": "indices", "item_rows": "item_indices", "user_rows": "user_indices", "sets": "overrides",
    "beside": "extra_runs", "asked": "queries, requests", "wanted": "expected", "told": "known", "there": "mask",
    "others": "negatives, rest", "goals": "targets", "kept": "mask", "only": "filter", "shortlist": "candidates",
    "share": "fraction", "story": "counts", "denoise": "filter", "solve": "fit, fit_weights", "mixture": "score_fusion",
    "likeness": "text_similarity", "retrieve_by": "candidate_source", "asked_by": "scorer_for",
    "ego": "input_embeddings", "represent": "user_embeddings",
}  # fmt: skip
"""word that is not to come back -> the field's word"""
TABLES = (
    "cli/", "report/", "bench/", "data/files/", "data/sources/", "profiles/store.py", "profiles/write.py",
    "data/clean.py", "data/describe.py", "data/prepared.py", "clients/ledger.py", "evaluate/compare.py",
    "runs/model_card.py", "runs/planner.py", "runs/reports.py", "vectors/id_files.py",
)  # fmt: skip
"""where ``rows`` are lines of a table that is read, printed or stored"""
ALLOWED = {
    ("contracts/text.py", "rows"), ("vectors/frozen.py", "rows"), ("text/sbert.py", "rows"),
    ("vectors/readable.py", "rows"),
    ("text/scft.py", "rows"),  # of a table of vectors
    ("contracts/backbone.py", "user_rows"), ("backbones/pretrained.py", "user_rows"),
    ("backbones/mmrec.py", "user_rows"), ("backbones/dmrec.py", "user_rows"),  # tensors with a row per user
    ("backbones/additive_ease.py", "share"),  # an option of recipes
}  # fmt: skip


def names_of(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Names that a file gives: functions, classes, arguments, locals, attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id, node.lineno
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr, node.lineno


def old_names(source: str) -> list[str]:
    return [f"line {line}: {name}" for name, line in names_of(ast.parse(source)) if name.strip("_").lower() in WORDS]


def test_no_name_is_an_old_word() -> None:
    found, used = [], set()
    for path in FILES:
        place = ident(path)
        for name, line in names_of(ast.parse(path.read_text(encoding="utf-8"))):
            word = name.strip("_").lower()
            if (place, word) in ALLOWED:
                used.add((place, word))
            elif word in WORDS and not (word == "rows" and place.startswith(TABLES)):
                found.append(f"{place}:{line}: {name} is called {WORDS[word]} in this house")
    assert not found, "\n".join(found)
    assert used == ALLOWED, "an exception that nothing needs any more"


@pytest.mark.parametrize(
    "source",
    [
        "def f(rows): ...",
        "def f(*, sets=()): ...",
        "kept = mask",
        "for asked in queries: ...",
        "self.mixture = 1",
        "def _solve(): ...",
        "x = [there for there in a]",
        "class A:\n    share: float = 0.5",
        "if wanted := f(): ...",
        "async def told(): ...",
        "lambda others: others",
        "SHARE = 0.5",
    ],
)
def test_an_old_word_is_found(source: str) -> None:
    assert len(old_names(source)) == 1


def test_a_new_word_is_not() -> None:
    assert not old_names("def f(indices, overrides): mask = g(rows=1); return x.rows, mask")
