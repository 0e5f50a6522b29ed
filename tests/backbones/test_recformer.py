"""RECFORMER: what a history looks like as tokens, what its score depends on, and what stays in which phase."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch.nn import functional

from interlingua.backbones._attribute_tokens import (
    ItemTokens,
    Words,
    attributes_of,
    columns_of,
    item_tokens,
    read_back,
    sequences,
    written,
)
from interlingua.backbones._token_encoder import MaskedWords
from interlingua.backbones.recformer import Recformer, RecformerConfig
from interlingua.config import build
from interlingua.contracts.added import AddedItems
from interlingua.contracts.aligner import Aligner
from interlingua.contracts.fitting import Fitting
from interlingua.data.catalogue import Catalogue
from interlingua.data.prepared import Dataset
from interlingua.data.queries import Queries
from interlingua.data.sources.planted import generate
from interlingua.errors import ConfigError
from interlingua.testing.tiny_sentence_encoder import tiny_encoder
from interlingua.training.joint import Joint
from interlingua.training.loop import fit, seed_all, trainable_state
from interlingua.training.random_targets import drawn_targets

SMALL: dict[str, Any] = {"embedding_dim": 16, "num_blocks": 1, "dropout": 0.0, "max_history": 6, "max_tokens": 48}
FIT: dict[str, Any] = {"epochs": 3, "batch_size": 16, "second_stage_epochs": 1, "warmup_steps": 0, "patience": None}
Make = Callable[..., Recformer]


@pytest.fixture(scope="module")
def world() -> Dataset:
    return generate(num_users=40, num_items=30, seed=3)


@pytest.fixture(scope="module")
def make(world: Dataset) -> Make:
    def build(fit: dict[str, Any] | None = None, **options: Any) -> Recformer:
        seed_all(4)
        config = RecformerConfig.model_validate(SMALL | {"fit": FIT | (fit or {})} | options)
        model = Recformer(config, world.split.train)
        model.read_catalogue(world.catalogue)
        model.start(world.split.train, None)
        model.refresh()
        return model

    return build


def batches_of(model: Recformer, world: Dataset, epoch: int = 0) -> list[Any]:
    return list(model.batches(world.split.train, model.config.fit)(epoch, np.random.default_rng(epoch)))


def test_a_history_is_its_newest_items_attributes_first() -> None:
    catalogue = Catalogue(
        pl.DataFrame(
            {"item_id": ["a", "b", "c"], "title": ["Red Fox", "Fox!", None], "brand": ["Acme", None, None],
             "categories": ["red", "blue", None]}
        )
    )  # fmt: skip
    columns = columns_of(catalogue, None, ("title", "brand", "categories"))
    items = attributes_of(catalogue, columns)
    assert items[0] == [("title", "Red Fox"), ("brand", "Acme"), ("categories", "red")]
    assert items[2] == []
    words = Words.of(items, 100)
    tokens = item_tokens(items, words.ids, 2)  # a key and one word of its value
    n = {word: words.ids(word)[0] for word in ("title", "red", "brand", "acme", "categories", "fox", "blue")}
    found = sequences(torch.tensor([[-1, 0, 1], [2, 2, 0], [-1, -1, -1]]), tokens, words.start, words.pad, 9)
    first = [n["title"], n["fox"], n["categories"], n["blue"]]
    second = [n["title"], n["red"], n["brand"], n["acme"], n["categories"], n["red"]]
    assert found.ids.tolist() == [
        [words.start, *first, *second[:4]],
        [words.start, *second, words.pad, words.pad],
        [words.start, *[words.pad] * 8],
    ]
    assert found.types[0].tolist() == [0, 1, 2, 1, 2, 1, 2, 1, 2]
    assert found.types[1].tolist() == [0, 1, 2, 1, 2, 1, 2, 3, 3]
    assert found.places[0].tolist() == [0, 1, 1, 1, 1, 2, 2, 2, 2]
    assert found.mask.sum(1).tolist() == [9, 7, 1]
    assert words.ids("a red quagga") == [words.unknown, n["red"], words.unknown]
    assert read_back(written(columns, words.words)) == (columns, words.words)
    with pytest.raises(ConfigError, match=r"colour.*backbone\.fields"):
        columns_of(catalogue, ["title", "colour"], ())


def test_several_values_are_the_same_words_however_they_are_written() -> None:
    texts = pl.DataFrame({"item_id": list("abc"), "categories": ["Crime|Drama", "Crime, Drama", "Crime > Drama"],
                          "brand": ["A|B", " A ", None]})  # fmt: skip
    lists = pl.DataFrame({"item_id": ["a"], "categories": [["Crime", None, "Drama"]], "brand": [None]})
    found = attributes_of(Catalogue(texts), ["categories", "brand"])
    assert [dict(item)["categories"] for item in found] == ["Crime, Drama"] * 3
    assert [dict(item).get("brand") for item in found] == ["A|B", "A", None]
    assert attributes_of(Catalogue(lists), ["categories", "brand", "colour"]) == [[("categories", "Crime, Drama")]]


def test_the_order_of_a_history_and_of_attributes_changes_the_score(make: Make, world: Dataset) -> None:
    model = make()
    forwards, backwards = model.score(Queries.of([[1, 2, 3]])), model.score(Queries.of([[3, 2, 1]]))
    assert not np.allclose(forwards, backwards, atol=1e-4)
    other = Recformer(model.config.model_copy(update={"fields": ["categories", "title"]}), world.split.train)
    other.encoder = model.encoder
    state = {k: v for k, v in model.state_dict().items() if k in ("types", "written", "tokens")}
    columns, words = read_back(model.written)
    found = item_tokens(attributes_of(world.catalogue, columns[::-1]), Words(words).ids, 32)
    other.load_state_dict(model.state_dict())
    other.tokens, other.types = found.ids, found.types
    assert not torch.equal(other.tokens, state["tokens"])
    other.refresh()
    assert not np.allclose(other.score(Queries.of([[1, 2, 3]])), forwards, atol=1e-4)


def test_the_oldest_items_fall_off_at_the_limit_of_tokens(make: Make) -> None:
    model = make(max_tokens=8)
    newest = model.score(Queries.of([[5]]))
    np.testing.assert_allclose(model.score(Queries.of([[1, 2, 3, 5]])), newest, rtol=1e-4, atol=1e-5)


def test_scores_are_cosines_over_the_temperature_with_items_as_histories_of_one(make: Make) -> None:
    model = make().eval()
    with torch.no_grad():
        states = [model.encoder(model._read(torch.tensor([row])))[0, 0] for row in ([3, 8], [4])]
        expected = functional.cosine_similarity(states[0], states[1], dim=0) / 0.05
    assert model.score(Queries.of([[3, 8]]))[0, 4] == pytest.approx(float(expected), rel=1e-3)


def test_item_vectors_are_constant_in_an_epoch_and_stay_in_the_second_stage(make: Make, world: Dataset) -> None:
    model, seen = make(), list[torch.Tensor]()
    joint = Joint(model, Aligner(Aligner.Config(), 0, 0))
    own = model.losses

    def told(*given: Any) -> Any:
        seen.append(model.matrix.clone())
        return own(*given)

    model.losses = told  # type: ignore[method-assign]
    train, fits = world.split.train, model.config.fit
    epochs = [
        (torch.stack(seen), seen.clear())[0] for _ in fit(joint, model.batches(train, fits), fits, seed=1, device="cpu")
    ]
    assert all(len(each) > 1 and bool((each == each[0]).all()) for each in epochs)
    assert not torch.equal(epochs[0][0], epochs[1][0])
    assert torch.equal(epochs[1][0], epochs[2][0])  # the last epoch is the second stage
    fresh = model._vectors(torch.arange(30)[:, None])
    assert not torch.allclose(fresh, model.matrix, atol=1e-4), "the encoder went on learning"


def test_asking_for_an_epochs_batches_again_makes_no_vectors_anew(make: Make, world: Dataset) -> None:
    """Steps are counted while an epoch runs."""
    model = make()
    batches_of(model, world)
    before = model.matrix
    with torch.no_grad():
        model.encoder.words.add_(torch.randn_like(model.encoder.words))
    batches_of(model, world)
    assert model.matrix is before
    batches_of(model, world, 1)
    assert not torch.equal(model.matrix, before)


def test_fine_tuning_is_the_softmax_over_all_items(make: Make, world: Dataset) -> None:
    model = make().eval()
    batch = batches_of(model, world)[0]
    encoded = model.encode(model.input_embeddings(), batch)
    expected = []
    for history, target in zip(batch.histories, batch.positives.tolist(), strict=True):
        state = model.encoder(model._read(history[None]))[0, 0]
        logits = [functional.cosine_similarity(state, item, dim=0) / 0.05 for item in model.matrix]
        expected.append(torch.stack(logits).logsumexp(0) - logits[target])
    found = model.losses(encoded, batch)["ce"]
    torch.testing.assert_close(found, torch.stack(expected).mean(), rtol=1e-3, atol=1e-4)


def test_targets_are_any_position_and_in_pre_training_of_the_later_half(world: Dataset) -> None:
    train, generator = world.split.train, np.random.default_rng(0)
    drawn = np.stack([drawn_targets(train, generator, 1, later_half=False) for _ in range(300)])
    at = drawn - train.offsets[train.users[drawn[0]]]
    assert (train.users[drawn] == train.users[drawn[0]]).all()
    lengths = train.user_counts[train.users[drawn[0]]]
    assert (at.min(0) == 0).all()
    assert (at.max(0) == lengths - 1).mean() > 0.9
    later = np.stack([drawn_targets(train, generator, 1, later_half=True) for _ in range(300)])
    users = train.users[later[0]]
    assert ((later - train.offsets[users]).min(0) == (train.user_counts[users] - 1) // 2).mean() > 0.9
    assert len(drawn_targets(train, generator, 3, later_half=False)) == 3 * (train.user_counts > 0).sum()


def test_pre_training_contrasts_histories_with_items_and_guesses_hidden_words(make: Make, world: Dataset) -> None:
    model = make(fit={"pretrain_epochs": 1, "epochs": 4})
    batch = batches_of(model, world)[0]
    found = Joint(model, Aligner(Aligner.Config(), 0, 0))(batch)
    assert set(found) == {"contrast", "mlm"}
    states = model.encoder(model._read(batch.histories))[:, 0]
    items = model.encoder(model._read(batch.positives[:, None]))[:, 0]
    goals, total = batch.positives.tolist(), 0.0
    for row, goal in enumerate(goals):
        logits = functional.cosine_similarity(states[row][None], items).div(0.05).double().tolist()
        kept = [logit for n, logit in enumerate(logits) if n == row or goals[n] != goal]
        total += math.log(sum(map(math.exp, kept))) - logits[row]
    assert found["contrast"].item() == pytest.approx(total / len(goals), rel=1e-3)
    assert set(Joint(model, Aligner(Aligner.Config(), 0, 0))(batches_of(model, world, 1)[0])) == {"ce"}
    assert make().masked is None
    assert make(fit={"pretrain_epochs": 1}, mlm_weight=0.0).masked is None
    torch.manual_seed(0)
    once = model.losses(model.encode(model.input_embeddings(), batch), batch)
    twice = make(fit={"pretrain_epochs": 1, "epochs": 4}, mlm_weight=0.2)
    twice.load_state_dict(model.state_dict())
    twice.begin(0)
    model.begin(0)
    hidden = []
    for each in (model, twice):
        torch.manual_seed(0)
        hidden.append(each.losses(each.encode(each.input_embeddings(), batch), batch)["mlm"].item())
    assert hidden[1] == pytest.approx(2 * hidden[0])
    assert once.keys() == {"ce"}, "the last batches that were asked for are of the fine-tuning"


def test_masked_words_hide_fifteen_in_a_hundred_and_most_of_them_behind_the_mask() -> None:
    torch.manual_seed(0)
    ids = torch.full((40, 60), 9)
    shown: list[torch.Tensor] = []

    class Told(torch.nn.Module):
        word_table = torch.randn(50, 8)

        def forward(self, read: Any) -> torch.Tensor:
            shown.append(read.ids)
            return torch.randn(*read.ids.shape, 8)

    tokens = ItemTokens(ids[:, 1:], torch.ones(40, 59, dtype=torch.int64))
    read = sequences(torch.arange(40)[:, None], tokens, 1, 0, 60)
    loss = MaskedWords(8)(Told(), read, 2)
    assert loss.item() > 0
    masked, changed = (shown[0] == 2).float().mean(), (shown[0] != read.ids).float().mean()
    assert 0.10 < float(masked) < 0.14
    assert 0.12 < float(changed) < 0.15
    assert bool((shown[0][:, 0] == 1).all())


@pytest.mark.parametrize("family", ["bert", "longformer"])
def test_a_checkpoint_is_the_encoder_and_learns(family: str, world: Dataset, make: Make, tmp_path: Path) -> None:
    folder = tiny_encoder(tmp_path / "encoder")
    if family == "longformer":
        from transformers import LongformerConfig, LongformerModel

        config = LongformerConfig(
            vocab_size=120, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
            attention_window=8, max_position_embeddings=80, pad_token_id=0,
        )  # fmt: skip
        LongformerModel(config).save_pretrained(folder)
    options = {k: SMALL[k] for k in ("max_history", "max_tokens")}
    seed_all(4)
    config = RecformerConfig.model_validate({**options, "checkpoint": str(folder), "fit": FIT})
    model = Recformer(config, world.split.train)
    log = model.fit(
        Fitting(
            world.split.train, catalogue=world.catalogue, loop=lambda batches, config: looped(model, batches, config)
        )
    )
    assert log[-1] < log[0]
    again = Recformer(config, world.split.train)
    again.load_state_dict(trainable_state(model))
    queries = Queries.of([[1, 2, 3], []])
    assert np.array_equal(again.score(queries), model.score(queries))
    with pytest.raises(ConfigError, match=r"backbone\.max_tokens = 500"):
        Recformer(config.model_copy(update={"max_tokens": 500}), world.split.train)


def looped(model: Recformer, batches: Any, config: Any) -> Any:
    joint = Joint(model, Aligner(Aligner.Config(), 0, 0))
    return [sum(epoch.losses.values()) for epoch in fit(joint, batches, config, seed=1, device="cpu")]


def test_an_item_that_comes_later_is_its_words(make: Make, world: Dataset) -> None:
    model = make()
    line = world.catalogue.items[3:4]
    lines = pl.concat([line, line.with_columns(title=pl.lit("qzx qzy"), categories=pl.lit(None, pl.String))])
    added = AddedItems(2, Fitting(world.split.train), Catalogue(lines))
    grown = model.extended(added)
    assert grown is not None
    torch.testing.assert_close(grown.item_embeddings()[30], model.item_embeddings()[3])
    assert model.heard(added).tolist() == [True, False]
    assert model.extended(AddedItems(1, Fitting(world.split.train))) is None


def test_without_the_catalogue_the_error_says_what_is_read(world: Dataset) -> None:
    model = Recformer(RecformerConfig.model_validate(SMALL), world.split.train)
    with pytest.raises(ConfigError, match="reads the catalogue's attributes"):
        model.start(world.split.train, None)
    with pytest.raises(ConfigError, match="num_heads = 3"):
        build(RecformerConfig, SMALL | {"num_heads": 3})
