"""Gal-Rec, reconstructed: prompt, scores and contrasts by hand, lists that know nothing of their answer, a queue."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.llm.vector_rankers import ITEMS, events, inputs
from torch.nn import functional

from interlingua.config import FitConfig, build
from interlingua.contracts.fitting import Fitting
from interlingua.data.interactions import Interactions
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError
from interlingua.lm.adapters import LoraOptions
from interlingua.nn.contrast import unit
from interlingua.nn.key_queue import EMPTY
from interlingua.nn.two_hops import TwoHops
from interlingua.rankers.gal_rec import GalRec, GalRecConfig
from interlingua.testing.tiny_models import TITLES
from interlingua.training.loop import fit_best, trainable_state


def make(folder, seed=1, given=None, **options):
    torch.manual_seed(seed)
    fit = FitConfig(learning_rate=1e-2, batch_size=8, epochs=2)
    common = {"history_length": 4, "neighbours": 3, "queue_size": 40, "fit": fit}
    return GalRec(GalRecConfig(model=folder, **common | options), given or inputs())


def trained(ranker, epochs=2, seed=1):
    config = ranker.config.fit.model_copy(update={"epochs": epochs})
    log = fit_best(ranker, ranker.batches, config, seed=seed, device="cpu")
    ranker.eval()
    return log


def batches(ranker, seed=0):
    return list(ranker.batches(0, np.random.default_rng(seed)))


def ids_of(lm, text):
    """A title may hold what looks like a special token."""
    return lm.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def state_of(ranker, parts):
    """(H',) state at the end of words and input vectors (H,), one after the other."""
    lm = ranker.lm
    rows = [lm.embed(torch.tensor(ids_of(lm, each))) if isinstance(each, str) else each[None] for each in parts]
    return lm.forward(torch.cat(rows)[None]).states[0, -1]


def listed(ranker, items):
    parts = []
    for place, item in enumerate(items):
        parts += [*([","] if place else []), ' "', TITLES[item], '"', ranker.item_projector(ranker.ids.items[item])]
    return parts or [" nothing yet"]


def slow_list(graph, user, history, last, count):
    """The walk of one query, step by step."""
    chances = np.zeros(graph.shape[1])
    for item in set(history[-last:]):
        who = np.flatnonzero(graph[:, item])
        for other in who:
            if other != user:
                chances += graph[other] / graph[other].sum() / len(who)
    chances[list(set(history))] = 0
    best = sorted(np.flatnonzero(chances), key=lambda item: (-round(chances[item], 12), item))
    return best[:count]


def test_the_walk_is_worked_by_hand():
    """Item 0 is had by users 0, 1 and 2; user 1 has four items, user 2 has two of them, user 3 shares none."""
    graph = np.array([[1, 0, 0, 0, 0, 1], [1, 1, 1, 1, 0, 0], [1, 0, 1, 0, 0, 0], [0, 0, 0, 0, 1, 0]], np.float32)
    users = np.repeat(np.arange(4), graph.sum(1).astype(int))
    train = Interactions.of(np.arange(4), np.arange(6), users, np.nonzero(graph)[1])
    walk = TwoHops(train.matrix())
    asked = Queries.of([[0], [0], [4], []], np.array([0, -1, -1, 1]))
    expected = [[7 / 36 + 1 / 18, 1 / 12, 9 / 36, 1 / 12, 0, 0], [0.25 + 1 / 6, 1 / 12, 0.25, 1 / 12, 0, 1 / 6]]
    np.testing.assert_allclose(walk.weights(asked, 5).toarray()[:2], expected, rtol=1e-6)
    assert walk.lists(asked, 5, 3).tolist() == [[2, 1, 3], [2, 5, 1], [-1, -1, -1], [-1, -1, -1]]


def test_lists_are_those_of_the_walk_step_by_step():
    random = np.random.default_rng(5)
    users, items = np.nonzero(random.random((30, 20)) < 0.2)
    train = Interactions.of(np.arange(30), np.arange(20), users, items)
    histories = [random.integers(0, 20, size).tolist() for size in (0, 1, 3, 8, 12) for _ in range(4)]
    who = random.integers(-1, 30, len(histories))
    found = TwoHops(train.matrix()).lists(Queries.of(histories, who), 4, 5)
    graph = train.matrix().toarray()
    for row, history in enumerate(histories):
        assert [item for item in found[row] if item >= 0] == slow_list(graph, who[row], history, 4, 5)


def test_no_list_knows_its_answer_or_what_the_user_had_later():
    """Another answer, or no further event at all, leaves the list of every prefix as it is."""
    train = events()
    for user in (0, 5):
        start, stop = train.offsets[user], train.offsets[user + 1]
        for place in range(1, 8):
            asked = Queries.of([train.history(user)[:place]], np.array([user]))
            known = TwoHops(train.matrix()).lists(asked, 4, 6)
            cut = train.filter((np.arange(len(train)) < start + place) | (np.arange(len(train)) >= stop))
            items = train.items.copy()
            items[start + place : stop] = (items[start + place : stop] + 3) % (ITEMS - 1)
            other = replace(train, items=items)
            for changed in (cut, other):
                assert np.array_equal(TwoHops(changed.matrix()).lists(asked, 4, 6), known)


def test_a_known_history_has_the_same_list_whoever_asks():
    train = events()
    everyone = train.queries()
    walk = TwoHops(train.matrix())
    nobody = replace(everyone, users=np.full(len(everyone), -1))
    assert np.array_equal(walk.lists(everyone, 3, 5), walk.lists(nobody, 3, 5))


@pytest.mark.parametrize("options", [{}, {"user_vectors": "none"}, {"head": "tied"}, {"neighbours": 0}])
def test_scores_are_those_of_the_prompt_put_together_by_hand(folder, options):
    ranker = make(folder, **options)
    trained(ranker, epochs=1)
    histories, users = [[3, 1, 3, 1, 1, 5], [2], [4, 5, 6], []], np.array([2, -1, 6, -1])
    queries = Queries.of(histories, users)
    scores = ranker.score(queries)
    graph = ranker.inputs.train.matrix().toarray()
    with torch.no_grad():
        vectors = ranker.ids.users(queries)
        for row, history in enumerate(histories):
            two = slow_list(graph, users[row], history, 4, ranker.config.neighbours)
            begin = ["This user has watched, the latest one last:"]
            if ranker.user_projector is not None:
                begin = ["A user, as a vector:", ranker.user_projector(vectors[row]), f". {begin[0]}"]
            words = [*begin, *listed(ranker, history[-4:]), ". Users who share some of these have also watched:"]
            state = state_of(ranker, [*words, *listed(ranker, two), ". The movie that comes next:"])
            if ranker.config.head == "full":
                expected = ranker.head.weight @ state
            else:
                expected = ranker.item_projector(ranker.ids.items) @ ranker.head(state) / ranker.lm.hidden_size**0.5
            np.testing.assert_allclose(scores[row], expected, rtol=1e-3, atol=1e-4)


def node_states(ranker, projector, vectors):
    words = "Who is near in a graph of users and movies, in one vector:"
    return torch.stack([state_of(ranker, [words, projector(vector)]) for vector in vectors])


def test_the_contrasts_are_those_of_texts_read_one_by_one(folder):
    """Two batches: of the second one, keys of nodes that the first had and it has not are further negatives."""
    ranker = make(folder, one_hop_weight=0.3, two_hop_weight=0.2, lora=LoraOptions(dropout=0.0)).train()
    first, second = batches(ranker)[:2]
    train = ranker.inputs.train
    near = torch.from_numpy(train.matrix().toarray())
    tables = {"users": ranker.ids.users(train.queries()), "items": ranker.ids.items}
    maps = {"users": ranker.user_projector, "items": ranker.item_projector}
    expected = {"one_hop": 0.0, "two_hop": 0.0}
    with torch.no_grad():
        ranker(first)
        found = ranker(second)
        for side, other, graph in (("users", "items", near), ("items", "users", near.T)):
            nodes, before = ((each.users if side == "users" else each.positives).unique() for each in (second, first))
            own = node_states(ranker, maps[side], tables[side][nodes])
            older = before[~torch.isin(before, nodes)]
            keys = torch.cat([own, node_states(ranker, maps[side], tables[side][older])])
            forth = graph / graph.sum(1, keepdim=True).clamp_min(1)
            walk = forth @ (graph.T / graph.T.sum(1, keepdim=True).clamp_min(1))
            walk.fill_diagonal_(0)
            walk = walk / walk.sum(1, keepdim=True).clamp_min(1e-12)
            for name, at, means, weight in (
                ("one_hop", other, forth @ tables[other], 0.3), ("two_hop", side, walk @ tables[side], 0.2),
            ):  # fmt: skip
                anchors = node_states(ranker, maps[at], means[nodes])
                logits = unit(anchors) @ unit(keys).T / 0.1
                expected[name] += weight * float(functional.cross_entropy(logits, torch.arange(len(nodes))))
        states = ranker.states(of_batch(second))
        expected["next"] = float(functional.cross_entropy(states @ ranker.head.weight.T, second.positives))
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected, rel=1e-3)
    assert len(ranker.users_nodes) == 40
    assert set(ranker.items_nodes.tolist()) == {EMPTY, *first.positives.tolist(), *second.positives.tolist()}


