"""An encoder's folder may hold code of a stranger; it is never run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from interlingua.errors import ConfigError
from interlingua.lm.sentence_model import Place, SentenceModel
from interlingua.testing.tiny_sentence_encoder import tiny_encoder

pytest.importorskip("sentence_transformers")


def test_a_module_in_an_encoders_folder_is_not_run(tmp_path: Path) -> None:
    """The floor of sentence-transformers is the first version that refuses (5.7 ran such a file)."""
    folder, flag = tiny_encoder(tmp_path / "encoder"), tmp_path / "ran"
    kinds = ("sentence_transformers.models.Transformer", "evil_module.Evil")
    modules = [{"idx": at, "name": str(at), "path": "", "type": kind} for at, kind in enumerate(kinds)]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text("{}")
    (folder / "evil_module.py").write_text(
        f"open({str(flag)!r}, 'w').close()\n"
        "import torch\n"
        "class Evil(torch.nn.Module):\n"
        "    @classmethod\n"
        "    def load(cls, *args, **kwargs):\n"
        "        return cls()\n"
    )
    with pytest.raises(ConfigError, match="cannot be read as a sentence encoder"):
        SentenceModel(Place(folder, "tiny"))
    assert not flag.exists()
