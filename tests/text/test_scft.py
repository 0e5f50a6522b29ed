"""LLMEmb's first stage: the loss by hand, two subsets of one item's attributes find each other, refusals, new texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")
pytest.importorskip("sentence_transformers")

from interlingua.config import FitConfig, build
from interlingua.contracts.batch import Batch
from interlingua.contracts.fitting import Fitting
from interlingua.errors import ConfigError
from interlingua.lm.sentence_model import in_wheel
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.new_texts import NewTexts
from interlingua.runs.opening import open_session
from interlingua.testing.tiny_sentence_encoder import tiny_encoder
from interlingua.text.scft import Scft, ScftConfig, attributes_of, dropped, joined
from interlingua.training.loop import fit, seed_all
from interlingua.vectors.fields import describe

FOUR = {"title": "Heat; a film", "categories": "Crime|Drama", "brand": "x" * 130, "description": ""}
MINILM = "all-minilm-l6-v2"
WORDS = ["river", "mountain", "robot", "love", "space", "war", "comedy", "drama"]


def test_an_item_is_written_as_attributes_and_read_back() -> None:
    text = describe(FOUR, "attributes")
    assert text == f"title is Heat, a film; category is Crime; category is Drama; brand is {'x' * 100}; "
    assert joined(attributes_of(text)) == text
    assert len(attributes_of(text)) == 4
    assert describe({"title": ""}, "attributes", fallback="7") == "untitled item 7"


@pytest.mark.parametrize(("count", "left"), [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (10, 6)])
def test_a_copy_loses_the_last_of_its_shuffled_attributes(count: int, left: int) -> None:
    attributes = [f"a{n}" for n in range(count)]
    order = list(reversed(range(count)))
    assert dropped(attributes, 0.4, order) == list(reversed(attributes))[:left]


def items(count: int = 40, seed: int = 0) -> list[str]:
    """Texts of six attributes, words and digits in no order."""
    rng = np.random.default_rng(seed)
    return [
        joined([f"{a} is {WORDS[rng.integers(8)]} {rng.integers(10)} {rng.integers(10)}" for a in "abcdef"])
        for _ in range(count)
    ]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that reads all of an item's attributes."""
    return tiny_encoder(tmp_path_factory.mktemp("encoder"), max_tokens=64)


def source(encoder: Path | str, texts: list[str], **options: Any) -> Scft:
    values = {"model": str(encoder), "train_layers": None, **options}
    seed_all(3)
    return Scft(build(ScftConfig, values, "text"), texts)


def learn(text: Scft) -> list[dict[str, float]]:
    records: list[dict[str, float]] = []

    def loop(batches: Any, config: FitConfig) -> Any:
        records.extend(epoch.losses for epoch in fit(text, batches, config, seed=1, device="cpu"))

    text.fit(Fitting(None, loop=loop))  # type: ignore[arg-type]  # no event is read
    return records


def own_found(text: Scft) -> float:
    """Share of the items of which one subset's nearest neighbour, among one of each item, is the same item's other."""
    own, shares = [attributes_of(each) for each in items(24)], []
    for seed in (1, 2, 3):
        rng = np.random.default_rng(seed)
        left, right = (
            text.encode([joined(dropped(each, 0.4, rng.permutation(6).tolist())) for each in own]) for _ in range(2)
        )
        shares.append(float(((left @ right.T).argmax(1) == torch.arange(len(own))).float().mean()))
    return float(np.mean(shares))


@pytest.mark.skipif(in_wheel(MINILM) is None, reason="needs an encoder that has learned a language")
def test_two_subsets_of_an_item_become_nearest_neighbours() -> None:
    text = source(MINILM, items(24), train_layers=1, fit={"learning_rate": 1e-3, "batch_size": 24, "epochs": 20})
    before = own_found(text)
    records = learn(text)
    after = own_found(text)
    assert records[-1]["contrast"] < records[0]["contrast"]
    assert after > before + 0.25, (before, after)
    assert after > 0.75, (before, after)


def test_the_loss_is_the_authors_over_two_copies(encoder: Path) -> None:
    """With nothing dropped and one attribute each, both copies are the text itself: numbers by hand."""
    texts = [f"a is {word}; " for word in WORDS[:4]]
    text = source(encoder, texts, temperature=2.0)
    x = text.encode(texts).double().numpy()
    logits, alike = x @ x.T / 2, x @ x.T * 2
    targets = np.exp(alike - alike.max(1, keepdims=True))
    targets /= targets.sum(1, keepdims=True)
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    by_hand = 0.5 * np.mean(-(targets * logs).sum(1) - (targets.T * logs).sum(1))
    assert float(text(Batch(torch.zeros(4), torch.arange(4)))["contrast"]) == pytest.approx(by_hand, rel=1e-4)


