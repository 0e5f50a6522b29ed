"""LC-Rec: questions and answers word by word, the loss by a plain model, what is drawn, and what cannot come out."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.llm.word_rankers import ITEMS, USERS, inputs, plain_loss

from interlingua.config import FitConfig
from interlingua.contracts.ranker import Profiles, RankerInputs
from interlingua.data.interactions import Interactions
from interlingua.data.queries import PAD, Queries
from interlingua.errors import ConfigError, DataError
from interlingua.injection.code_tasks import ENDING, WORDINGS
from interlingua.lm.adapters import LoraOptions
from interlingua.lm.code_trie import SKIPPED
from interlingua.rankers.lc_rec import TASKS, LcRec, LcRecConfig
from interlingua.training.loop import fit_best

CODES = torch.stack([torch.arange(ITEMS) // 3, torch.arange(ITEMS) % 3], dim=1)
SAID: dict[str, Any] = {
    "item_codes": CODES,
    "categories": ["drama" if item % 2 else "comedy, crime" for item in range(ITEMS)],
    "descriptions": ["a film  about\na robot", *[None] * (ITEMS - 1)],
}


def words() -> RankerInputs:
    """Liked events of all users, with codes, categories and one description."""
    return replace(inputs(), **SAID)


def make(folder: Any, given: RankerInputs | None = None, **options: Any) -> LcRec:
    torch.manual_seed(1)
    fit = FitConfig(learning_rate=5e-3, batch_size=8, epochs=2)
    config = LcRecConfig(model=folder, **({"history_length": 4, "fit": fit} | options))
    return LcRec(config, words() if given is None else given).eval()


def rows_of(ranker: LcRec, seed: int = 0) -> list[tuple[int, int, int, list[int]]]:
    """(wording, user, item, history) of every row of an epoch."""
    found = []
    for batch in ranker.batches(0, np.random.default_rng(seed)):
        assert batch.histories is not None
        assert batch.wordings is not None
        lists = batch.histories.tolist()
        found += zip(batch.wordings.tolist(), batch.users.tolist(), batch.positives.tolist(), lists, strict=True)
    return found


def spelled(ranker: LcRec, ids: list[int]) -> str:
    """Text of tokens, new ones as ``<level:code>``."""
    first, sizes = ranker.tokens.first, [int(CODES[:, level].max()) + 2 for level in range(2)]
    names = [f"<{level}:{code}>" for level in range(2) for code in range(sizes[level])]
    out = ""
    for token in ids:
        out += names[token - first] if token >= first else ranker.lm.tokenizer.decode([token])
    return out


def test_every_question_and_answer_is_what_its_wording_says(folder: Any) -> None:
    ranker = make(folder)
    asked, history = ranker.tasks, [PAD, 4, 7]
    title = " ".join(ranker.inputs.titles[0].split())
    codes = {0: "<0:0><1:0>", 4: "<0:1><1:1>", 7: "<0:2><1:1>"}
    titles = ", ".join(f'"{" ".join(ranker.inputs.titles[item].split())}"' for item in (4, 7))
    slots = {
        " {history}": f"{codes[4]},{codes[7]}", "{history}": f"{codes[4]},{codes[7]}", " {item}": codes[0],
        "{titles}": titles, "{title}": title, "{text}": "a film about a robot", "{wish}": "comedy, crime",
        "{noun}": "movie", "{past}": "watched", "{verb}": "watch",
    }  # fmt: skip
    answers = {
        "codes": codes[0], "title": f" {title}</s>", "text": " a film about a robot</s>",
        "title and text": f" {title}\na film about a robot</s>", "likes": " comedy, crime, drama</s>",
    }  # fmt: skip
    for number, wording in enumerate(WORDINGS):
        text = wording.asks
        for slot, value in slots.items():
            text = text.replace(slot, value)
        assert spelled(ranker, asked.question(number, 0, history, 500)) == text + ENDING, wording
        assert spelled(ranker, asked.answer(number, 0, 0, history)) == answers[wording.answers], wording
    assert WORDINGS[0].task == "next"
    assert {wording.task for wording in WORDINGS} == set(TASKS)


def test_titles_and_texts_are_cut(folder: Any) -> None:
    asked = make(folder, max_title_tokens=2, max_text_tokens=3).tasks
    number = next(n for n, each in enumerate(WORDINGS) if each.answers == "title and text")
    title, text = asked._words(f" {asked._title(0)}")[:2], asked._words("\na film about a robot")[:3]
    assert asked.answer(number, 0, 0, []) == [*title, *text, asked.lm.eos_token_id]


def test_the_oldest_items_are_left_out_where_there_is_no_room(folder: Any) -> None:
    asked = make(folder).tasks
    kept = [asked.question(0, PAD, history, 500) for history in ([1, 2, 3, 4], [2, 3, 4], [3, 4], [4], [])]
    assert len({len(each) for each in kept}) == 5
    for room in range(len(kept[-1]), len(kept[0]) + 1):
        fitting = next(each for each in kept if len(each) <= room)
        assert asked.question(0, PAD, [1, 2, 3, 4], room) == fitting
    assert asked.question(0, PAD, [1], 3) == kept[-1][-3:]
    assert asked.question(0, PAD, [1], 0) == []


def test_the_loss_is_the_plain_models_mean_over_the_answers_tokens(folder: Any) -> None:
    ranker = make(folder)
    batch = next(iter(ranker.batches(0, np.random.default_rng(3))))
    assert batch.histories is not None
    assert batch.wordings is not None
    sums, counted = Counter[str](), 0
    with torch.no_grad():
        losses = {task: float(value) for task, value in ranker(batch).items()}
        for row, number in enumerate(batch.wordings.tolist()):
            item, history = int(batch.positives[row]), batch.histories[row].tolist()
            answer = ranker.tasks.answer(number, int(batch.users[row]), item, history)
            ids = [*ranker.tasks.question(number, item, history, 400), *answer]
            logits = ranker.lm.logits(ranker.lm.forward(ranker.lm.embed(torch.tensor([ids]))).states)[0]
            steps = logits.log_softmax(-1)[torch.arange(len(ids) - 1), torch.tensor(ids[1:])]
            sums[WORDINGS[number].task] -= float(steps[-len(answer) :].sum())
            counted += len(answer)
    assert len(losses) > 2
    assert losses == pytest.approx({task: total / counted for task, total in sums.items()}, rel=1e-4)


def test_words_alone_cost_what_transformers_says_but_for_the_new_tokens(folder: Any) -> None:
    """Codes -> title by hand: the answer has words only, so its loss is that of the plain model and the new logits."""
    ranker = make(folder, tune="none")
    with torch.no_grad():
        assert ranker.tokens.outputs is not None
        ranker.tokens.outputs.fill_(0.0)
        ranker.tokens.inputs.copy_(ranker.lm.embed(torch.tensor([7])))  # every code reads as one word
    number = next(n for n, each in enumerate(WORDINGS) if each.answers == "title" and each.task == "codes-to-words")
    question, answer = ranker.tasks.question(number, 1, [], 400), ranker.tasks.answer(number, 0, 1, [])
    plain = [7 if token >= ranker.tokens.first else token for token in question]
    with torch.no_grad():
        states = ranker.lm.forward(ranker.lm.embed(torch.tensor([question + answer]))).states[0, len(question) - 1 : -1]
        logits = ranker.lm.products(states)
        more = (logits.logsumexp(-1).exp() + ranker.tokens.count).log() - logits.logsumexp(-1)
        found = -float(ranker.lm.logits(states).log_softmax(-1)[torch.arange(len(answer)), torch.tensor(answer)].sum())
    expected, _ = plain_loss(ranker.lm, plain + answer, len(answer))
    assert found == pytest.approx(expected + float(more.sum()), rel=1e-4)


def test_an_epoch_has_every_row_of_every_task_once(folder: Any) -> None:
    ranker = make(folder)
    train, found = ranker.inputs.train, rows_of(ranker)
    events = len(train) - USERS
    counts = Counter(WORDINGS[number].task for number, *_ in found)
    assert counts == {
        "next": events, "mixed": events, "words-to-codes": ITEMS, "codes-to-words": ITEMS, "intention": USERS,
        "preference": USERS,
    }  # fmt: skip
    own = [train.items[train.offsets[user] : train.offsets[user + 1]].tolist() for user in range(USERS)]
    pairs = Counter()
    for number, user, item, history in found:
        real = [each for each in history if each != PAD]
        task = WORDINGS[number].task
        if task in ("next", "mixed", "intention"):
            stop = own[user].index(item)
            assert real == own[user][max(0, stop - 4) : stop]  # what came before it, and nothing else
            pairs[task, user, item] += 1
            assert task != "intention" or stop == len(own[user]) - 1
        elif task == "preference":
            assert real == own[user][-4:]
        else:
            assert real == []
    assert set(pairs.values()) == {1}
    assert {number for number, *_ in found} == set(range(len(WORDINGS)))
    assert rows_of(ranker, 1) != found


def test_even_tasks_have_equally_many_rows_and_left_out_ones_none(folder: Any) -> None:
    ranker = make(folder, mix="even", tasks=["next", "preference", "words-to-codes"])
    counts = Counter(WORDINGS[number].task for number, *_ in rows_of(ranker))
    total = len(ranker.inputs.train) - USERS + USERS + ITEMS
    assert counts == dict.fromkeys(("next", "preference", "words-to-codes"), -(-total // 3))


def test_items_without_words_are_asked_for_by_title_and_nothing_is_made_up(
    folder: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    ranker = make(folder, replace(words(), categories=None, descriptions=[None, "one text", *[None] * (ITEMS - 2)]))
    for number, _, item, _ in rows_of(ranker):
        assert item == 1 or not WORDINGS[number].needs
    assert "nothing to ask for preference" in capsys.readouterr().err
    bare = make(folder, replace(words(), categories=None, descriptions=None))
    assert {WORDINGS[number].task for number, *_ in rows_of(bare)} == set(TASKS) - {"intention", "preference"}


def test_profiles_are_wishes_and_likes_and_no_question_tells_a_users_own(folder: Any) -> None:
    said = Profiles([f"wish {item}" for item in range(ITEMS)], [f"secret {user}" for user in range(USERS)])
    ranker = make(folder, replace(words(), profiles=said), profiles=str(folder))
    assert LcRec.reads_profiles(ranker.config) == str(folder)
    tasks = Counter()
    for number, user, item, history in rows_of(ranker):
        question = spelled(ranker, ranker.tasks.question(number, item, history, 500))
        answer = spelled(ranker, ranker.tasks.answer(number, user, item, history))
        task = WORDINGS[number].task
        tasks[task] += 1
        assert "secret" not in question
        assert (f'"wish {item}"' in question) == (task == "intention")
        assert (answer == f" secret {user}</s>") == (task == "preference")
    assert tasks["preference"] == USERS


def test_scores_are_exact_with_room_and_found_ones_stay_so_without(folder: Any) -> None:
    queries = Queries.of([np.array([4, 7]), np.array([], int), np.arange(9)], np.array([0, -1, 2]))
    exact = make(folder, beams=None).score(queries)
    np.testing.assert_allclose(make(folder, beams=20).score(queries), exact, rtol=1e-4, atol=1e-3)
    narrow = make(folder, beams=1).score(queries)
    found = narrow > -SKIPPED / 2
    assert (found.sum(1) == 3).all()  # the three items that begin as the best beginning does
    np.testing.assert_allclose(narrow[found], exact[found], rtol=1e-4, atol=1e-3)
    listed = np.array([[3, 1], [0, 11], [5, 5]])
    read = make(folder, beams=1).score(queries, listed)
    np.testing.assert_allclose(read, np.take_along_axis(exact, listed, 1), rtol=1e-4, atol=1e-3)


def test_it_learns_the_next_item(folder: Any) -> None:
    """Each user's next item is the previous one plus one; so says the plain cross-entropy, and so does the search."""
    users = np.repeat(np.arange(USERS), 8)
    items = (np.tile(np.arange(8), USERS) + users) % ITEMS
    train = Interactions.of(np.arange(USERS).astype(str), np.arange(ITEMS).astype(str), users, items)
    fit = FitConfig(learning_rate=1e-2, batch_size=16, epochs=20)
    ranker = make(folder, replace(inputs(train), **SAID), fit=fit, tasks=["next"], lora=LoraOptions(rank=4))
    log = fit_best(ranker, ranker.batches, fit, seed=1, device="cpu")
    losses = [record["losses"]["next"] for record in log.epochs]
    assert losses[-1] < 0.5 * losses[0]
    queries = Queries.of([np.arange(item - 3, item + 1) % ITEMS for item in range(ITEMS)], np.full(ITEMS, -1))
    best = ranker.score(queries).argmax(1)
    assert (best == (np.arange(ITEMS) + 1) % ITEMS).mean() > 0.6  # 1 of 12 by chance


