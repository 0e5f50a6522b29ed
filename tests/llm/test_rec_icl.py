"""RecICL: demonstrations are older training events, only the last block's label is learned, and their labels count."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.llm.vector_rankers import ITEMS, inputs

import interlingua
from interlingua.config import FitConfig
from interlingua.contracts.fitting import Fitting
from interlingua.data.interactions import Interactions
from interlingua.data.queries import PAD, Queries
from interlingua.errors import ConfigError
from interlingua.lm.adapters import LoraOptions
from interlingua.rankers.rec_icl import Block, RecIcl, RecIclConfig, demonstrations
from interlingua.training.loop import fit_best
from interlingua.training.opinions import opinion_batches, with_drawn
from interlingua.training.opinions import questions as samples

USERS = 20


def contrary(likers: int = 2) -> Interactions:
    """Even users like everything, odd ones nothing: only a demonstration's label says which of the two somebody is."""
    users, items = np.repeat(np.arange(USERS), ITEMS - 2), np.tile(np.arange(ITEMS - 2), USERS)
    plain = Interactions.of(np.arange(USERS).astype(str), np.arange(ITEMS).astype(str), users, items)
    return replace(plain, labels=plain.users % likers == 0).liked()


def make(folder, train=None, seed=1, **options):
    torch.manual_seed(seed)
    fit = FitConfig(learning_rate=1e-2, batch_size=8, epochs=2, steps_per_epoch=8, metric="auc")
    options = {"history_length": 2, "demonstrations": 2, "fit": fit, "lora": LoraOptions(rank=4), **options}
    return RecIcl(RecIclConfig(model=folder, **options), inputs(train=train or contrary()))


def questions(count=4):
    """Users without a history, so that the demonstrations alone tell them apart, and two items each."""
    return Queries.of([[]] * count, np.arange(count)), np.tile([ITEMS - 2, ITEMS - 1], (count, 1))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=12), st.integers(0, 5), st.integers(1, 4))
def test_no_demonstration_and_no_history_is_newer_than_its_question(events, count, length):
    items = np.array([1000 * at + item for at, (item, _) in enumerate(events)], np.int64)  # the item says the place
    labels = np.array([label for _, label in events], bool)
    found = demonstrations(items, labels, count, length)
    assert [block.item for block in found] == items[max(0, len(items) - count) :].tolist()
    for block in found:
        place = block.item // 1000
        assert block.label == labels[place]
        assert block.history.tolist() == items[:place][labels[:place]][-length:].tolist()


def test_training_prompts_hold_events_before_the_one_in_question(folder):
    ranker = make(folder)
    for batch in ranker.batches(0, np.random.default_rng(0)):
        for row, item in zip(batch.histories.numpy(), batch.positives.tolist(), strict=True):
            assert (row[row != PAD] < item).all()  # in this world the item is its place


def test_demonstrations_of_a_question_are_the_users_own_training_events(folder):
    ranker = make(folder)
    other = np.array([0, 5])  # a known user's training events serve, whatever else is given
    assert [(block.item, block.label) for block in ranker.shown(0, other)] == [(ITEMS - 4, True), (ITEMS - 3, True)]
    assert [(block.item, block.label) for block in ranker.shown(1, other)] == [(ITEMS - 4, False), (ITEMS - 3, False)]
    text = ranker.text([*ranker.shown(1, other), Block(np.array([0]), 1, None)])
    assert text.count("#Answer: No") == 2
    assert text.endswith("#Answer:")
    assert text.count("#Question") == 3
    long = make(folder, demonstrations=8, window=8)
    kept = long._fitting([*long.shown(0, other) * 8, Block(np.array([0]), 1, None)])
    assert 0 < len(long.lm.tokenize(kept)) <= long.lm.max_positions
    assert kept.endswith(ranker.text([Block(np.array([0]), 1, None)]).rpartition("#Question")[2])


@pytest.mark.parametrize("user", [-1, 3])
def test_a_history_gives_demonstrations_to_who_has_no_training_events(folder, user):
    every = contrary().labelled
    ranker = make(folder, train=every.filter(every.users != 3).liked())
    found = ranker.shown(user, np.array([4, 2, 7, 1]))
    assert [(block.history.tolist(), block.item, block.label) for block in found] == [
        ([4, 2], 7, True),
        ([2, 7], 1, True),
    ]
    assert ranker.shown(user, np.array([], np.int64)) == []
    assert [block.item for block in make(folder, window=1).shown(-1, np.array([4, 2]))] == [2]
    bare = make(folder, demonstrations=0)
    items = np.array([[ITEMS - 2, ITEMS - 1]])
    asked = Queries.of([[4, 2, 7, 1]], np.array([user]))
    assert not np.allclose(ranker.score(asked, items), bare.score(asked, items))
    shuffled = make(folder, demonstration_labels="shuffled", demonstrations=6, history_length=6)
    said = [block.label for block in shuffled.shown(-1, np.arange(6))]
    assert not all(said)
    assert said == [block.label for block in shuffled.shown(-1, np.arange(6))]


