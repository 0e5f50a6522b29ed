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


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A saved tiny model."""
    from interlingua.testing.tiny_models import build, tokenizer_of

    path = tmp_path_factory.mktemp("tiny")
    build("llama").save_pretrained(path)
    tokenizer_of().save_pretrained(path)
    return str(path)
