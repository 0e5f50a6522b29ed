"""Hidden states of a language model as text vectors: the right layer, the right tokens, whatever the batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from interlingua.errors import ConfigError
from interlingua.lm.encoder import hold_encoder
from interlingua.registry import find
from interlingua.testing.tiny_models import tiny
from interlingua.text import lm_states
from interlingua.text.lm_states import LmStates, LmStatesConfig, pooled, states_of

TEXTS = ["the matrix", "heat", "a thief and a detective meet in a city at night", ""]


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The tiny model stands in for whatever the options name; the cache is told nothing of it."""
    lm = tiny("llama")
    monkeypatch.setattr(lm_states, "frozen", lambda *_: lm)
    return lm


def by_hand(lm: Any, text: str, layer: int, prompt: str = "", ending: str = "") -> torch.Tensor:
    """transformers' own forward over one text."""
    ids = [
        i for part in (prompt, text, ending) if part for i in lm.tokenizer(part, add_special_tokens=False)["input_ids"]
    ]
    first = lm.bos_token_id if lm.bos_token_id is not None else lm.tokenizer.bos_token_id
    first = lm.eos_token_id if first is None else first
    with torch.no_grad():
        out = lm.model(input_ids=torch.tensor([[first, *ids]]), output_hidden_states=True)
    return out.hidden_states[layer][0, 1:].mean(0) if ids else torch.zeros(out.hidden_states[0].shape[-1])


@pytest.mark.parametrize("layer", [0, 1, None])
@pytest.mark.parametrize("around", [{}, {"prompt": "a film:", "ending": " is"}])
def test_vectors_are_the_mean_of_a_layers_states_without_the_first(
    held: Any, layer: int | None, around: dict[str, str], tmp_path: Path
) -> None:
    source = LmStates(LmStatesConfig(layer=layer, **around), TEXTS[:3], cache=tmp_path)
    number = round(0.75 * held.num_layers) if layer is None else layer
    for text, vector in zip(TEXTS, source.items, strict=False):
        torch.testing.assert_close(vector, by_hand(held, text, number, **around), atol=2e-5, rtol=1e-4)


def test_the_last_layer_has_passed_the_norm_and_new_texts_are_read_alike(held: Any, tmp_path: Path) -> None:
    source = LmStates(LmStatesConfig(layer=held.num_layers), TEXTS, cache=tmp_path)
    torch.testing.assert_close(source.items[1], by_hand(held, "heat", -1), atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(source.encode(TEXTS[2:0:-1]), source.items[[2, 1]], atol=2e-5, rtol=1e-4)
    assert not source.items[3].any()  # no text, no vector; the count says so
    assert source.notes["item: texts with a zero vector"] == 1


def test_an_encoder_sees_no_padding() -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    model = transformers.BertModel(transformers.BertConfig(vocab_size=64, **sizes), add_pooling_layer=False)
    lm = hold_encoder(model, tiny("llama").tokenizer)
    ids = [[3, 9, 8, 7, 6, 5], [3, 9, 8], [3]]
    together = states_of(lm, ids, 1, "mean")
    for row, one in enumerate(ids):
        torch.testing.assert_close(together[row : row + 1], states_of(lm, [one], 1, "mean"), atol=2e-5, rtol=1e-4)


def test_pooling() -> None:
    states = torch.arange(6.0).reshape(3, 2)
    assert pooled(states, "mean").tolist() == [3.0, 4.0]
    assert pooled(states, "last").tolist() == [4.0, 5.0]
    assert pooled(states[:1], "mean").tolist() == [0.0, 0.0]


def test_refusals(held: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"text.layer = 99.*use 0 to"):
        LmStates(LmStatesConfig(layer=99), TEXTS, cache=tmp_path)
    with pytest.raises(ConfigError, match="nothing is left for the text"):
        LmStates(LmStatesConfig(prompt="a long prompt about films and books", max_tokens=3), TEXTS, cache=tmp_path)


def test_options_are_in_the_caches_key(held: Any, tmp_path: Path) -> None:
    options: list[dict[str, Any]] = [{}, {"layer": 0}, {"pool": "last"}, {"prompt": "x"}, {"lm_weights": "shuffled"}]
    for one in options:
        LmStates(LmStatesConfig(**one), TEXTS, cache=tmp_path)
    assert sum(path.is_dir() for path in (tmp_path / "text").glob("*lm-states*")) == len(options)
    assert find("text", "lm-states") is LmStates