def test_vectors_are_means_of_hidden_states_and_centred_after_the_fit(encoder: Path) -> None:
    text = source(encoder, items(), fit={"epochs": 1, "batch_size": 20})
    ids = text.encoder.tokens(items()[:1])
    states = text.encoder.model[0]({"input_ids": torch.as_tensor(ids.ids)[None].long(), "attention_mask":
                                    torch.ones(1, len(ids.ids), dtype=torch.long)})["token_embeddings"]  # fmt: skip
    torch.testing.assert_close(text.rows("items", torch.tensor([0]))[0], states[0].mean(0), rtol=1e-4, atol=1e-5)
    learn(text)
    assert float(text.rows("items").mean(0).abs().max()) < 1e-5
    torch.testing.assert_close(text.encode(items()[3:5]), text.rows("items")[3:5], rtol=1e-4, atol=1e-5)


def test_a_text_is_read_once_for_all_rows(encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    text = Scft(
        build(ScftConfig, {"model": str(encoder), "fit": {"epochs": 0}}, "text"), items(), user_texts=["a", "b"]
    )
    tokens = text.encoder.tokens
    monkeypatch.setattr(text.encoder, "tokens", lambda texts: tokens([read.append(each) or each for each in texts]))
    learn(text)
    assert len(text.rows("items")) == len(text.frozen) == 40
    assert len(text.rows("users")) == 2
    assert read == [*items(), "a", "b"]


def test_the_same_seed_gives_the_same_encoder_and_frozen_layers_stay(encoder: Path) -> None:
    made = []
    for _ in range(2):
        text = source(encoder, items(), train_layers=1, fit={"epochs": 2, "batch_size": 16})
        before = {name: p.detach().clone() for name, p in text.named_parameters()}
        learn(text)
        changed = {name for name, p in text.named_parameters() if not torch.equal(p, before[name])}
        assert changed
        assert all(".layer.1." in name for name in changed), changed
        made.append(text.rows("items"))
    assert torch.equal(*made)


def test_too_few_attributes_are_refused_before_training(encoder: Path) -> None:
    text = source(encoder, ["title is a; category is b; "] * 3)
    with pytest.raises(ConfigError, match=r"3 of 3 items have too few attributes.*mean 2\.0.*text\.fields"):
        learn(text)


def test_few_attributes_are_said(encoder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    learn(source(encoder, ["a is b; c is d; e is f; ", "a is g; c is h; e is i; "], fit={"epochs": 1}))
    assert "items have 3.0 attributes on average" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"style": "plain"}, "only attributes can be dropped"),
        ({"profiles": "somewhere"}, "a profile has no attributes"),
        ({"fit": {"patience": 2}}, r"fit\.patience"),
        ({"fit": {"batch_size": 1}}, "needs 2 items"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build(ScftConfig, options, "text")


def test_a_run_keeps_its_encoder_and_reads_later_texts_with_it(encoder: Path, tmp_path: Path) -> None:
    values = {
        "data": {"name": "planted", "options": {"num_users": 80, "num_items": 40}},
        "text": {"name": "scft", "model": str(encoder), "train_layers": 1, "reduce": 8,
                 "fit": {"epochs": 2, "batch_size": 16, "learning_rate": 1e-3}},
        "backbone": {"name": "sasrec", "embedding_dim": 8, "num_blocks": 1,
                     "fit": {"epochs": 1, "batch_size": 64, "patience": None}},
        "align": {"name": "llmemb"},
        "evaluate": {"protocols": ["full"]},
    }  # fmt: skip
    done = stages.run(recipes.resolve(values), out=tmp_path, seed=1, device="cpu")
    again = open_session(done.done["evaluate"].path, "cpu")
    stored = again.exported("embed")["items"]
    from interlingua.vectors.fields import item_texts

    assert done.recipe.text is not None
    texts = item_texts(again.data.catalogue, done.recipe.text.config)
    torch.testing.assert_close(NewTexts(again).vectors("text", texts[:5]), stored[:5], rtol=1e-3, atol=1e-4)
    centred = stored - stored.mean(0)
    torch.testing.assert_close(centred, stored, rtol=0, atol=1e-4)  # as PCA reduces
    untuned = stages.run(
        recipes.resolve({**values, "text": {**values["text"], "fit": {"epochs": 0}}}),
        out=tmp_path,
        seed=1,
        device="cpu",
    )
    assert not torch.allclose(untuned.exported("embed")["items"], stored, atol=1e-3)
