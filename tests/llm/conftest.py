from __future__ import annotations

import pytest

pytest.importorskip("transformers")


@pytest.fixture
def llama():
    from interlingua.testing.tiny_models import tiny

    return tiny("llama")


@pytest.fixture
def titles():
    from interlingua.testing.tiny_models import TITLES

    return TITLES
