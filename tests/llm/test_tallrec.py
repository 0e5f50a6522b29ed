"""TALLRec: its loss and score against the plain model, its two lists, and a run on a user's own ratings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from tests.llm.word_rankers import ITEMS, inputs, plain_loss, rated, tiny_folder

import interlingua
from interlingua.config import FitConfig
from interlingua.data.opinions import last_opinions
from interlingua.data.queries import PAD, Queries
from interlingua.errors import ConfigError, DataError
from interlingua.lm import question
from interlingua.lm.adapters import LoraOptions
from interlingua.rankers.tallrec import TallRec, TallRecConfig
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.testing.tiny_models import TITLES
from interlingua.training.loop import fit_best, seed_all
from interlingua.training.opinions import opinion_batches, questions

peft = pytest.importorskip("peft")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_folder(tmp_path_factory.mktemp("lm"))


def make(folder: str, **options: object) -> TallRec:
    seed_all(2)
    fit = FitConfig(learning_rate=2e-2, batch_size=6, epochs=2, steps_per_epoch=2)
    config = TallRecConfig.model_validate(
        {"model": folder, "labels": "data", "history_length": 4, "fit": fit} | options
    )
    return TallRec(config, inputs()).eval()


def text_of(ranker: TallRec, liked: list[int], disliked: list[int], item: int, answer: str) -> list[int]:
    """The ids of one question with its answer, put together by hand."""
    prompt = ranker.question.before.assemble(
        np.array([liked or [PAD]]), further={"disliked": np.array([disliked or [PAD]])}
    )
    middle, size = ranker.question.before.target_ids(np.array([item]), eos=False)
    words = ranker.lm.tokenize(f" {answer}")
    return [*prompt.input_ids[0].tolist(), *middle[0, : size[0]].tolist(), *words]


@pytest.mark.parametrize("loss", ["answer", "whole"])
def test_the_loss_is_the_plain_model_s_on_the_tokens_that_count(folder: str, loss: str) -> None:
    ranker = make(folder, loss=loss, lora=LoraOptions())
    batch = next(iter(ranker.batches(0, np.random.default_rng(0))))
    sums, count = 0.0, 0
    for row in range(len(batch)):
        history, labels = batch.histories[row].tolist(), batch.history_labels[row].tolist()
        liked = [i for i, good in zip(history, labels, strict=True) if good and i != PAD]
        disliked = [i for i, good in zip(history, labels, strict=True) if not good and i != PAD]
        word = "Yes" if batch.labels[row] else "No"
        ids = text_of(ranker, liked, disliked, int(batch.positives[row]), word)
        ids += [*ranker.lm.tokenize("."), ranker.lm.eos_token_id]
        tail = len(ranker.lm.tokenize(f" {word}")) + len(ranker.lm.tokenize(".")) + 1
        part, number = plain_loss(ranker.lm, ids, tail if loss == "answer" else len(ids))
        sums, count = sums + part, count + number
    assert float(ranker(batch)["answer"].detach()) == pytest.approx(sums / count, rel=1e-4)


def test_the_prompt_says_both_lists_the_item_and_the_question(folder: str) -> None:
    ranker = make(folder)
    said = ranker.lm.tokenizer.decode(text_of(ranker, [0, 3], [1], 4, "Yes"))
    assert 'Liked: "The Matrix (1999)", "Heat"\nNot liked: "Toy Story (1995)"\n' in said
    assert said.endswith('Will the user like the movie "Heat (1995)"?\nAnswer: Yes')
    assert "Not liked: none" in ranker.lm.tokenizer.decode(text_of(ranker, [0], [], 4, "No"))


def test_the_score_is_the_difference_of_both_logits(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(question, "YES", "user")  # words that this small tokenizer has whole
    monkeypatch.setattr(question, "NO", "next")
    ranker = make(folder, labels="sampled")
    yes, no = ranker.question.words
    assert len(yes) == len(no) == 1
    fit_best(ranker, ranker.batches, ranker.config.fit, seed=1, device="cpu")
    items = np.array([[4, 8, 11], [0, 7, 2]])
    queries = Queries.of([[0, 3], []], np.array([0, -1]))
    got = ranker.score(queries, items)
    for row in range(2):
        for column in range(3):
            ids = text_of(ranker, queries.history(row).tolist(), [], int(items[row, column]), "user")[:-1]
            with torch.no_grad():
                logits = ranker.lm.model(inputs_embeds=ranker.lm.embed(torch.tensor([ids]))).logits[0, -1]
            assert got[row, column] == pytest.approx(float(logits[yes[0]] - logits[no[0]]), abs=2e-4)


def test_untrained_adapters_score_as_the_base_model_and_trained_ones_do_not(folder: str) -> None:
    ranker = make(folder)
    queries, items = Queries.of([[0, 3, 5]], np.array([1])), np.array([[4, 8, 11]])
    before = ranker.score(queries, items)
    fresh = make(folder, lora=LoraOptions(rank=3))  # other adapters, which change nothing either
    assert np.array_equal(fresh.score(queries, items), before)
    fit_best(ranker, ranker.batches, ranker.config.fit, seed=1, device="cpu")
    assert not np.allclose(ranker.score(queries, items), before, atol=1e-3)


def test_questions_are_labelled_events_after_those_before_them() -> None:
    events = rated()
    batches = list(opinion_batches(events, questions(events), 3, 10, np.random.default_rng(0)))
    assert sum(len(batch) for batch in batches) == len(events) - events.num_users
    for batch in batches:
        for row in range(len(batch)):
            user, item = int(batch.users[row]), int(batch.positives[row])
            own = events.history(user).tolist()
            at = own.index(item)
            assert batch.histories[row][batch.histories[row] != PAD].tolist() == own[max(0, at - 3) : at]
            assert bool(batch.labels[row]) == (at % 3 != 1)
    with pytest.raises(DataError, match="two training events"):
        questions(events.filter(np.zeros(len(events), bool)))


def test_few_shots_are_the_same_in_every_epoch_and_for_the_same_seed(folder: str) -> None:
    def seen(ranker: TallRec, epoch: int) -> list[tuple[int, int]]:
        batches = ranker.batches(epoch, np.random.default_rng(epoch))
        return sorted((int(u), int(i)) for b in batches for u, i in zip(b.users, b.positives, strict=True))

    one, two = make(folder, samples=9), make(folder, samples=9)
    assert len(seen(one, 0)) == 9
    assert seen(one, 0) == seen(one, 1) == seen(two, 0)


def test_dislikes_stand_at_their_time_and_only_known_users_have_some() -> None:
    events = rated()
    queries = events.liked().queries(np.array([0, 2]))
    liked, disliked = last_opinions(queries, events, 4)
    own = events.history(0).tolist()
    assert [i for i in liked[0] if i != PAD] == [i for at, i in enumerate(own) if at >= 4 and at % 3 != 1]
    assert [i for i in disliked[0] if i != PAD] == [i for at, i in enumerate(own) if at >= 4 and at % 3 == 1]
    assert ((liked != PAD) ^ (disliked != PAD)).all()
    unknown = Queries.of([[1, 2]], np.array([-1]))
    liked, disliked = last_opinions(unknown, events, 4)
    assert liked[0].tolist() == [PAD, PAD, 1, 2]
    assert (disliked == PAD).all()
    timeless = Queries.of([[1, 2]], np.array([0]))  # dislikes are older then
    assert last_opinions(timeless, events, 3)[1][0, 1:].tolist() == [PAD, PAD]


def test_what_cannot_be_asked_is_refused(folder: str, tmp_path: Path) -> None:
    unlabelled = inputs(rated().filter(np.ones(8 * 14, bool)))
    with pytest.raises(DataError, match=r"no labels.*data\.label\.at_least"):
        TallRec(TallRecConfig(model=folder, labels="data"), unlabelled)
    path = tmp_path / "mine.txt"
    path.write_text("history: {title}\nseparator: ,\n---\nLiked: {history}. Well?")
    with pytest.raises(ConfigError, match="asks about no item: its body needs the slot"):
        make(folder, template=str(path))
    path.write_text("history: {title}\ntarget: {title}\nseparator: ,\n---\nDo you like {target}, after {history}?")
    with pytest.raises(ConfigError, match="lists belong before"):
        make(folder, template=str(path))
    with pytest.raises(ConfigError, match="orders given candidates"):
        make(folder).score(Queries.of([[1]]))


def own_ratings(folder: str, place: Path, **ranker: object) -> dict[str, object]:
    """A recipe on a user's own two tables, in which red things are liked and dull ones are not."""
    rng = np.random.default_rng(0)
    names = [f"{'red' if i % 2 else 'dull'} {i}" for i in range(24)]
    rows = [(f"u{u}", f"i{i}", 5 if i % 2 else 1, t) for u in range(24) for t, i in enumerate(rng.permutation(24)[:10])]
    pl.DataFrame(rows, ["user", "item", "rating", "time"], orient="row").write_csv(place / "ratings.csv")
    pl.DataFrame({"item": [f"i{i}" for i in range(24)], "title": names}).write_csv(place / "items.csv")
    return {
        "data": {
            "name": str(place / "ratings.csv"), "options": {"items": str(place / "items.csv")},
            "label": {"at_least": 4.0}, "split": {"name": "ratio", "by": "time", "valid": 0.1, "test": 0.2},
        },
        "backbone": {"name": "pop"},
        "ranker": {
            "name": "tallrec", "model": folder, "labels": "data", "history_length": 1, "num_layers": 1,
            "lora": {"modules": "all"}, "fit": {"learning_rate": 0.02, "batch_size": 16, "epochs": 1},
        } | ranker,
        "evaluate": {"protocols": ["labelled"], "retrieve": 5, "max_users": 8},
    }  # fmt: skip