def test_the_prompt_holds_as_many_demonstrations_after_new_events(folder, tmp_path, monkeypatch):
    """In a run, by add_events and by a history."""
    sections = {
        "data": {"name": "planted", "options": {"num_users": 30, "num_items": 20},
                 "split": {"name": "ratio", "by": "time"}},
        "backbone": {"name": "pop"}, "evaluate": {"protocols": ["sampled-5"], "max_users": 2},
        "ranker": {"name": "rec-icl", "model": folder, "demonstrations": 2, "history_length": 3, "max_title_words": 2,
                   "fit": {"epochs": 1, "steps_per_epoch": 1, "batch_size": 2}},
    }  # fmt: skip
    made = interlingua.load(interlingua.run(sections, out=tmp_path / "runs", device="cpu"), store=tmp_path / "s.db")
    prompts = []
    text = RecIcl.text
    monkeypatch.setattr(RecIcl, "text", lambda self, blocks: prompts.append(text(self, blocks)) or prompts[-1])

    def answers():
        assert prompts
        found = {(prompt.count("#Example"), prompt.count("#Answer: Yes")) for prompt in prompts}
        prompts.clear()
        return found

    user, item = str(made.train.user_ids[0]), str(made.train.item_ids[3])
    made.recommend(user, k=3)
    assert answers() == {(3, 1)}  # an event, and the item drawn behind it
    made.add_events({"user_id": user, "item_id": item})
    made.recommend(user, k=3)
    assert answers() == {(3, 1)}
    made.recommend(history=[str(each) for each in made.train.item_ids[:4]], k=3)
    assert answers() == {(3, 1)}


def test_only_the_last_blocks_label_is_in_the_loss(folder):
    """The loss is that of the score, whatever the demonstrations say; it depends on them through the prompt alone."""
    ranker = make(folder).eval()
    batch = next(iter(ranker.batches(0, np.random.default_rng(0))))
    with torch.no_grad():
        one, other = (float(ranker(replace(batch, labels=torch.full_like(batch.labels, v)))["yes"]) for v in (0.0, 1.0))
        blocks = []
        for row, said, item in zip(batch.histories, batch.history_labels, batch.positives.tolist(), strict=True):
            items, labels = row[row != PAD].numpy(), said[row != PAD].numpy() > 0
            blocks.append([*demonstrations(items, labels, 2, 2), Block(items[labels][-2:], item, None)])
        embeds, mask = ranker.embedded(blocks)
        states = ranker.lm.forward(embeds[:1, : int(mask[0].sum())], mask[:1, : int(mask[0].sum())]).states[:, -1]
        first = float(ranker.lm.logits(states)[0, ranker.answers.yes])
        alone = replace(
            batch, users=batch.users[:1], positives=batch.positives[:1], histories=batch.histories[:1],
            history_labels=batch.history_labels[:1], labels=torch.ones(1),
        )  # fmt: skip
        assert float(ranker(alone)["yes"]) == pytest.approx(math.log1p(math.exp(-first)), rel=1e-3)
    assert one != other


def test_shuffled_labels_of_demonstrations_hurt(folder, tmp_path):
    """Blocks without histories, which would tell the same."""
    template = tmp_path / "bare.txt"
    template.write_text("target: {title}\n---\n{target}? ", "utf-8")
    ranker = make(
        folder, template=str(template), fit=FitConfig(learning_rate=1e-2, batch_size=8, epochs=3, steps_per_epoch=15)
    )

    def loop(batches, config):
        return fit_best(ranker, batches, config, seed=1, device="cpu")

    ranker.fit(Fitting(ranker.inputs.train, loop=loop))
    queries, items = questions(USERS)
    liked = np.arange(USERS) % 2 == 0

    def auc():
        scores = ranker.score(queries, items).mean(1)
        good, bad = scores[liked], scores[~liked]
        return float((good[:, None] > bad[None]).mean() + 0.5 * (good[:, None] == bad[None]).mean())

    true = auc()
    ranker.config = ranker.config.model_copy(update={"demonstration_labels": "shuffled"})
    assert true > 0.95
    assert auc() < true - 0.2


