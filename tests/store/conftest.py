"""A store in each database: SQLite always, Postgres on a private cluster where it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.store.postgres import Cluster

from interlingua.store import Store


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with Cluster.started() as made:
        yield made


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where a new store can be made, in either database."""
    if request.param == "sqlite":
        yield str(tmp_path / "store.sqlite")
        return
    yield request.getfixturevalue("cluster").database()


@pytest.fixture
def store(place: str) -> Iterator[Store]:
    with Store.open(place) as opened:
        yield opened