def of_batch(batch):
    histories = [row[row >= 0].tolist() for row in batch.histories]
    return Queries.of(histories, batch.users.numpy())


def test_without_users_items_have_a_second_hop_alone_and_without_weights_there_is_no_contrast(folder):
    def names(**options):
        ranker = make(folder, **options)
        return set(ranker(batches(ranker)[0]))

    given = inputs(user_embeddings=None, user_dim=0)
    assert names() == {"next", "one_hop", "two_hop"}
    assert names(given=given, user_vectors="none") == {"next", "two_hop"}
    assert names(one_hop_weight=0.0, two_hop_weight=0.0) == {"next"}
    assert names(two_hop_weight=0.0) == {"next", "one_hop"}
    assert GalRec.needs(GalRecConfig()) - GalRec.needs(GalRecConfig(user_vectors="none")) == {"users"}
    with pytest.raises(ConfigError, match="user_vectors = 'none'"):
        make(folder, given=given)
    with pytest.raises(ConfigError, match="one_hop_weight"):
        build(GalRecConfig, {"user_vectors": "none", "one_hop_weight": 0.2}, "ranker")


def rank_of_own(ranker):
    """Mean place of an item's own state among all items', by what its two hops are read as."""
    ranker._survey()
    hops, items = ranker._hops["items"], ranker.ids.items
    with torch.no_grad():
        own, two = (unit(ranker._node_states("items", each)) for each in (items, hops.two.to(items)))
        near = (two @ own.T)[hops.has_two]
        return float((near > near.diagonal()[:, None]).float().mean())


