"""Hidden states of a language model as text vectors: the right layer, the right tokens, whatever the batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from interlingua.errors import ConfigError
from interlingua.lm.encoder import hold_encoder, load_any
from interlingua.lm.load import hold
from interlingua.registry import find
from interlingua.testing.tiny_models import build, tiny, tokenizer_of
from interlingua.text import lm_states
from interlingua.text.lm_states import LmStates, LmStatesConfig, pooled, states_of

TEXTS = ["the matrix", "heat", "a thief and a detective meet in a city at night", ""]


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The tiny model stands in for whatever the options name; the cache is told nothing of it."""
    lm = tiny("llama")
    monkeypatch.setattr(lm_states, "frozen", lambda *_: lm)
    return lm


def ids_of(lm: Any, *parts: str) -> list[int]:
    return [i for part in parts if part for i in lm.tokenizer(part, add_special_tokens=False)["input_ids"]]


def by_hand(lm: Any, text: str, layer: int, prompt: str = "", ending: str = "") -> torch.Tensor:
    """transformers' own forward over one text."""
    return by_ids(lm, ids_of(lm, prompt, text, ending), layer)


def by_ids(lm: Any, ids: list[int], layer: int) -> torch.Tensor:
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


def test_a_layer_that_is_not_there_is_refused_before_anything_runs(held: Any) -> None:
    with pytest.raises(ConfigError, match=r"text.layer = 99.*use 0 to"):
        LmStatesConfig(layer=99).check_models()
    LmStatesConfig(layer=1).check_models()
    LmStatesConfig().check_models()


def test_options_are_in_the_caches_key(held: Any, tmp_path: Path) -> None:
    options: list[dict[str, Any]] = [{}, {"layer": 0}, {"pool": "last"}, {"prompt": "x"}, {"lm_weights": "shuffled"}]
    for one in options:
        LmStates(LmStatesConfig(**one), TEXTS, cache=tmp_path)
    assert sum(path.is_dir() for path in (tmp_path / "text").glob("*lm-states*")) == len(options)
    assert find("text", "lm-states") is LmStates


def test_two_models_do_not_share_vectors_in_the_cache(tmp_path: Path) -> None:
    found = []
    for family in ("llama", "gpt2"):
        folder = tmp_path / family
        build(family).save_pretrained(folder)
        tokenizer_of().save_pretrained(folder)
        found.append(LmStates(LmStatesConfig(model=str(folder), layer=1), TEXTS[:3], cache=tmp_path).items)
        expected = by_hand(load_any(str(folder)), TEXTS[2], 1)
        torch.testing.assert_close(found[-1][2], expected, atol=2e-5, rtol=1e-4)
    assert not torch.allclose(found[0], found[1], atol=1e-2)


def test_a_long_text_is_cut_and_the_ending_stays(held: Any, tmp_path: Path) -> None:
    whole, around = ids_of(held, TEXTS[2]), (ids_of(held, "a film:"), ids_of(held, " is"))
    most = 1 + len(around[0]) + len(around[1]) + 4
    assert len(whole) > 4
    config = LmStatesConfig(layer=1, prompt="a film:", ending=" is", max_tokens=most)
    (vector,) = LmStates(config, TEXTS[2:3], cache=tmp_path).items
    torch.testing.assert_close(vector, by_ids(held, [*around[0], *whole[:4], *around[1]], 1), atol=2e-5, rtol=1e-4)


def test_a_mark_in_a_text_is_read_as_characters(held: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[list[int]] = []
    whole = lm_states.states_of
    monkeypatch.setattr(
        lm_states, "states_of", lambda lm, ids, *rest: read.extend(map(list, ids)) or whole(lm, ids, *rest)
    )
    LmStates(LmStatesConfig(prompt="<s>", ending="<pad>"), ["ends </s> here"], cache=tmp_path)
    assert held.tokenizer("</s>", add_special_tokens=False)["input_ids"] == [held.eos_token_id]
    ((_, *ids),) = read
    assert not {0, 1, 2} & set(ids)
    assert held.tokenizer.decode(ids) == "<s>ends </s> here<pad>"


def test_a_source_makes_its_model_once(held: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    monkeypatch.setattr(lm_states, "frozen", lambda *given: made.append(given) or held)
    source = LmStates(LmStatesConfig(), TEXTS, user_texts=["a thief", "heat"], cache=tmp_path)
    source.encode(["other"])
    source.encode(["another"])
    assert len(made) == 1
    assert LmStates(LmStatesConfig(), TEXTS, cache=tmp_path).items.equal(source.items)
    assert len(made) == 1  # whatever is in the cache needs none


def test_user_texts_are_examined_too(held: Any, tmp_path: Path) -> None:
    source = LmStates(LmStatesConfig(users="texts"), TEXTS[:3], user_texts=["", "heat", ""], cache=tmp_path)
    assert source.notes == {"user: texts with a zero vector": 2}


def test_the_model_is_moved_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A type of numbers stands in for another device: rankers and reasons read all layers of the same model."""
    lm = hold(build("llama", 3), tokenizer_of())
    monkeypatch.setattr(lm_states, "frozen", lambda *_: lm)
    monkeypatch.setattr(lm_states, "_device", lambda: torch.float64)
    source = LmStates(LmStatesConfig(layer=1), TEXTS[:3], cache=tmp_path)
    tensors = [*lm.model.parameters(), *lm.model.buffers()]
    assert {each.dtype for each in tensors if each.is_floating_point()} == {torch.float64}
    torch.testing.assert_close(source.items[0], by_hand(lm, TEXTS[0], 1).float(), atol=1e-6, rtol=1e-6)
