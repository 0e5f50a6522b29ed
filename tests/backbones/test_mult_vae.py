"""Mult-VAE by hand and by PyTorch's distributions; annealing goes by steps; any history is read, whatever its order."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Multinomial, Normal, kl_divergence

from interlingua.backbones.mult_vae import MultVae, MultVaeConfig
from interlingua.config import Config, FitConfig
from interlingua.contracts.aligner import Aligner
from interlingua.contracts.batch import Batch
from interlingua.data.interactions import Interactions
from interlingua.data.queries import PAD, Queries
from interlingua.nn.losses import gaussian_kl, multinomial
from interlingua.training.joint import Joint
from interlingua.training.loop import fit_best, seed_all


def groups(users: int = 60, items: int = 24, held: int = 8, seed: int = 0) -> Interactions:
    """Two kinds of users, each with items of its own half only."""
    rng = np.random.default_rng(seed)
    lists = [rng.permutation(items // 2)[:held] + (n % 2) * (items // 2) for n in range(users)]
    names = (np.array([f"u{n}" for n in range(users)]), np.array([f"i{n}" for n in range(items)]))
    return Interactions.of(*names, np.repeat(np.arange(users), held), np.concatenate(lists))


def model_of(train, **options):
    seed_all(0)
    return MultVae(MultVaeConfig(embedding_dim=12, latent_dim=5, **options), train).eval()


def test_losses_agree_with_pytorch_s_distributions():
    mean, log_variance = torch.randn(4, 5), torch.randn(4, 5)
    own = Normal(mean, (0.5 * log_variance).exp())
    expected = kl_divergence(own, Normal(torch.zeros(4, 5), torch.ones(4, 5))).sum(-1).mean()
    torch.testing.assert_close(gaussian_kl(mean, log_variance), expected)
    logits, counts = torch.randn(1, 7), torch.tensor([[1.0, 0, 1, 0, 0, 1, 0]])
    ways = math.lgamma(4)  # the order in which three items are drawn is no part of the loss
    likelihood = Multinomial(3, logits=logits).log_prob(counts) - ways
    torch.testing.assert_close(multinomial(logits, counts), -likelihood.mean())


def test_the_whole_network_by_hand():
    model = model_of(groups(), kl_steps=100, kl_weight=0.4)
    histories = torch.tensor([[PAD, 3, 5, 9, 3], [PAD, PAD, PAD, PAD, 7]])
    batch = Batch(torch.arange(2), histories, None, histories, step=torch.tensor(25))
    found = model.losses(model.encode(model.input_embeddings(), batch), batch)
    x = torch.zeros(2, 24)
    x[0, [3, 5, 9]], x[1, 7] = 1, 1
    hidden = torch.tanh(x / x.norm(dim=1, keepdim=True) @ model.read + model.read_bias)
    mean, log_variance = (hidden @ model.to_latent.weight.T + model.to_latent.bias).split(5, dim=1)
    logits = torch.tanh(model.from_latent(mean)) @ model.items.T + model.bias
    torch.testing.assert_close(found["multinomial"], multinomial(logits, x))
    torch.testing.assert_close(found["kl"], 0.4 * 25 / 100 * gaussian_kl(mean, log_variance))
    np.testing.assert_allclose(model.score(Queries.of([[9, 5, 3], [7]])), logits.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_the_divergence_s_weight_goes_by_steps_and_goes_on_after_a_resume():
    train = groups()
    model = model_of(train, kl_steps=10, kl_weight=0.2)
    fit = FitConfig(batch_size=16)
    batches = model.batches(train, fit)
    steps = [int(b.step) for epoch in range(3) for b in batches(epoch, np.random.default_rng(epoch))]
    assert steps == list(range(12))
    weights = [float(model._weight(torch.tensor(step))) for step in (0, 5, 10, 99)]
    assert weights == pytest.approx([0, 0.1, 0.2, 0.2])
    assert [int(b.step) for b in batches(2, np.random.default_rng(2))] == [8, 9, 10, 11]
    rounds = model.batches(train, fit.model_copy(update={"steps_per_epoch": 3}))
    assert int(next(iter(rounds(4, np.random.default_rng(0)))).step) == 12


def test_training_is_noisy_and_scoring_is_not():
    model = model_of(groups())
    histories = torch.tensor([[1, 2, 3]])
    batch = Batch(torch.arange(1), histories, None, histories)
    quiet = [model.encode(model.input_embeddings(), batch).query for _ in range(2)]
    assert torch.equal(*quiet)
    noisy = [model.train().encode(model.input_embeddings(), batch).query for _ in range(2)]
    assert not torch.equal(*noisy)
    queries = Queries.of([[1, 2, 3]])
    assert np.array_equal(model.score(queries), model.score(queries))


def test_it_learns_which_items_go_together():
    train = groups()
    fit = FitConfig(learning_rate=1e-2, batch_size=20, epochs=30)
    model = model_of(train, kl_steps=50, fit=fit)
    fit_best(Joint(model, Aligner(Config(), 0, 0)), model.batches(train, fit), fit, seed=1, device="cpu")
    scores = model.score(Queries.of([[0, 4], [15, 20, 13], []]))
    assert scores[0, :12].min() > scores[0, 12:].max()
    assert scores[1, 12:].min() > scores[1, :12].max()
    assert np.isfinite(scores[2]).all()