def in_groups():
    """Three groups of four users and four items, of which each user has three."""
    users = np.repeat(np.arange(12), 3)
    items = users // 4 * 4 + (users + np.tile(np.arange(3), 12)) % 4
    return Interactions.of(np.arange(12).astype(str), np.arange(ITEMS).astype(str), users, items)


def test_contrasts_make_states_of_neighbourhoods_find_their_nodes(folder):
    places = {}
    for weight in (1.0, 0.0):
        fit = FitConfig(learning_rate=3e-3, batch_size=8)
        ranker = make(folder, given=inputs(train=in_groups()), one_hop_weight=weight, two_hop_weight=weight, fit=fit)
        losses = [record["losses"] for record in trained(ranker, epochs=6).epochs]
        places[weight] = rank_of_own(ranker)
        assert losses[-1]["next"] < losses[0]["next"] - 0.1
        if weight:
            assert all(losses[-1][name] < losses[0][name] - 0.5 for name in ("one_hop", "two_hop"))
    assert places[1.0] < places[0.0] - 0.1


def test_every_event_but_the_first_is_a_target_after_all_before_it(folder):
    train = events()
    seen = {}
    for batch in batches(make(folder)):
        for user, target, history in zip(batch.users.tolist(), batch.positives.tolist(), batch.histories, strict=True):
            seen[user, int((history >= 0).sum())] = (history[history >= 0].tolist(), target)
    assert len(seen) == len(train) - train.num_users
    for (user, place), (history, target) in seen.items():
        assert [*history, target] == train.history(user)[: place + 1].tolist()


