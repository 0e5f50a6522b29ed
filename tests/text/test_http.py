"""The text source ``http`` against a server on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from interlingua.clients.asking import ServerError
from interlingua.config import build
from interlingua.errors import DataError, MissingExtraError
from interlingua.testing.fake_server import FakeServer, hashed, serving
from interlingua.text.http import Http, HttpConfig, encode_texts

TEXTS = [f"text number {n} about {'tea' if n % 2 else 'coffee'}" for n in range(40)]
LIMITS = {"timeout_s": 0.5, "backoff_s": 0.02, "backoff_max_s": 0.1, "concurrency": 3}


def config_of(url: str, **changes: Any) -> HttpConfig:
    return build(HttpConfig, {"base_url": url, "model": "enc", "batch_size": 8, "limits": LIMITS} | changes)


def test_vectors_come_in_the_order_of_the_texts_and_are_asked_for_once(tmp_path: Path) -> None:
    server = FakeServer(lambda _text, before: ("429", "500", "drop", "truncated", "good")[min(before, 4)])
    with serving(server) as url:
        got = encode_texts(config_of(url), [*TEXTS, TEXTS[3]], tmp_path)
        np.testing.assert_allclose(got[:40], [hashed(t) for t in TEXTS], rtol=1e-6)
        np.testing.assert_array_equal(got[40], got[3])
        calls = len(server.calls)
        assert sum(m == "good" for _, m in server.calls) == 5
        encode_texts(config_of(url), [*TEXTS, TEXTS[3]], tmp_path)
        encode_texts(config_of(url), TEXTS[:7], tmp_path)  # another list: from the ledger, text by text
        assert len(server.calls) == calls
        encode_texts(config_of(url), [*TEXTS[:7], "new"], tmp_path)
    assert server.bodies[-1]["input"] == ["new"]


def test_an_interrupted_run_keeps_what_it_got(tmp_path: Path) -> None:
    server = FakeServer(lambda text, _: "401" if "number 30" in text else "good")
    with serving(server) as url:
        with pytest.raises(ServerError, match="401"):
            encode_texts(config_of(url, limits=LIMITS | {"concurrency": 1}), TEXTS, tmp_path)
        server.manner = lambda *_: "good"
        encode_texts(config_of(url), TEXTS, tmp_path)
    sent = [
        text
        for body, (_, manner) in zip(server.bodies, server.calls, strict=True)
        if manner == "good"
        for text in body["input"]
    ]
    assert sorted(sent) == sorted(TEXTS)


def test_a_text_that_is_refused_is_named(tmp_path: Path) -> None:
    server = FakeServer(lambda text, _: "400" if "number 13" in text else "good")
    with serving(server) as url, pytest.raises(DataError, match="text number 13"):
        encode_texts(config_of(url), TEXTS, tmp_path)


def test_both_sides_blank_texts_and_new_texts(tmp_path: Path) -> None:
    with serving(FakeServer()) as url:
        source = Http(config_of(url), ["a b", "", "\n"], user_texts=["a b"], cache=tmp_path)
        torch.testing.assert_close(source.rows("users")[0], source.rows("items")[0])
        torch.testing.assert_close(source.encode(["a b"])[0], source.rows("items")[0])
        assert bool(torch.isfinite(source.rows("items")).all())


def test_without_the_package_its_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(MissingExtraError, match="'openai', which is not installed; install it with"):
        encode_texts(config_of("http://localhost:1/v1"), TEXTS, tmp_path)
