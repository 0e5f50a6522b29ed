"""SR-GNN and GC-SAN: the graph by hand, states by a slow loop over one session, padding without effect, learning."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from interlingua.backbones.gcsan import Gcsan
from interlingua.backbones.sr_gnn import SrGnn
from interlingua.contracts.aligner import Aligner
from interlingua.contracts.batch import Batch
from interlingua.data.interactions import Interactions
from interlingua.data.queries import PAD, Queries
from interlingua.nn.session_graph import session_graphs
from interlingua.training.joint import Joint
from interlingua.training.loop import fit_best, seed_all

KINDS = [SrGnn, Gcsan]
SESSION = [3, 1, 4, 1, 4, 4, 9]


def model_of(kind, train, **options):
    seed_all(0)
    return kind(kind.Config(embedding_dim=6, max_history=8, **options), train).eval()


def edges_of(session, once=False):
    """The items in the order of their first events, and (n, n) numbers of transitions."""
    items = list(dict.fromkeys(session))
    counts = torch.zeros(len(items), len(items))
    for before, after in pairwise(session):
        at = items.index(before), items.index(after)
        counts[at] = 1 if once else counts[at] + 1
    return items, counts


def gru(model, read, state):
    """One gated unit, written out."""
    cell = model.graph.cell
    ir, iz, iv = (cell.weight_ih @ read + cell.bias_ih).chunk(3)
    hr, hz, hv = (cell.weight_hh @ state + cell.bias_hh).chunk(3)
    update = torch.sigmoid(iz + hz)
    return (1 - update) * torch.tanh(iv + torch.sigmoid(ir + hr) * hv) + update * state


def slow_states(model, session):
    """(n, D) states by event: nodes and edges of one session in loops."""
    items, counts = edges_of(session, model.config.edges == "once")
    states = [model.items[item] for item in items]
    for _ in range(model.config.steps):
        fresh = []
        for node in range(len(items)):
            read = []
            for layer, weights in ((model.graph.incoming, counts[:, node]), (model.graph.outgoing, counts[node])):
                total = torch.zeros(model.items.shape[1])
                for neighbour, weight in enumerate(weights / max(float(weights.sum()), 1.0)):
                    total = total + weight * layer(states[neighbour])
                read.append(total)
            fresh.append(gru(model, torch.cat(read), states[node]))
        states = fresh
    return torch.stack([states[items.index(item)] for item in session])


def slow_answer(model, session):
    """(D,) what scores after a session."""
    states = slow_states(model, session)
    last = states[-1]
    if isinstance(model, SrGnn):
        common = sum(model.weight(torch.sigmoid(model.of_last(last) + model.of_each(v))) * v for v in states)
        return model.joined(torch.cat([last, common]))
    for block in model.blocks:
        mixed = []
        for asking in states:
            logits = torch.stack([block.query(asking) @ block.key(v) for v in states]) / math.sqrt(len(asking))
            mixed.append(sum(w * block.value(v) for w, v in zip(logits.softmax(0), states, strict=True)))
        states = torch.stack([f + block.outer(torch.relu(block.inner(f))) for f in mixed])
    weight = model.config.attention_weight
    return weight * states[-1] + (1 - weight) * last


def test_a_graph_is_worked_by_hand():
    """Items 7 8 7 8 8: edges 7 -> 8 twice, 8 -> 7 once, 8 -> 8 once."""
    rows = torch.tensor([[7, 8, 7, 8, 8, 0], [5, 0, 0, 0, 0, 0]])
    real = torch.tensor([[True] * 5 + [False], [True] + [False] * 5])
    graphs = session_graphs(rows, real)
    assert graphs.nodes.tolist() == [[0, 1, 0, 1, 1, 5], [0, 1, 2, 3, 4, 5]]
    assert graphs.outgoing[0, 0, :2].tolist() == [0, 1]
    assert graphs.outgoing[0, 1, :2].tolist() == [0.5, 0.5]
    assert graphs.incoming[0, 0, :2].tolist() == [0, 1]
    torch.testing.assert_close(graphs.incoming[0, 1, :2], torch.tensor([2 / 3, 1 / 3]))
    assert float(graphs.outgoing[0, 2:].sum() + graphs.incoming[0, :, 2:].sum() + graphs.outgoing[1].sum()) == 0
    once = session_graphs(rows, real, "once")
    assert once.incoming[0, 1, :2].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"steps": 2}, {"edges": "once"}])
def test_a_batch_equals_a_loop_over_each_session(kind, options, random_world):
    if kind is Gcsan:
        options = {**options, "num_blocks": 2}
    model = model_of(kind, random_world(), **options)
    histories = [SESSION, [2, 2, 2], [5], list(range(10, 18)), [1, 0, 1, 0, 0, 1]]
    found = model.user_embeddings(Queries.of(histories))
    expected = torch.stack([slow_answer(model, each) for each in histories])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    scores = torch.from_numpy(model.score(Queries.of(histories)))
    torch.testing.assert_close(scores, (expected @ model.items.T).detach(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_and_other_rows_change_nothing_and_old_events_are_cut(kind, random_world):
    model = model_of(kind, random_world())
    alone = model.sessions(model.items, torch.tensor([[3, 1, 3]]))
    padded = model.sessions(model.items, torch.tensor([[PAD] * 4 + [3, 1, 3], SESSION, [PAD] * 7]))
    torch.testing.assert_close(padded[:1], alone)
    assert bool(padded[2].isfinite().all())
    torch.testing.assert_close(padded[2:], model.sessions(model.items, torch.tensor([[PAD]])))
    long = Queries.of([[11, 12, 13, *range(8)], list(range(8))])
    first, second = model.user_embeddings(long)
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_matters_and_without_a_graph_only_the_last_item_does(kind, random_world):
    orders = Queries.of([[4, 7, 9, 2], [7, 9, 4, 2]])
    first, other = model_of(kind, random_world()).user_embeddings(orders)
    assert float((first - other).abs().max()) > 1e-4
    first, other = model_of(kind, random_world(), steps=0).user_embeddings(orders)
    torch.testing.assert_close(first, other)


@pytest.mark.parametrize("kind", KINDS)
def test_every_event_but_the_first_is_a_target_of_a_softmax_over_all_items(kind, random_world):
    train = random_world()
    model = model_of(kind, train)
    batches = list(model.batches(train, model.config.fit)(0, np.random.default_rng(0)))
    assert sum(len(batch) for batch in batches) == len(train) - int((train.user_counts > 0).sum())
    batch = Batch(torch.arange(2), torch.tensor([5, 8]), histories=torch.tensor([[PAD, 3, 1], [5, 0, 5]]))
    states = torch.stack([slow_answer(model, [3, 1]), slow_answer(model, [5, 0, 5])])
    expected = torch.nn.functional.cross_entropy(states @ model.items.T, batch.positives)
    torch.testing.assert_close(model.losses(model.encode(model.input_embeddings(), batch), batch)["ce"], expected)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cycle_is_learned(kind):
    """Every user walks around one circle of items: the next one follows from the last alone."""
    users, length, items = 60, 8, 12
    starts = np.random.default_rng(0).integers(0, items, users)
    what = (starts[:, None] + np.arange(length)) % items
    train = Interactions.of(
        np.array([f"u{n}" for n in range(users)]), np.array([f"i{n}" for n in range(items)]),
        np.repeat(np.arange(users), length), what.ravel(), np.tile(np.arange(length), users),
    )  # fmt: skip
    fit = {"epochs": 12, "batch_size": 50, "learning_rate": 0.01, "patience": None}
    seed_all(1)
    model = kind(kind.Config(embedding_dim=16, fit=fit), train)
    joint, options = Joint(model, Aligner(Aligner.Config(), 0, 0)), model.config.fit
    fit_best(joint, model.batches(train, options), options, seed=1, device="cpu")
    model.eval()
    queries = Queries.of([[(n + back) % items for back in range(3)] for n in range(items)])
    assert model.score(queries).argmax(1).tolist() == [(n + 3) % items for n in range(items)]
