import pytest

from interlingua.testing.tiny_sentence_encoder import tiny_encoder


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory):
    return tiny_encoder(tmp_path_factory.mktemp("tiny-encoder"))
