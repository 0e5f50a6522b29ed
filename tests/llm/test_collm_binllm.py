from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.llm.vector_rankers import ITEMS, asked, inputs

from interlingua.config import FitConfig
from interlingua.contracts.fitting import Fitting
from interlingua.data.interactions import Interactions
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError, DivergedError
from interlingua.lm.adapters import LoraOptions
from interlingua.rankers.binllm import Binllm, BinllmConfig, written_codes
from interlingua.rankers.collm import Collm, CollmConfig
from interlingua.training.loop import fit_best, trainable_state

USERS = 20
KINDS = {"collm": (Collm, CollmConfig), "binllm": (Binllm, BinllmConfig)}


def tastes():
    """Even users like even items: nothing of a title says which, only the vectors do."""
    users, items = np.repeat(np.arange(USERS), ITEMS), np.tile(np.arange(ITEMS), USERS)
    plain = Interactions.of(np.arange(USERS).astype(str), np.arange(ITEMS).astype(str), users, items)
    return replace(plain, labels=(plain.users % 2) == (plain.items % 2)).liked()


def labelled(**changes):
    items = torch.where(torch.arange(ITEMS)[:, None] % 2 == 0, 1.0, -1.0) * torch.tensor([[1.0, 1.0, -1.0, 1.0]])

    def user_embeddings(queries):
        return torch.where(torch.as_tensor(queries.users)[:, None] % 2 == 0, 1.0, -1.0) * torch.ones(1, 4)

    train = tastes()
    given = {
        "train": train, "items": items, "items_from_text": None, "user_embeddings": user_embeddings, "user_dim": 4,
        "cold_items": train.item_counts == 0,
    }  # fmt: skip
    return inputs(**(given | changes))


def make(folder, kind="collm", seed=1, given=None, **options):
    torch.manual_seed(seed)
    cls, config = KINDS[kind]
    fit = FitConfig(learning_rate=1e-2, batch_size=24, epochs=2, metric="auc")
    options = {"history_length": 2, "fit": fit, "lora": LoraOptions(rank=4), **options}
    return cls(config(model=folder, **options), given or labelled())


def job(ranker, validate=None, broken=False):
    """A fit as the stage gives it; ``broken``: the second training diverges."""
    calls = []

    def loop(batches, config):
        calls.append(config)
        if broken and len(calls) == 2:
            with torch.no_grad():
                for parameter in ranker.second():
                    parameter.fill_(math.nan)
            raise DivergedError("training diverged in epoch 1")
        return fit_best(ranker, batches, config, seed=1, device="cpu")

    return Fitting(ranker.inputs.train, loop=loop, validate=validate)


def pairs():
    """Every user's history and two items of either kind."""
    train = tastes()
    histories = [train.history(user)[:3] for user in range(USERS)]
    return Queries.of(histories, np.arange(USERS)), np.tile([4, 5, 6, 7], (USERS, 1))


