"""gSASRec's and eSASRec's parts of the backbone ``sasrec``: gated blocks, drawn negatives and their corrections."""

import math

import numpy as np
import pytest
import torch
from tests.backbones.test_sasrec import cycles, model_of
from torch import nn
from torch.nn import functional

from interlingua.backbones.sasrec import SasRecConfig
from interlingua.contracts.batch import Batch
from interlingua.data.interactions import Interactions
from interlingua.data.queries import Queries
from interlingua.nn import losses
from interlingua.training import next_item
from interlingua.training.mixed_negatives import MixedNegatives


def test_a_ligr_block_by_pytorch_s_own_attention():
    block = model_of(cycles(), block="ligr", num_heads=2, inner_factor=3).blocks[0].double()
    attention = nn.MultiheadAttention(16, 2, batch_first=True).double().eval()
    with torch.no_grad():
        attention.in_proj_weight.copy_(torch.cat([block.query.weight, block.key_value.weight]))
        attention.in_proj_bias.copy_(torch.cat([block.query.bias, block.key_value.bias]))
        attention.out_proj.load_state_dict(block.out.state_dict())
    x = torch.randn(3, 5, 16, dtype=torch.float64)
    normed = functional.layer_norm(x, (16,), eps=1e-8)
    later = torch.ones(5, 5, dtype=torch.bool).triu(1)
    mixed, _ = attention(normed, normed, normed, attn_mask=later)
    y = x + block.attention_gate(x).sigmoid() * mixed
    gate, value = block.inner.weight.chunk(2)
    z = functional.layer_norm(y, (16,))
    fed = (functional.silu(z @ gate.T) * (z @ value.T)) @ block.outer.weight.T
    torch.testing.assert_close(block(x), y + block.forward_gate(y).sigmoid() * fed)


def test_gbce_by_hand():
    # 9 items, 2 negatives: a = 1/4; t = 1/2: beta = 5/8; sigmoid(log 3) = 3/4, sigmoid(0) = 1/2
    value = losses.gbce(torch.tensor([math.log(3)]), torch.tensor([[0.0, math.log(3)]]), 9, 0.5)
    assert value.item() == pytest.approx(-(5 / 8 * math.log(3 / 4) + math.log(1 / 2) + math.log(1 / 4)) / 3, rel=1e-6)
    scores = torch.randn(4), torch.randn(4, 1)
    assert losses.gbce(*scores, 9, 0.0).item() == pytest.approx(losses.bce(*scores).item() / 2, rel=1e-6)


def test_fully_calibrated_gbce_has_its_least_value_at_the_true_probability():
    # an item is the positive in 30 of 100 rows, a negative in 2 of 10 of the others: as of 11 items and 2 negatives
    score = torch.tensor(math.log(0.3 / 0.7), requires_grad=True)
    positive, negative = torch.zeros(100), torch.zeros(100, 2)
    positive = torch.cat([score.expand(30), positive[30:]])
    negative = torch.cat([negative[:30], torch.stack([score.expand(14), torch.zeros(14)], 1), negative[44:]])
    losses.gbce(positive, negative, 11, 1.0).backward()
    assert score.grad.item() == pytest.approx(0, abs=1e-7)
    plain = torch.tensor(math.log(0.3 / 0.7), requires_grad=True)
    losses.gbce(torch.cat([plain.expand(30), positive[30:].detach()]), negative.detach(), 11, 0.0).backward()
    assert plain.grad.item() < -1e-3  # without calibration it would rise further: overconfident


def test_log_q_softmax_expects_the_full_partition_function_whatever_the_draws():
    chances, scores = torch.tensor([0.1, 0.6, 0.3]), torch.tensor([0.4, -1.0, 2.0])
    positive = torch.tensor([0.7])
    partition = [
        math.exp(losses.log_q_softmax(positive, score.view(1, 1), chance.view(1, 1)) + positive) - math.exp(positive)
        for score, chance in zip(scores, chances, strict=True)
    ]
    assert float((chances * torch.tensor(partition)).sum()) == pytest.approx(float(scores.exp().sum()), rel=1e-5)
    negative = torch.randn(5, 3)
    uniform = losses.log_q_softmax(torch.ones(5), negative, torch.full((5, 3), 3 / 8))
    torch.testing.assert_close(uniform, losses.sampled_softmax(torch.ones(5), negative, num_items=9))
    own = losses.log_q_softmax(positive, scores[None], torch.ones(1, 3), torch.tensor([2.0]))
    assert own.item() == pytest.approx(
        math.log(math.exp(0.7) / 2 + scores.exp().sum().item()) - 0.7 + math.log(2), rel=1e-5
    )


