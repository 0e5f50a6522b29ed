"""A mistyped name of a store is an error of every command that reads one, and makes no file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("sqlalchemy")


@pytest.mark.parametrize(
    "command",
    [
        ("versions",), ("versions", "--prune"), ("rollback",), ("promote", "4f2a"), ("refresh",), ("forget", "ann"),
        ("shadow", "a", "b"), ("drift", "a", "b"), ("serve",),
    ],
    ids=" ".join,
)  # fmt: skip
def test_nothing_is_made(command: tuple[str, ...], tmp_path: Path, cli: Callable[..., tuple[int, str, str]]) -> None:
    place = tmp_path / "typo.sqlite"
    code, _, said = cli(*command, "--store", str(place))
    assert code == 2
    assert said.startswith(f"error: there is no store at {place}; give the file of one, or postgresql://")
    assert not list(tmp_path.iterdir())