def auc(ranker, liked=None):
    queries, items = pairs()
    scores = ranker.score(queries, items)
    liked = (np.arange(USERS)[:, None] % 2) == (items % 2) if liked is None else liked
    good, bad = scores[liked], scores[~liked]
    return float((good[:, None] > bad[None]).mean() + 0.5 * (good[:, None] == bad[None]).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_the_cross_entropy_of_yes_alone(folder, kind):
    ranker = make(folder, kind).eval()
    batch = next(iter(ranker.batches(0, np.random.default_rng(0))))
    queries = Queries.of([row[row >= 0].numpy() for row in batch.histories], batch.users.numpy())
    scores = ranker.score(queries, batch.positives[:, None].numpy())[:, 0]
    expected = [
        math.log1p(math.exp(-score)) if label else math.log1p(math.exp(score))
        for score, label in zip(scores, batch.labels.bool().tolist(), strict=True)
    ]
    with torch.no_grad():
        got = float(ranker(batch)["yes"])
        states = ranker.states(queries, batch.positives.numpy())
    assert got == pytest.approx(np.mean(expected), rel=1e-3)
    logits = ranker.lm.logits(states)[:, ranker.answers.yes]
    np.testing.assert_allclose(logits.numpy(), scores, rtol=1e-3, atol=1e-4)


def test_stage_two_of_collm_leaves_the_adapters_bit_for_bit_and_its_vectors_count(folder):
    every = tastes().labelled
    even = replace(every, labels=every.items % 2 == 0, labelled=None).liked()  # liked by all: the item's vector says it
    fit = FitConfig(learning_rate=1e-2, batch_size=24, epochs=3, metric="auc")
    ranker = make(folder, given=labelled(train=even), first_epochs=1, first_learning_rate=1e-4, fit=fit)
    after_first, states = [], {}

    def validate():
        after_first.append({k: v.clone() for k, v in ranker.tuned.state_dict().items()})
        states[len(after_first)] = bool(ranker.says_more)
        return {"auc": float(len(after_first))}

    log = ranker.fit(job(ranker, validate))
    assert states == {1: False, 2: True}
    assert all(torch.equal(after_first[0][name], value) for name, value in ranker.tuned.state_dict().items())
    assert [record["epoch"] for record in log.epochs] == list(range(1, 5))
    assert ranker.earlier_epochs + ranker.config.fit.epochs == 4
    assert all(parameter.requires_grad for parameter in ranker.parameters())
    even_items = np.tile([True, False], (USERS, 2))
    assert auc(ranker, even_items) > 0.95
    ranker.says_more.fill_(False)
    assert auc(ranker, even_items) < 0.7, "words alone do not tell it"
    ranker.says_more.fill_(True)
    with torch.no_grad():  # the same text with the vectors of other items
        ranker.ids.items.copy_(ranker.ids.items.roll(1, 0))
    assert auc(ranker, even_items) < 0.05


def test_stage_one_reads_words_alone(folder):
    ranker = make(folder)
    ranker._train_only("words")
    before = ranker.score(*pairs())
    with torch.no_grad():
        ranker.ids.items.add_(3.0)
    assert np.array_equal(ranker.score(*pairs()), before)
    ranker._train_only("all")
    assert not np.allclose(ranker.score(*pairs()), before)


def test_a_metric_that_fell_to_zero_is_said_as_zero(folder, capsys):
    ranker, found = make(folder), iter([0.7, 0.0])
    ranker.fit(job(ranker, lambda: {"auc": next(found)}))
    assert "the validation part's metric fell from 0.7000 to 0.0000" in capsys.readouterr().err


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("broken", [False, True])
def test_a_stage_two_that_harms_is_taken_back(folder, kind, broken, capsys):
    ranker, scores = make(folder, kind), []

    def validate():
        scores.append(ranker.score(*pairs()))
        return {"auc": 0.7 - 0.1 * len(scores)}

    ranker.fit(job(ranker, validate, broken))
    assert "taken back" in capsys.readouterr().err
    assert np.array_equal(ranker.score(*pairs()), scores[0])
    other = make(folder, kind, seed=2)
    other.load_state_dict({k: v.clone() for k, v in trainable_state(ranker).items()}, strict=False)
    assert np.array_equal(other.eval().score(*pairs()), scores[0])


def test_one_stage_trains_both_at_once_and_each_stage_its_own_rate(folder):
    seen = []

    def loop(batches, config):
        seen.append((config.epochs, config.learning_rate))
        return fit_best(ranker, batches, config, seed=1, device="cpu")

    for options in ({"first_epochs": 3, "first_learning_rate": 0.02}, {"stages": "one"}):
        ranker = make(folder, **options)
        ranker.fit(Fitting(ranker.inputs.train, loop=loop))
    torch.manual_seed(1)  # nothing of the model learns: the vectors alone do
    fit = FitConfig(learning_rate=0.03, batch_size=24, epochs=1)
    ranker = Collm(CollmConfig(model=folder, tune="none", history_length=2, fit=fit), labelled())
    ranker.fit(Fitting(ranker.inputs.train, loop=loop))
    assert seen == [(3, 0.02), (2, 0.01), (2, 0.01), (1, 0.03)]


def test_codes_of_users_are_not_those_of_items_and_text_gives_the_bits_back(folder):
    bits = np.random.default_rng(0).random((5, 32)) < 0.5
    digits = ["".join(f"{int(number):08b}" for number in text.split(".")) for text in written_codes(bits, "decimals")]
    assert digits == written_codes(bits, "bits") == ["".join(map(str, row)) for row in bits.astype(int).tolist()]
    assert written_codes(np.array([[True, False] * 4, [False] * 8]), "bits") == ["10101010", "00000000"]
    assert written_codes(np.array([[True] + [False] * 15 + [True] * 16]), "decimals") == ["128.0.255.255"]
    for codes, expected in (("bits", ("1111", "1101", "0010")), ("decimals", ("240", "208", "32"))):
        ranker = make(folder, "binllm", codes=codes)
        queries, items = pairs()
        assert ranker.user_codes(queries)[0] == expected[0]
        text = ranker.texts(queries, [0], items[0, :1])[0]
        assert f"as a code: {expected[0]}." in text
        assert f"with the code {expected[1]}," in text
        assert ranker.item_codes[5] == expected[2]
    ranker._train_only("words")
    assert "code" not in ranker.texts(queries, [0], items[0, :1])[0]


def test_what_has_no_code_is_asked_about_without_one(folder):
    cold = np.zeros(ITEMS, bool)
    cold[3] = True
    ranker = make(folder, "binllm", given=labelled(cold_items=cold))
    stranger = Queries.of([[]])
    text = ranker.texts(stranger, [0], np.array([3]))[0]
    assert "code" not in text
    assert "nothing yet" in text
    assert "with the code" in ranker.texts(stranger, [0], np.array([2]))[0]


def test_binllm_learns_from_the_codes_in_the_text(folder):
    """All titles are the same, so that nothing but an item's code says whether it is liked."""
    every = tastes().labelled
    even = replace(every, labels=every.items % 2 == 0, labelled=None).liked()
    fit = FitConfig(learning_rate=2e-2, batch_size=24, epochs=2, metric="auc")
    given = labelled(train=even, titles=["Film"] * ITEMS)
    ranker = make(folder, "binllm", given=given, stages="one", fit=fit)
    ranker.fit(job(ranker))
    even_items = np.tile([True, False], (USERS, 2))
    assert auc(ranker, even_items) > 0.95
    ranker.item_codes = [*ranker.item_codes[1:], ranker.item_codes[0]]
    assert auc(ranker, even_items) < 0.05


@pytest.mark.parametrize("more", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_candidates_share_what_stands_before_the_item_and_score_as_asked_alone(folder, kind, more, monkeypatch):
    """Histories of three lengths, five candidates each: the words before the item are read once for a history."""
    ranker = make(folder, kind, history_length=6).eval()
    ranker.fit(job(ranker))
    ranker.says_more.fill_(more)
    queries = Queries.of([[0, 1, 2, 3, 4, 5], [7], [2, 9]], np.array([0, 1, 5]))
    items = np.array([[3, 4, 5, 6, 11], [0, 2, 4, 6, 8], [10, 9, 1, 3, 5]])
    sizes, forward = [], type(ranker.lm).forward

    def noted(lm, embeds, *others, **options):
        sizes.append(embeds.shape[0] * embeds.shape[1])
        return forward(lm, embeds, *others, **options)

    with monkeypatch.context() as inside:
        inside.setattr(type(ranker.lm), "forward", noted)
        got = ranker.score(queries, items)
        shared = sum(sizes)
        sizes.clear()
        alone = np.array([[ranker.score(queries.slice(b, b + 1), items[b : b + 1, c : c + 1])[0, 0]
                           for c in range(5)] for b in range(3)])  # fmt: skip
    np.testing.assert_allclose(got, alone, rtol=1e-4, atol=1e-4)
    assert len(np.unique(got)) > 10, "another item is another answer"
    assert shared < 0.6 * sum(sizes)


@pytest.mark.parametrize("kind", KINDS)
def test_what_it_needs_is_said(folder, kind, tmp_path):
    with pytest.raises(ConfigError, match="user vectors"):
        make(folder, kind, given=labelled(user_embeddings=None))
    with pytest.raises(ConfigError, match="given candidates"):
        make(folder, kind).score(asked())
    path = tmp_path / "plain.txt"
    path.write_text('history: "{title}"\ntarget: "{title}"\n---\nAfter {history}: {target}? ', encoding="utf-8")
    if kind == "collm":
        with pytest.raises(ConfigError, match="no such slot"):
            make(folder, kind, template=str(path))
    else:
        with pytest.raises(ValueError, match="nothing to train"):
            BinllmConfig(model=folder, tune="none")
