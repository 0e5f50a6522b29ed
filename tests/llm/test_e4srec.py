from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.llm.vector_rankers import ITEMS, WIDTH, asked, events, inputs
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from interlingua.config import FitConfig
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError
from interlingua.lm.adapters import LoraOptions
from interlingua.rankers.e4srec import E4srec, E4srecConfig
from interlingua.retrieval.best import best
from interlingua.training.loop import fit_best, trainable_state


def make(folder, seed=1, given=None, **options):
    torch.manual_seed(seed)
    options = {"history_length": 6, "fit": FitConfig(learning_rate=1e-2, batch_size=8, epochs=2), **options}
    return E4srec(E4srecConfig(model=folder, **options), given or inputs())


def trained(ranker, epochs=2):
    config = ranker.config.fit.model_copy(update={"epochs": epochs})
    log = fit_best(ranker, ranker.batches, config, seed=1, device="cpu")
    ranker.eval()
    return log


def first_batch(ranker, seed=0):
    return next(iter(ranker.batches(0, np.random.default_rng(seed))))


def by_hand(ranker, history):
    """(I,) scores of one history, from the words and vectors of its prompt, one after the other."""
    lm = ranker.lm
    before, after = ranker.prompts.template.body.split("{history}")
    words = {"noun": "movie", "verb": "watch", "past": "watched"}
    before, after = (text.format(**words) for text in (before.rstrip(" "), after))
    items = ranker.item_projector(ranker.ids.items[torch.as_tensor(history)])
    parts = [lm.embed(torch.tensor(lm.tokenize(before))), items, lm.embed(torch.tensor(lm.tokenize(after)))]
    state = lm.forward(torch.cat(parts)[None]).states[0, -1]
    if ranker.config.head == "full":
        return ranker.head.weight @ state
    return ranker.item_projector(ranker.ids.items) @ ranker.head(state) / 32**0.5


@pytest.mark.parametrize("head", ["full", "tied"])
def test_scores_and_loss_are_those_of_the_prompt_put_together_by_hand(folder, head):
    """Queries of other lengths stand beside it: masked padding does not change a score."""
    ranker = make(folder, head=head)
    trained(ranker)
    with torch.no_grad():
        for row, history in enumerate(([0, 1, 2], [4], [4, 5, 6, 7, 8, 9])):
            expected = by_hand(ranker, history)
            np.testing.assert_allclose(ranker.score(asked())[row], expected, rtol=1e-3, atol=1e-4)
        batch = first_batch(ranker)
        chosen = [row for row in range(len(batch)) if (batch.histories[row] >= 0).any()]
        one = replace(
            batch, users=batch.users[chosen], positives=batch.positives[chosen], histories=batch.histories[chosen],
            negatives=None, times=None, history_times=None,
        )  # fmt: skip
        losses = []
        for history, target in zip(one.histories, one.positives, strict=True):
            scores = by_hand(ranker, history[history >= 0].tolist())
            losses.append(float(functional.cross_entropy(scores[None], target[None])))
        assert float(ranker(one)["next"]) == pytest.approx(np.mean(losses), rel=1e-4)


def test_every_event_is_an_answer_once_the_first_after_an_empty_history(folder):
    ranker = make(folder)
    seen = []
    for batch in ranker.batches(0, np.random.default_rng(0)):
        lengths = (batch.histories >= 0).sum(1).tolist()
        seen += zip(batch.users.tolist(), batch.positives.tolist(), lengths, strict=True)
    train = events()
    expected = [
        (user, int(item), min(place, 6)) for user in range(14) for place, item in enumerate(train.history(user))
    ]
    assert sorted(seen) == sorted(expected)


def test_the_first_step_begins_at_the_base_model_and_adapters_learn(folder):
    """LoRA's B is zero at the start: with the same projector and head the scores are the frozen model's."""
    tuned, frozen = make(folder), make(folder, tune="none")
    frozen.load_state_dict({k: v for k, v in trainable_state(tuned).items() if not k.startswith("tuned")})
    np.testing.assert_allclose(tuned.score(asked()), frozen.score(asked()), rtol=1e-5, atol=1e-6)
    names = {name.split("/")[-4] for name, _ in tuned.tuned.named_parameters()}
    assert names == {"gate_proj", "up_proj", "down_proj"}
    log = trained(tuned, epochs=12)
    assert log.epochs[-1]["losses"]["next"] < 0.6 * log.epochs[0]["losses"]["next"]
    norms = [float(p.detach().norm()) for name, p in tuned.tuned.named_parameters() if "lora_B" in name]
    assert min(norms) > 0
    other = make(folder, lora=LoraOptions(rank=2, modules=["q_proj"]))
    assert {name.split("/")[-4] for name, _ in other.tuned.named_parameters()} == {"q_proj"}