def test_a_run_on_a_users_own_ratings_is_measured_and_opens_again(folder: str, tmp_path: Path) -> None:
    values = own_ratings(folder, tmp_path, samples=16)
    done = stages.run(recipes.resolve(values, "mine"), out=tmp_path / "runs", seed=1, device="cpu")
    assert 0 <= done.metrics["labelled"]["auc"] <= 1
    card = done.done["rank"].card["tuned"]
    assert (card["tensors"], len(card["sha256"])) == (14, 64)
    found = interlingua.load(done.path).recommend(history=["i1", "i3"], k=3)
    assert len(found) == 3


@pytest.mark.slow
def test_a_run_learns_from_titles_what_is_liked(folder: str, tmp_path: Path) -> None:
    fit = {"learning_rate": 0.02, "batch_size": 16, "epochs": 8}
    values = own_ratings(folder, tmp_path, fit=fit)
    done = stages.run(recipes.resolve(values, "mine"), out=tmp_path / "runs", seed=1, device="cpu")
    assert done.metrics["labelled"]["auc"] > 0.9


@pytest.mark.models
def test_yes_and_no_are_single_tokens_of_the_usual_models() -> None:
    from interlingua.lm.load import load

    lm = load("smollm2-135m")
    asked = question.Question("tallrec", lm, TITLES, inputs().domain, None)
    assert [len(word) for word in asked.words] == [1, 1]
    assert len(TITLES) == ITEMS
