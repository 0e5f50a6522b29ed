"""Frozen lower layers read once: the numbers and gradients of all layers, in far fewer calls, and when they are not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("sentence_transformers")

from interlingua.lm.sentence_model import SentenceModel, locate
from interlingua.testing.tiny_sentence_encoder import tiny_encoder
from interlingua.text import _lower_layers
from interlingua.text._last_layers import freeze_below, stack_of
from interlingua.text._lower_layers import LowerLayers
from interlingua.text.sbert import Sbert, SbertConfig

TEXTS = ["robot love", "a war in space, and a comedy of mountains", "no", "", "river drama " * 9, "love 7", "space"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_encoder(tmp_path_factory.mktemp("three"), layers=3)


def model(folder: Path) -> SentenceModel:
    made = SentenceModel(locate(str(folder))).eval()
    freeze_below(made, 1)
    return made


def runs_of(encoder: SentenceModel) -> list[int]:
    """Counts, from now on, how often each layer runs."""
    found = [0, 0, 0]

    def count(place: int) -> Any:
        def add(*_: Any) -> None:
            found[place] += 1

        return add

    for place, layer in enumerate(stack_of(encoder.model)[2]):
        layer.register_forward_hook(count(place))
    return found


def test_numbers_and_gradients_are_those_of_all_layers_and_lower_ones_run_once(folder: Path) -> None:
    plain, encoder = model(folder), model(folder)
    upper, runs = LowerLayers(encoder, encoder.tokens(TEXTS), 1), runs_of(encoder)
    for chosen in ([4, 1, 3], [0], [6, 5, 4, 3, 2, 1, 0]):
        indices = np.array(chosen)
        vectors, expected = upper(indices), plain(plain.tokens(TEXTS), indices)
        torch.testing.assert_close(vectors, expected, rtol=1e-4, atol=1e-5)
        for made in (vectors, expected):
            made.square().sum().backward()
    assert runs[0] == runs[1] == 1
    assert runs[2] > 3
    names = [name for name, p in encoder.named_parameters() if p.grad is not None]
    assert names
    assert all("layer.2." in name for name in names)
    for (_, one), (_, other) in zip(encoder.named_parameters(), plain.named_parameters(), strict=True):
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-4)


def test_the_module_is_as_it_was_after_a_call_and_after_one_that_fails(folder: Path) -> None:
    encoder = model(folder)
    before = list(encoder.state_dict())
    upper = LowerLayers(encoder, encoder.tokens(TEXTS), 1)
    upper(np.arange(3))
    with pytest.raises(IndexError):
        upper(np.array([99]))
    assert list(encoder.state_dict()) == before


def test_too_much_to_keep_is_made_at_every_step(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_lower_layers, "HELD_BYTES", 100)
    encoder = model(folder)
    upper, runs = LowerLayers(encoder, encoder.tokens(TEXTS), 1), runs_of(encoder)
    for _ in range(3):
        upper(np.arange(2))
    assert runs == [3, 3, 3]


def test_an_encoder_that_cannot_be_read_from_its_middle_runs_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = model(folder)
    expected = encoder(encoder.tokens(TEXTS), np.arange(3))
    monkeypatch.setattr(_lower_layers._Passed, "forward", lambda self, states, *_, **__: states.missing)
    upper = LowerLayers(encoder, encoder.tokens(TEXTS), 1)
    torch.testing.assert_close(upper(np.arange(3)), expected)
    assert "cannot be read from its middle" in capsys.readouterr().err


def test_dropout_is_in_the_layers_that_learn_alone(folder: Path) -> None:
    text = Sbert(SbertConfig(model=str(folder), trainable=True, train_layers=1), TEXTS).train()
    assert text.encoder is not None
    layers = stack_of(text.encoder.model)[2]
    assert [layer.training for layer in layers] == [False, False, True]
    text.rows("items")
    assert [layer.training for layer in layers] == [False, False, True], "making what is kept leaves the modes"
    assert not torch.equal(text.rows("items"), text.rows("items"))
    assert torch.equal(text.eval().rows("items"), text.rows("items"))


def test_stages_with_frozen_lower_layers_are_made_again(folder: Path) -> None:
    def marked(**options: Any) -> bool:
        return "lower-layers" in Sbert.fingerprint(SbertConfig(model=str(folder), **options))

    assert marked(trainable=True, train_layers=1)
    assert not marked(trainable=True)
    assert not marked()