def test_later_items_have_codes_and_what_training_never_saw_is_one_token(folder: Any) -> None:
    ranker = make(
        folder, replace(words(), item_codes=torch.cat([CODES[:-2], torch.tensor([[99, 1], [2, 50]])]), added=2)
    )
    scores = ranker.score(Queries.of([np.array([ITEMS - 1, 2])], np.array([-1])))
    assert np.isfinite(scores).all()
    asked_alone = {item for number, _, item, _ in rows_of(ranker) if WORDINGS[number].task == "words-to-codes"}
    assert asked_alone == set(range(ITEMS - 2))  # what came later was not trained on


def test_what_cannot_be_is_refused_and_a_reconstruction_says_so(folder: Any) -> None:
    with pytest.raises(ConfigError, match=r"choose the aligner rq-vae"):
        make(folder, inputs())
    alone = Interactions.of(np.arange(3).astype(str), np.arange(ITEMS).astype(str), np.arange(3), np.arange(3))
    with pytest.raises(DataError, match="no history of two events"):
        rows_of(make(folder, replace(inputs(alone), **SAID)))
    with pytest.raises(ValueError, match=r"leaves out 'next'"):
        LcRecConfig(tasks=["mixed"])
    assert LcRec.needs(LcRecConfig()) == {"item_codes"}
    assert "reconstruction" in LcRec.caveats(LcRecConfig())[0]
    assert LcRec.caveats(LcRecConfig(tasks=["next"])) == LcRec.caveats(LcRecConfig(profiles="p")) == []
