"""AutoCF hides exactly what it should, and its losses are those of the plain formulas."""

import numpy as np
import pytest
import torch

from interlingua.backbones.autocf import AutoCf, AutoCfConfig, agreement, draw_seeds, hide, mask
from interlingua.config import FitConfig, build
from interlingua.contracts.batch import Batch, Embeddings
from interlingua.errors import ConfigError
from interlingua.nn.graph import bipartite

FIT = FitConfig(batch_size=40)


@pytest.fixture(name="graph", params=[False, True], ids=["plain", "loops"])
def _graph(request):
    rng = np.random.default_rng(1)
    return bipartite(rng.integers(0, 20, 45), rng.integers(0, 15, 45), 22, 16, self_loops=request.param)


def hidden_one_by_one(graph, seeds, depth):
    """The same by walking: at each hop, node after node loses its remaining edges, and those lead to the next hop."""
    edges = set(zip(graph.sources.tolist(), graph.targets.tolist(), strict=True))
    reached, frontier = set(seeds), list(seeds)
    for hop in range(depth):
        following = set()
        for node in frontier:
            gone = {(a, b) for a, b in edges if node in (a, b)}
            edges -= gone
            following |= {node for edge in gone for node in edge}
        if hop < depth - 1:
            reached |= following
            frontier = sorted(following)
    return edges, reached


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("seeds", [[0], [3, 25], [21, 30, 7, 37]])
def test_hides_the_edges_within_reach_and_no_others(graph, depth, seeds):
    left, reached = hide(graph, torch.tensor(seeds), depth)
    edges, nodes = hidden_one_by_one(graph, seeds, depth)
    kept = set(zip(graph.sources[left].tolist(), graph.targets[left].tolist(), strict=True))
    assert kept == edges
    assert set(reached.nonzero()[:, 0].tolist()) == nodes
    assert torch.equal(left, left[graph.opposite])  # both directions, or neither


def test_the_encoder_sees_what_is_left_normalised_anew(graph):
    torch.manual_seed(0)
    seeds = torch.tensor([2, 24])
    left, _ = hide(graph, seeds, 2)
    masked = mask(graph, seeds, 2, 0.2)
    assert torch.equal(masked.weights > 0, left)
    degrees = torch.bincount(graph.sources[left], minlength=graph.num_nodes).float()
    wanted = (degrees[graph.sources] * degrees[graph.targets]).rsqrt()
    assert torch.allclose(masked.weights[left], wanted[left])


def test_the_decoder_sees_what_is_left_loops_and_pairs_of_hidden_nodes(graph):
    torch.manual_seed(0)
    seeds = torch.tensor([2])
    left, reached = hide(graph, seeds, 2)
    decoder = mask(graph, seeds, 2, 0.0).decoder
    edges = set(zip(decoder.sources.tolist(), decoder.targets.tolist(), strict=True))
    kept = set(zip(graph.sources[left].tolist(), graph.targets[left].tolist(), strict=True))
    loops = {(node, node) for node in range(graph.num_nodes)}
    assert kept | loops <= edges
    added = edges - kept - loops
    assert added
    assert all(bool(reached[a]) and bool(reached[b]) for a, b in added)
    assert {(b, a) for a, b in edges} == edges
    # random nodes join the pairs
    more = mask(graph, seeds, 2, 0.5).decoder
    outside = ~(reached[more.sources] & reached[more.targets]) & (more.sources != more.targets)
    assert outside.sum() > (left & (graph.sources != graph.targets)).sum()


def test_agreement_is_the_written_out_arithmetic(graph):
    torch.manual_seed(0)
    nodes = torch.randn(graph.num_nodes, 4, requires_grad=True)
    ones = torch.zeros(graph.num_nodes, graph.num_nodes)
    ones[graph.sources, graph.targets] = 1
    degrees = ones.sum(1, keepdim=True)
    near = ones @ nodes - nodes
    far = ones @ near - near - degrees * nodes
    count = degrees + (ones @ degrees - 2 * degrees)
    cosine = torch.cosine_similarity((near + far) / (count + 1e-8), nodes)
    scores = agreement(graph, nodes)
    assert torch.allclose(scores, torch.sigmoid(cosine), atol=1e-6)
    (got,) = torch.autograd.grad(scores.log().sum(), nodes)
    (wanted,) = torch.autograd.grad(torch.sigmoid(cosine).log().sum(), nodes)
    assert torch.allclose(got, wanted, atol=1e-5)


def test_agreement_is_high_where_surroundings_are_alike():
    """Two cliques of users and items with opposite vectors; one user sits among the wrong ones."""
    users, items = (side.reshape(-1) for side in np.meshgrid(np.arange(6), np.arange(6)))
    within = users // 3 == items // 3
    graph = bipartite(users[within], items[within], 6, 6, self_loops=True)
    sign = torch.tensor([1.0, 1, -1, -1, -1, -1, 1, 1, 1, -1, -1, -1])  # user 2 carries the other clique's sign
    scores = agreement(graph, sign[:, None] * torch.tensor([[1.0, 0.5]]))
    assert scores.argmin() == 2
    assert scores[2] < 0.5 < scores[0]


def test_seeds_are_different_and_drawn_in_proportion():
    torch.manual_seed(0)
    scores = torch.tensor([0.2, 0.6, 0.2])
    first = torch.stack([draw_seeds(scores, 1)[0] for _ in range(3000)])
    shares = torch.bincount(first, minlength=3) / 3000
    assert torch.allclose(shares, scores, atol=0.03)
    assert sorted(draw_seeds(scores, 10).tolist()) == [0, 1, 2]


