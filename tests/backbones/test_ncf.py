"""NeuMF: the score by hand, the split first layer, the loss, users it has not seen, and the block world."""

from copy import deepcopy

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch.nn import functional

from interlingua.backbones import _pair_scores
from interlingua.backbones.ncf import Ncf, NcfConfig, history_similarity
from interlingua.config import Config, FitConfig, build
from interlingua.contracts.aligner import Aligner
from interlingua.contracts.batch import Batch
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError
from interlingua.training.joint import Joint
from interlingua.training.loop import fit_best, seed_all

PARTS = pytest.mark.parametrize("parts", ["neumf", "gmf", "mlp"])


def model_of(train, **options):
    seed_all(0)
    return Ncf(NcfConfig(**{"embedding_dim": 3, "layers": [8, 6, 4], **options}), train).eval()


def written_out(model, user, item):
    """The paper's formulas for one pair: concatenation, layer by layer."""
    config, g = model.config, model.gmf_dim
    u, i = model.users[user], model.items[item]
    parts = [u[:g] * i[:g]]
    if config.parts != "gmf":
        x = torch.cat([u[g:], i[g:]])
        first = torch.cat([model.user_half.weight, model.item_half.weight], dim=1)
        x = functional.relu(first @ x + model.item_half.bias)
        for layer in model.above:
            x = functional.relu(layer.weight @ x + layer.bias)
        parts.append(x)
    return torch.cat(parts) @ model.out.weight[0] + model.out.bias[0]


@PARTS
@pytest.mark.parametrize("pairs", [7, 32_768])
def test_scores_are_the_papers_formulas_whatever_the_blocks(parts, pairs, random_world, monkeypatch):
    monkeypatch.setattr(_pair_scores, "PAIRS", pairs)
    model = model_of(random_world(), parts=parts)
    queries = random_world().queries(np.array([4, 0, 9]))
    scores = model.score(queries)
    assert scores.shape == (3, 30)
    for row, user in enumerate([4, 0, 9]):
        for item in (0, 13, 29):
            assert scores[row, item] == pytest.approx(float(written_out(model, user, item)), abs=1e-5)
    some = np.array([[0, 1, 1], [5, 29, 2], [7, 7, 7]])
    np.testing.assert_allclose(model.score(queries, some), np.take_along_axis(scores, some, 1), rtol=1e-4, atol=1e-6)


def test_score_by_hand(block_world):
    model = model_of(block_world(), embedding_dim=1, layers=[2, 1])
    with torch.no_grad():
        model.users[2] = torch.tensor([2.0, 1.0])
        model.items[5] = torch.tensor([3.0, -4.0])
        model.user_half.weight.fill_(1.0)
        model.item_half.weight.fill_(0.5)
        model.item_half.bias.fill_(4.0)
        model.out.weight[0] = torch.tensor([0.5, 2.0])
        model.out.bias.fill_(-1.0)
    # 0.5 * (2 * 3) + 2 * relu(1 * 1 + 0.5 * -4 + 4) - 1
    assert model.score(Queries.of([[]], np.array([2])))[0, 5] == pytest.approx(3 + 6 - 1)


@PARTS
def test_every_pair_counts_once_in_the_loss(parts, random_world):
    model = model_of(random_world(), parts=parts)
    batch = Batch(torch.tensor([3, 5]), torch.tensor([1, 2]), torch.tensor([[4, 6, 7], [8, 9, 10]]))
    value = model.losses(model.encode(model.input_embeddings(), batch), batch)["bce"]
    terms = []
    for user, good, bad in ((3, 1, [4, 6, 7]), (5, 2, [8, 9, 10])):
        terms.append(-functional.logsigmoid(written_out(model, user, good)))
        terms += [-functional.logsigmoid(-written_out(model, user, item)) for item in bad]
    torch.testing.assert_close(value, torch.stack(terms).mean())


def test_encode_reads_the_inputs_it_is_given(random_world):
    model = model_of(random_world())
    batch = Batch(torch.tensor([3]), torch.tensor([1]), torch.tensor([2]))
    inputs = model.input_embeddings()
    changed = type(inputs)(inputs.users, inputs.items + 1.0)
    before = model.losses(model.encode(inputs, batch), batch)["bce"]
    assert model.losses(model.encode(changed, batch), batch)["bce"] != before


