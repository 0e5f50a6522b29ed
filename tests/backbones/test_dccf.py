"""DCCF's layers and losses against the formulas written out densely, gradients included."""

import pytest
import torch
from torch.nn import functional

from interlingua.backbones.dccf import Dccf, DccfConfig, adaptive
from interlingua.contracts.batch import Batch, Embeddings
from interlingua.nn.graph import bipartite


def dense_layers(model, inputs):
    """(final vectors, per layer the four parts) with N x N tables."""
    graph = model.graph
    pattern = torch.zeros(graph.num_nodes, graph.num_nodes)
    pattern[graph.sources, graph.targets] = 1
    degrees = pattern.sum(1)
    normal = pattern / (degrees[:, None] * degrees[None]).sqrt().clamp_min(1e-9)

    def weighed(nodes, view):
        unit = functional.normalize(view)
        alike = (unit @ unit.T + 1) / 2 * pattern
        mass = alike.sum(1, keepdim=True)
        return alike @ nodes / torch.where(mass > 0, mass, 1.0)

    layer = total = torch.cat([inputs.users, inputs.items])
    parts = []
    for _ in range(model.config.num_layers):
        gnn = normal @ layer
        users, items = layer[: graph.num_users], layer[graph.num_users :]
        user_mix = torch.softmax(users @ model.user_intents, 1) @ model.user_intents.T
        item_mix = torch.softmax(items @ model.item_intents, 1) @ model.item_intents.T
        intents = torch.cat([user_mix, item_mix])
        made = gnn, intents, weighed(layer, gnn), weighed(layer, intents)
        layer = layer + sum(made)
        total = total + layer
        parts.append(made)
    return total, parts


def dense_losses(model, inputs, batch):
    """Every loss, from the dense layers and plain sums over distinct rows."""
    config = model.config
    total, parts = dense_layers(model, inputs)
    users, items = total[: model.num_users], total[model.num_users :]
    difference = (users[batch.users] * (items[batch.positives] - items[batch.negatives])).sum(1)
    distinct = {"users": batch.users.unique(), "items": batch.positives.unique() + model.num_users}
    contrast = 0.0
    for gnn, *views in parts:
        for rows in distinct.values():
            for view in views:
                one, other = functional.normalize(gnn[rows]), functional.normalize(view[rows])
                table = (one @ other.T / config.temperature).exp()
                divisor = len(distinct["users"] if config.item_mean == "users" else rows)
                contrast = contrast - (table.diagonal() / table.sum(1)).log().sum() / divisor
    squares = (
        inputs.users[batch.users].square()
        + inputs.items[batch.positives].square()
        + inputs.items[batch.negatives].square()
    )
    return {
        "bpr": functional.softplus(-difference).mean(),
        "contrast": config.cl_weight * contrast,
        "l2": config.l2 * squares.sum(1).mean() / 2,
        "intent_l2": config.intent_l2 * (model.user_intents.square().sum() + model.item_intents.square().sum()),
    }


@pytest.fixture(name="batch")
def _batch():
    users = torch.tensor([0, 3, 3, 7, 9, 12, 12, 12, 30])
    return Batch(users, torch.tensor([2, 2, 5, 6, 6, 9, 1, 0, 4]), torch.tensor([8, 7, 1, 3, 4, 5, 6, 2, 0]))


@pytest.mark.parametrize("item_mean", ["items", "users"])
def test_losses_and_gradients_equal_the_dense_formulas(random_world, batch, item_mean):
    torch.manual_seed(0)
    options = {"embedding_dim": 6, "num_intents": 5, "temperature": 0.3, "item_mean": item_mean}
    model = Dccf(DccfConfig(**options), random_world(events=90)).train()
    got = model.losses(model.encode(model.input_embeddings(), batch), batch)
    wanted = dense_losses(model, model.input_embeddings(), batch)
    assert set(got) == set(wanted)
    for name, value in got.items():
        assert value.item() == pytest.approx(wanted[name].item(), rel=2e-5), name
    parameters = list(model.parameters())
    assert len(parameters) == 4
    ours = torch.autograd.grad(sum(got.values()), parameters)
    theirs = torch.autograd.grad(sum(wanted.values()), parameters)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=2e-6, rtol=1e-4)


def test_some_anchors_estimate_the_contrast_of_all(random_world, batch):
    options = {"embedding_dim": 6, "num_intents": 5, "temperature": 0.3}
    world = random_world(events=90)
    torch.manual_seed(0)
    whole = Dccf(DccfConfig(**options), world).train()
    some = Dccf(DccfConfig(**options, contrast_anchors=3), world).train()
    some.load_state_dict(whole.state_dict())
    wanted = whole.losses(whole.encode(whole.input_embeddings(), batch), batch)["contrast"].item()
    encoded = some.encode(some.input_embeddings(), batch)
    drawn = [some.losses(encoded, batch)["contrast"].item() for _ in range(400)]
    assert len(set(drawn)) > 1
    assert sum(drawn) / 400 == pytest.approx(wanted, rel=0.01)


def test_what_it_recommends_with_is_what_it_trains(random_world, batch):
    model = Dccf(DccfConfig(embedding_dim=6, num_intents=5), random_world())
    trained = model.train().encode(model.input_embeddings(), batch)
    final = model.eval().final()
    assert torch.allclose(final.users[batch.users], trained.query, atol=1e-6)
    assert torch.allclose(final.items, trained.tables.items, atol=1e-6)


def test_edges_weigh_by_likeness_and_sum_to_one():
    graph = bipartite([0, 0, 1], [0, 1, 1], 2, 3)  # the third item has no edge
    view = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    nodes = torch.tensor([[0.0], [0.0], [3.0], [9.0], [5.0]])
    out = adaptive(graph, nodes, view)
    assert out[0].item() == pytest.approx((1.0 * 3 + 0.5 * 9) / 1.5)  # cosines 1 and 0 with items 0 and 1
    assert out[1].item() == pytest.approx(9.0)
    assert out[4].item() == 0.0
    # likeness alone counts, not length
    assert torch.allclose(adaptive(graph, nodes, view * 7), out)


def test_only_the_given_vectors_are_read(random_world, batch):
    """An aligner may pass changed input vectors: no gradient may reach the tables behind its back."""
    model = Dccf(DccfConfig(embedding_dim=6, num_intents=5), random_world()).train()
    inputs = Embeddings(torch.randn(40, 6, requires_grad=True), torch.randn(30, 6, requires_grad=True))
    sum(model.losses(model.encode(inputs, batch), batch).values()).backward()
    assert model.users.grad is None
    assert model.items.grad is None
    assert inputs.users.grad.any()
    assert model.user_intents.grad.any()