def test_options_of_the_prompt(folder, tmp_path):
    """model, lora, template, demonstrations, window, max_title_words; candidates are needed, labels are not."""
    template = tmp_path / "short.txt"
    template.write_text("history: {title}\ntarget: {title}\nseparator: ;\n---\nAfter {history}: {target}? ", "utf-8")
    queries, items = questions()
    plain = make(folder).score(queries, items)
    for options in (
        {"template": str(template)}, {"demonstrations": 1}, {"window": 1}, {"max_title_words": 1},
        {"demonstration_labels": "shuffled"},
    ):  # fmt: skip
        assert not np.allclose(make(folder, **options).score(queries, items), plain), options
    with pytest.raises(ConfigError, match="retrieve some first"):
        make(folder).score(queries)
    with pytest.raises(ValueError, match="nothing to train"):
        RecIclConfig(tune="none")


def unlabelled(max_item=5) -> Interactions:
    return replace(contrary(), labelled=None).filter(contrary().items < max_item)


def test_an_item_that_the_user_never_had_is_drawn_behind_each_event(folder):
    few = unlabelled()
    drawn = make(folder, train=few).events
    assert drawn.labels.tolist() == [True, False] * (len(drawn) // 2)
    assert drawn.items[drawn.labels].tolist() == few.items.tolist()
    assert (drawn.items[~drawn.labels] >= 5).all()
    assert (np.diff(drawn.users) >= 0).all()


def test_what_stands_before_a_question_tells_nothing_of_a_drawn_answer(folder):
    """Both of a pair have equal histories: no label, item or length there has to do with the answer."""
    few = unlabelled()  # of users 0, 2, ... 18
    few = few.filter((few.users < USERS - 2) | (few.items == 0))  # the last of them has a single event
    users = np.concatenate([few.users, [USERS - 1] * ITEMS])  # who has every item can be given no drawn one
    items = np.concatenate([few.items, np.arange(ITEMS)])
    ranker = make(folder, train=Interactions.of(few.user_ids, few.item_ids, users, items), window=6)
    answers = {}
    for batch in ranker.batches(0, np.random.default_rng(0)):
        pairs = zip(batch.users.tolist(), batch.histories, batch.history_labels, batch.labels.tolist(), strict=True)
        for user, own, said, label in pairs:
            assert own[-1] != PAD
            before = (user, *own[own != PAD].tolist(), *said[own != PAD].tolist())
            answers.setdefault(before, []).append(label)
    assert {tuple(sorted(labels)) for labels in answers.values()} == {(0.0, 1.0)}
    assert len(answers) == 4 * (USERS - 2) // 2  # of five events each but the first


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9))
def test_who_sees_only_labels_and_their_order_cannot_tell_a_drawn_answer(seed, window):
    """Not even a scorer that has learned from the answers themselves: its AUC is one half."""
    generator = np.random.default_rng(seed)
    users, items = generator.integers(0, 8, 60), generator.integers(0, 30, 60)
    events = with_drawn(Interactions.of(np.arange(8).astype(str), np.arange(30).astype(str), users, items))
    rows = []
    for batch in opinion_batches(events, samples(events, True), window, 7, generator, drawn=True):
        for own, said, label in zip(batch.histories, batch.history_labels, batch.labels.tolist(), strict=True):
            rows.append((tuple(said[own != PAD].tolist()), label))
    answers = {seen: [label for other, label in rows if other == seen] for seen, _ in rows}
    scores, labels = np.array([np.mean(answers[seen]) for seen, _ in rows]), np.array([label for _, label in rows])
    good, bad = scores[labels == 1], scores[labels == 0]
    assert len(good) == len(bad) > 40
    assert ((good[:, None] > bad[None]).mean() + 0.5 * (good[:, None] == bad[None]).mean()) == pytest.approx(0.5)


def test_an_item_is_drawn_behind_those_of_a_history_too(folder):
    few, history = unlabelled(), np.array([4, 2, 7])
    ranker = make(folder, train=few, demonstrations=9, history_length=9)
    found = ranker.shown(-1, history)
    assert [block.label for block in found] == [True, False] * 3
    assert [block.item for block in found[::2]] == history.tolist()
    assert not {block.item for block in found[1::2]} & {4, 2, 7}
    assert [block.item for block in found] == [block.item for block in ranker.shown(1, history)]
    assert [block.history.tolist() for block in found[-2:]] == [[4, 2], [4, 2, 7]]
    assert [block.label for block in make(folder, train=few, window=1).shown(-1, history)] == [False]
    everything = make(folder, train=few, demonstrations=2).shown(-1, np.arange(ITEMS))
    assert [(block.item, block.label) for block in everything] == [(ITEMS - 2, True), (ITEMS - 1, True)]
    assert ranker.shown(-1, np.array([], np.int64)) == []
