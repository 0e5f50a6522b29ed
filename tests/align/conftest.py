import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "text"))


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory):
    from interlingua.testing.tiny_sentence_encoder import tiny_encoder

    return tiny_encoder(tmp_path_factory.mktemp("tiny-encoder"))


@pytest.fixture(scope="session")
def planted():
    from tests.align.planted import make

    return make()