def test_unseen_users_are_like_those_who_share_their_items():
    train = sp.csr_matrix(np.array([[1, 1, 0, 0], [0, 2, 0, 0], [0, 0, 1, 0]]))
    histories = sp.csr_matrix(np.array([[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], np.float32))
    found = history_similarity(histories, train)
    first = np.array([1 / np.sqrt(2), 1.0, 0.0])
    np.testing.assert_allclose(found[0], first / first.sum(), rtol=1e-6)
    np.testing.assert_allclose(found[1], [0, 0, 1])
    np.testing.assert_allclose(found[2], [1 / 3] * 3, rtol=1e-6)  # nobody has it: the mean of everybody


def test_neumf_begins_with_its_parts_trained_alone_and_half_of_each_output_layer(random_world):
    """The paper's pre-training: each part as it would be by itself, then joined with alpha = 0.5."""
    train, seen = random_world(), {}
    model = model_of(train, pretrain_epochs=3, fit=FitConfig(learning_rate=1e-2, batch_size=64, epochs=1))

    def after(batches, options):
        seen["after"] = {name: p.detach().clone() for name, p in model.named_parameters()}
        return FitLog([{"epoch": 1, "rows": 1, "steps": 1}])

    def first(batches, options):
        start = deepcopy(model)
        log = fit_best(Joint(model, Aligner(Config(), 0, 0)), batches, options, seed=1, device="cpu")
        seen.update(options=options, batches=batches, start=start, alone=deepcopy(model.alone))
        return log

    log = model.fit(Fitting(train, loop=after, earlier=first))
    assert [record.get("phase") for record in log.epochs] == ["pretrain"] * 3 + [None]
    after, (gmf, mlp) = seen["after"], seen["alone"]
    torch.testing.assert_close(after["out.weight"], torch.cat([gmf.weight, mlp.weight], dim=1) / 2)
    torch.testing.assert_close(after["out.bias"], (gmf.bias + mlp.bias) / 2)
    assert not any(name.startswith("alone") for name in after)
    for part, columns, layer in (("gmf", slice(0, 3), 0), ("mlp", slice(3, None), 1)):
        start = seen["start"]
        lone = model_of(train, parts=part)
        with torch.no_grad():
            lone.users.copy_(start.users[:, columns])
            lone.items.copy_(start.items[:, columns])
            lone.out.load_state_dict(start.alone[layer].state_dict())
            if part == "mlp":
                for name in ("user_half", "item_half", "above"):
                    getattr(lone, name).load_state_dict(getattr(start, name).state_dict())
        fit_best(Joint(lone, Aligner(Config(), 0, 0)), seen["batches"], seen["options"], seed=1, device="cpu")
        torch.testing.assert_close(after["users"][:, columns], lone.users.detach(), rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(after["items"][:, columns], lone.items.detach(), rtol=1e-4, atol=1e-6)


@PARTS
def test_the_withheld_item_of_the_own_group_comes_first(parts, block_world):
    train = block_world()
    fit = FitConfig(learning_rate=1e-2, batch_size=64, epochs=40)
    model = model_of(train, parts=parts, embedding_dim=8, layers=[16, 8], fit=fit)
    fit_best(Joint(model, Aligner(Config(), 0, 0)), model.batches(train, fit), fit, seed=1, device="cpu")
    queries = train.queries()
    scores = model.score(queries)
    scores[np.repeat(np.arange(60), queries.lengths()), queries.items] = -np.inf
    assert (scores.argmax(1) % 3 == np.arange(60) % 3).mean() == 1.0
    unseen = Queries.of([[0, 3], [1, 4, 7], [5, 8]])
    scores = model.score(unseen)
    scores[np.repeat(np.arange(3), unseen.lengths()), unseen.items] = -np.inf
    assert (scores.argmax(1) % 3).tolist() == [0, 1, 2]


@pytest.mark.parametrize("layers", [[8], [7, 4], [8, 0]])
def test_layers_that_make_no_perceptron_are_named(layers):
    with pytest.raises(ConfigError, match="at least two positive widths"):
        build(NcfConfig, {"layers": layers}, "backbone")