def test_random_vectors_titles_dealt_out_and_shuffled_weights_are_other_runs(folder):
    asked = Queries.of([[3, 1, 5]], np.array([2]))
    plain = make(folder).eval().score(asked)
    shuffled = inputs(titles=TITLES[::-1])
    for options in ({"id_vectors": "random"}, {"given": shuffled}, {"lm_weights": "shuffled"}):
        ranker = make(folder, **options)
        assert not np.allclose(ranker.eval().score(asked), plain)
        assert np.isfinite([float(v) for v in ranker.train()(batches(ranker)[0]).values()]).all()


def test_its_texts_and_adapters_may_be_other_ones_and_what_they_lack_is_named(folder, tmp_path):
    question, node = tmp_path / "question.txt", tmp_path / "node.txt"
    body = "history: {title}{item}\nneighbour: {title}\n---\n{user} had: {history}. Near: {neighbours}. Next:"
    question.write_text(body, encoding="utf-8")
    node.write_text("history: {item}\n---\nA node: {history}", encoding="utf-8")
    ranker = make(folder, template=str(question), node_template=str(node), lora=LoraOptions(rank=2, modules=["q_proj"]))
    assert {name.split("/")[-4] for name, _ in ranker.tuned.named_parameters()} == {"q_proj"}
    with torch.no_grad():
        vector = ranker.ids.items[3]
        expected = state_of(ranker, ["A node:", ranker.item_projector(vector)])
        np.testing.assert_allclose(ranker._node_states("items", vector[None])[0], expected, rtol=1e-3, atol=1e-4)
    asked = Queries.of([[3, 1, 5]])
    assert not np.allclose(ranker.eval().score(asked), make(folder).eval().score(asked))
    question.write_text("history: {title}{item}\n---\n{user} had: {history}. Next:", encoding="utf-8")
    with pytest.raises(ConfigError, match="neighbours"):
        make(folder, template=str(question))


@pytest.mark.parametrize("head", ["full", "tied"])
def test_items_that_came_later_have_a_score_and_stand_in_no_list(folder, head):
    known = make(folder, head=head)
    trained(known, epochs=1)
    given = inputs()
    table = torch.cat([given.items, given.items[3:4]])
    train = replace(given.train, item_ids=np.append(given.train.item_ids, "later"))
    later = replace(
        given, items=table, items_from_text=table, titles=[*given.titles, "Later"], train=train, added=1,
        cold_items=np.append(given.cold_items, True),
    )  # fmt: skip
    grown = make(folder, head=head, given=later)
    grown.load_state_dict(trainable_state(known))
    queries = Queries.of([[0, 1, 2], [4]], np.array([0, -1]))
    old, new = known.score(queries), grown.eval().score(queries)
    np.testing.assert_allclose(new[:, :ITEMS], old, rtol=1e-3, atol=1e-4)
    expected = old.mean(1) if head == "full" else new[:, 3]
    np.testing.assert_allclose(new[:, ITEMS], expected, rtol=1e-3, atol=1e-4)
    walk = TwoHops(train.matrix())
    assert np.array_equal(walk.lists(Queries.of([[ITEMS, 2]]), 4, 5), walk.lists(Queries.of([[2]]), 4, 5))


def test_a_finished_training_leaves_no_state_of_a_user_behind(folder):
    ranker = make(folder)
    seen = []

    def loop(batches, config):
        config = config.model_copy(update={"epochs": 1, "steps_per_epoch": 2})
        log = fit_best(ranker, batches, config, seed=1, device="cpu")
        seen.extend((ranker.users_nodes.tolist(), float(ranker.users_keys.abs().sum())))
        return log

    ranker.fit(Fitting(ranker.inputs.train, loop=loop))
    assert max(seen[0]) >= 0
    assert seen[1] > 0
    state = trainable_state(ranker)
    for side in ("users", "items"):
        assert set(state[f"{side}_nodes"].tolist()) == {EMPTY}
        assert not state[f"{side}_keys"].any()


def test_it_reads_the_training_events_when_it_scores_unless_it_lists_nothing():
    assert GalRec.reads_events(GalRecConfig())
    assert not GalRec.reads_events(GalRecConfig(neighbours=0))
