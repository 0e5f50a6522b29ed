"""Small saved models, made once for all files that ask them; a test that changes one copies its folder."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.saved_models import Saved, made_at_home, saving


@pytest.fixture(scope="session")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return made_at_home(tmp_path_factory.mktemp("secret-home"))


@pytest.fixture(scope="session")
def saved(given: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Saved]:
    """Each method's saved model, made once."""
    return saving(given, tmp_path_factory)