def test_its_towers_find_what_it_ranks(folder):
    ranker = make(folder, head="tied")
    scores = ranker.score(asked())
    towers = ranker.towers()
    np.testing.assert_allclose(towers.users(asked()) @ towers.items.T, scores, rtol=1e-4, atol=1e-5)
    hidden = scores.copy()
    for row in range(3):
        hidden[row, asked().history(row)] = -np.inf
    assert np.array_equal(best(ranker, asked(), 4).indices, np.argsort(-hidden, 1, kind="stable")[:, :4])


def test_a_tied_head_scores_items_without_events_by_their_texts_and_a_matrix_cannot(folder):
    """The last item never occurs. By its text it is the twin of item 3: the tied head puts both at one place."""
    table = torch.randn(ITEMS, WIDTH, generator=torch.Generator().manual_seed(3))
    table[ITEMS - 1] = table[3]
    places = {}
    for head in ("tied", "full"):
        ranker = make(folder, head=head, given=inputs(items=table, items_from_text=table))
        trained(ranker, epochs=6)
        scores = ranker.score(Queries.of([[1, 2], [0, 1, 2], [2]]))
        places[head] = abs(scores[:, 3] - scores[:, ITEMS - 1]).max()
    assert places["tied"] < 1e-4
    assert places["full"] > 0.5


@pytest.mark.parametrize("head", ["full", "tied"])
def test_items_that_came_later_have_a_score(folder, head):
    known = make(folder, head=head)
    trained(known)
    given = inputs()
    table = torch.cat([given.items, given.items[3:4]])
    train = replace(given.train, item_ids=np.append(given.train.item_ids, "later"))
    later = replace(
        given, items=table, items_from_text=table, titles=[*given.titles, "Later"], train=train, added=1,
        cold_items=np.append(given.cold_items, True),
    )  # fmt: skip
    grown = make(folder, head=head, given=later)
    grown.load_state_dict(trainable_state(known))
    queries = asked()
    old, new = known.score(queries), grown.eval().score(queries)
    np.testing.assert_allclose(new[:, :ITEMS], old, rtol=1e-3, atol=1e-4)
    expected = old.mean(1) if head == "full" else new[:, 3]
    np.testing.assert_allclose(new[:, ITEMS], expected, rtol=1e-3, atol=1e-4)


def test_a_template_without_vectors_is_refused(folder, tmp_path):
    path = tmp_path / "words.txt"
    path.write_text('history: "{title}"\n---\nBefore: {history}. Next:', encoding="utf-8")
    with pytest.raises(ConfigError, match="item"):
        make(folder, template=str(path))


def counted(ranker, monkeypatch):
    """Rows that the language model and the projector read from now on."""
    seen = {"prompts": 0, "items": 0}
    forward = type(ranker.lm).forward

    def read(lm, embeds, *more, **options):
        seen["prompts"] += len(embeds)
        return forward(lm, embeds, *more, **options)

    def project(_, vectors):
        seen["items"] += len(vectors[0])

    monkeypatch.setattr(type(ranker.lm), "forward", read)
    ranker.item_projector.register_forward_pre_hook(project)
    return seen


def test_histories_and_items_are_read_once_for_a_set_of_weights(folder, monkeypatch):
    """Equal last events of other users are one history; training and other weights make all of it anew."""
    ranker = make(folder, head="tied").eval()
    seen = counted(ranker, monkeypatch)
    queries = Queries.of([[0, 1, 2], [4], [0, 1, 2], [9, 4, 5, 6, 7, 8, 9], [4, 5, 6, 7, 8, 9]], np.arange(5))
    first = ranker.score(queries)
    assert seen == {"prompts": 3, "items": 9 + ITEMS}
    np.testing.assert_allclose(first[[0, 3]], first[[2, 4]], rtol=1e-5, atol=1e-6)
    again = ranker.score(queries.take(np.array([4, 0])))
    np.testing.assert_allclose(again, first[[4, 0]], rtol=1e-5, atol=1e-6)
    assert seen == {"prompts": 3, "items": 9 + ITEMS}
    assert ranker.score(queries.slice(0, 0)).shape == (0, ITEMS)
    trained(ranker)
    after = ranker.score(queries)
    fresh = make(folder, head="tied", seed=2)
    fresh.score(queries)
    fresh.load_state_dict(trainable_state(ranker))
    np.testing.assert_allclose(fresh.eval().score(queries), after, rtol=1e-5, atol=1e-6)
    assert not np.allclose(after, first)


@pytest.mark.parametrize("head", ["full", "tied"])
def test_candidates_are_multiplied_alone_and_score_as_in_the_catalogue(folder, head):
    ranker = make(folder, head=head).eval()
    queries, items = Queries.of([[n % 11, (n + 3) % 11] for n in range(20)]), np.tile([[7, 0], [2, 2]], (10, 1))
    scores = ranker.score(queries)
    with FlopCounterMode(display=False) as counter:
        got = ranker.score(queries, items)
    np.testing.assert_allclose(got, np.take_along_axis(scores, items, 1), rtol=1e-5, atol=1e-6)
    assert counter.get_total_flops() == 2 * 20 * 2 * 32
    assert ranker.score(queries.slice(0, 0), items[:0]).shape == (0, 2)