@pytest.fixture(name="model")
def _model(random_world):
    torch.manual_seed(0)
    config = AutoCfConfig(embedding_dim=8, num_heads=2, num_seeds=2, mask_every=3, cl_weight=0.7, infomax_weight=0.5)
    model = AutoCf(config, random_world(events=120))
    with torch.no_grad():
        model.users.mul_(3.0)
        model.items.mul_(3.0)
    return model


@pytest.fixture(name="batch")
def _batch():
    users = torch.tensor([0, 3, 3, 7, 9, 12, 12, 12, 30])
    return Batch(users, torch.tensor([2, 2, 5, 6, 6, 9, 1, 0, 4]), torch.tensor([8, 7, 1, 3, 4, 5, 6, 2, 0]))


def test_losses_and_gradients_equal_the_plain_formulas(model, batch):
    model.train()
    encoded = model.encode(model.input_embeddings(), batch)
    got = model.losses(encoded, batch)
    masked = model._masked
    dense = torch.zeros(model.graph.num_nodes, model.graph.num_nodes)
    dense[model.graph.sources, model.graph.targets] = masked.weights
    allowed = torch.zeros_like(dense)
    allowed[masked.decoder.sources, masked.decoder.targets] = 1
    nodes = torch.cat([model.users, model.items])
    layers = [nodes, dense @ nodes, dense @ (dense @ nodes)]
    query, key, value = (layers[-1] @ weight for weight in model.decoder[0].maps)
    heads = []
    for q, k, v in zip(query.chunk(2, 1), key.chunk(2, 1), value.chunk(2, 1), strict=True):
        weights = (q @ k.T).clamp(-10, 10).exp() * allowed
        heads.append(weights @ v / weights.sum(1, keepdim=True))
    total = sum(layers) + torch.cat(heads, 1)
    users, items = total[:40], total[40:]
    mine, theirs = users[batch.users.unique()], items[batch.positives.unique()]
    wanted = {
        "reconstruction": -(users[batch.users] * items[batch.positives]).sum(1).mean(),
        "contrast": (users[batch.users] @ items.T).exp().sum(1).log().mean()
        + 0.7 * ((mine @ users.T).exp().sum(1).log().mean() + (theirs @ items.T).exp().sum(1).log().mean()),
        "infomax": -0.5 * agreement(model.graph, nodes).log().mean(),
    }
    assert set(got) == set(wanted)
    for name, value in got.items():
        assert value.item() == pytest.approx(wanted[name].item(), rel=1e-5), name
    parameters = list(model.parameters())
    assert len(parameters) == 5
    ours = torch.autograd.grad(sum(got.values()), parameters)
    theirs = torch.autograd.grad(sum(wanted.values()), parameters)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=2e-6, rtol=1e-4)


def test_some_anchors_estimate_the_contrast_of_all(model, batch, random_world):
    some = AutoCf(model.config.model_copy(update={"contrast_anchors": 3}), random_world(events=120))
    encoded = model.train().encode(model.input_embeddings(), batch)
    wanted = model.losses(encoded, batch)["contrast"].item()
    drawn = [some.losses(encoded, batch)["contrast"].item() for _ in range(400)]
    assert len(set(drawn)) > 1
    assert sum(drawn) / 400 == pytest.approx(wanted, rel=0.02)


def test_a_mask_lasts_for_as_many_steps_as_told(model, random_world):
    model.train()
    masks, drew = [], []
    for batch in model.batches(random_world(events=300), FIT)(0, np.random.default_rng(0)):
        drew.append("infomax" in model.losses(model.encode(model.input_embeddings(), batch), batch))
        masks.append(model._masked)
    assert drew == [step % 3 == 0 for step in range(8)]
    assert len({id(made) for made in masks}) == 3
    assert masks[0] is masks[2]
    assert not torch.equal(masks[0].weights, masks[3].weights)


def test_every_epoch_begins_with_its_own_mask(model, random_world):
    """A run that is continued after an epoch must not need the mask of the epoch before."""
    make = model.train().batches(random_world(events=300), FIT)
    for batch in make(0, np.random.default_rng(0)):
        model.encode(model.input_embeddings(), batch)
    last = model._masked
    batch = next(iter(make(1, np.random.default_rng(1))))
    model.encode(model.input_embeddings(), batch)
    assert model._masked is not last


def test_recommending_sees_the_whole_graph(model, batch):
    model.train()
    hidden = model.encode(model.input_embeddings(), batch)
    whole = model.eval().encode(model.input_embeddings(), batch)
    assert not torch.allclose(hidden.query, whole.query)
    assert torch.allclose(model.final().users[batch.users], whole.query)
    assert "infomax" not in model.losses(whole, batch)


def test_only_the_given_vectors_are_read(model, batch):
    """An aligner may pass changed input vectors: no gradient may reach the tables behind its back."""
    inputs = Embeddings(torch.randn(40, 8, requires_grad=True), torch.randn(30, 8, requires_grad=True))
    model.train()
    sum(model.losses(model.encode(inputs, batch), batch).values()).backward()
    assert model.users.grad is None
    assert model.items.grad is None
    assert inputs.users.grad.any()


def test_heads_must_divide_the_width():
    with pytest.raises(ConfigError, match=r"embedding_dim = 32 is not divisible by num_heads = 3"):
        build(AutoCfConfig, {"num_heads": 3}, "backbone")