def crowd() -> Interactions:
    """Two users have items 0 and 1; item 2 is in eight of ten further events; items 3 to 9 are in none."""
    names = np.array([f"u{n}" for n in range(10)]), np.array([f"i{n}" for n in range(10)])
    return Interactions.of(*names, np.array([0, 0, 1, 1, *range(2, 10)]), np.array([0, 1, 0, 1] + [2] * 8))


def test_mixed_negatives_are_uniform_strangers_and_items_of_random_events():
    drawn = MixedNegatives(crowd(), 0.5).draw(np.zeros(4000, np.int64), np.random.default_rng(0), 4)
    uniform, popular = drawn[:, :2], drawn[:, 2:]
    np.testing.assert_allclose(np.bincount(uniform.ravel(), minlength=10) / 8000, [0, 0] + [1 / 8] * 8, atol=0.015)
    np.testing.assert_allclose(
        np.bincount(popular.ravel(), minlength=10) / 8000, [1 / 6, 1 / 6, 2 / 3] + [0] * 7, atol=0.02
    )


@pytest.mark.parametrize("log_q", ["negatives", "all", "none"])
def test_the_sampled_softmax_counts_draws_by_their_expectation_and_no_draw_of_the_target(log_q):
    model = model_of(crowd(), loss="sampled-ce", num_negatives=4, popular_negatives=0.5, log_q=log_q)
    batch = Batch(torch.tensor([0]), torch.tensor([[2]]), torch.tensor([[[5, 6, 2, 0]]]), torch.tensor([[1]]))
    value = model.losses(model.encode(model.input_embeddings(), batch), batch)["sampled_ce"]
    scores = torch.as_tensor(model.score(Queries.of([[1]]))[0])
    expected = {2: 2 / 9 + 2 * 2 / 3, 5: 2 / 9, 6: 2 / 9, 0: 2 / 9 + 2 / 6}  # two uniform and two popular draws
    logits = {i: scores[i] - math.log(expected[i]) if log_q != "none" else scores[i] for i in (5, 6, 0)}
    own = scores[2] - math.log(expected[2]) if log_q == "all" else scores[2]
    by_hand = torch.logsumexp(torch.stack([own, *logits.values()]), 0) - own
    torch.testing.assert_close(value, by_hand, rtol=1e-4, atol=1e-5)


def test_cosine_scores_are_within_the_inverse_temperature_and_long_vectors_gain_nothing():
    model = model_of(cycles(), similarity="cosine", temperature=0.5)
    before = model.score(Queries.of([[1, 2]]))
    assert np.abs(before).max() <= 2 + 1e-5
    with torch.no_grad():
        model.items[5] *= 10
    np.testing.assert_allclose(model.score(Queries.of([[1, 2]])), before, rtol=1e-4, atol=1e-5)


def test_scores_of_many_negatives_by_one_product_are_those_of_gathered_vectors(monkeypatch):
    states, table = torch.randn(6, 4, requires_grad=True), torch.randn(30, 4, requires_grad=True)
    targets, negatives = torch.randint(30, (6,)), torch.randint(30, (6, 5))
    found = []
    for dense in (0, 50):  # 30 items are more than 0 * 4, and fewer than 50 * 4
        monkeypatch.setattr(next_item, "DENSE", dense)
        positive, negative = next_item.pair_scores(states, table, targets, negatives)
        grads = torch.autograd.grad(losses.gbce(positive, negative, 30, 0.5), (states, table))
        found.append((positive, negative, *grads))
    torch.testing.assert_close(*found)
    torch.testing.assert_close(
        found[0][1], torch.stack([table[row] @ s for row, s in zip(negatives, states, strict=True)])
    )


def test_options_of_another_loss_are_refused():
    with pytest.raises(ValueError, match="calibration is read with loss = 'gbce' only"):
        SasRecConfig(calibration=0.5)
    with pytest.raises(ValueError, match="norm is read with block = 'transformer' only"):
        SasRecConfig(block="ligr", norm="pre")
