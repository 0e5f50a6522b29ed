"""GRU4Rec: losses by hand, states step by step, padding without effect, and the order of events learned."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from interlingua.backbones.gru4rec import Gru4Rec, Gru4RecConfig, bpr_max, top1_max
from interlingua.config import Config, FitConfig
from interlingua.contracts.aligner import Aligner
from interlingua.contracts.batch import Batch
from interlingua.data.interactions import Interactions
from interlingua.data.queries import PAD, Queries
from interlingua.errors import ConfigError
from interlingua.training.joint import Joint
from interlingua.training.loop import fit_best, seed_all

LOSSES = ["ce", "sampled-ce", "bce", "bpr-max", "top1-max"]


def cycles(users=80, items=12, length=9, seed=0):
    """The next item is always the one after, modulo the catalogue: only order tells it."""
    starts = np.random.default_rng(seed).integers(0, items, users)
    events = (starts[:, None] + np.arange(length)[None, :]) % items
    names = (np.array([f"u{n}" for n in range(users)]), np.array([f"i{n}" for n in range(items)]))
    times = np.tile(np.arange(length), users)
    return Interactions.of(*names, np.repeat(np.arange(users), length), events.ravel(), times)


def model_of(train, **options):
    seed_all(0)
    return Gru4Rec(Gru4RecConfig(**{"embedding_dim": 12, "hidden_dim": 16, "max_history": 8, **options}), train).eval()


def test_bpr_max_by_hand():
    r, negatives = 1.0, np.array([0.5, -1.0])
    share = np.exp(negatives) / np.exp(negatives).sum()
    expected = -np.log((share / (1 + np.exp(negatives - r))).sum()) + 0.3 * (share * negatives**2).sum()
    value = bpr_max(torch.tensor([r]), torch.tensor([negatives.tolist()]), 0.3)
    assert value.item() == pytest.approx(expected, rel=1e-5)


def test_top1_max_by_hand():
    r, negatives = 1.0, np.array([0.5, -1.0])
    share = np.exp(negatives) / np.exp(negatives).sum()
    expected = (share * (1 / (1 + np.exp(r - negatives)) + 1 / (1 + np.exp(-(negatives**2))))).sum()
    value = top1_max(torch.tensor([r]), torch.tensor([negatives.tolist()]))
    assert value.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("layers", [1, 2])
def test_states_follow_the_gru_step_by_step_and_padding_changes_nothing(layers):
    model = model_of(cycles(), num_layers=layers)
    hidden = [torch.zeros(16) for _ in range(layers)]
    expected = []
    for item in (3, 1, 4):
        x = model.items[item]
        for layer in range(layers):
            weights = [getattr(model.gru, f"{n}_l{layer}") for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            x = hidden[layer] = torch.gru_cell(x[None], hidden[layer][None], *weights)[0]
        expected.append(model.out(x))
    for width in (3, 5, 8):
        padded = torch.tensor([[PAD] * (width - 3) + [3, 1, 4], list(range(width))])
        states, lengths = model.states(model.items, padded)
        assert lengths.tolist() == [3, width]
        torch.testing.assert_close(states[0, :3], torch.stack(expected))
    torch.testing.assert_close(model.user_embeddings(Queries.of([[3, 1, 4]]))[0], expected[-1])


def test_only_the_last_events_count():
    model = model_of(cycles())
    long, short = Queries.of([list(range(12))]), Queries.of([list(range(4, 12))])
    torch.testing.assert_close(model.user_embeddings(long), model.user_embeddings(short))


@pytest.mark.parametrize("loss", LOSSES)
def test_all_position_loss_is_that_of_its_positions(loss):
    model = model_of(cycles(), loss=loss, num_negatives=2)
    histories = torch.tensor([[PAD, 3, 1], [5, 0, 2]])
    positives = torch.tensor([[PAD, 1, 8], [0, 2, 7]])
    negatives = torch.where(positives[..., None] == PAD, PAD, torch.randint(0, 12, (2, 3, 2)))
    batch = Batch(torch.arange(2), positives, negatives, histories)
    (value,) = model.losses(model.encode(model.input_embeddings(), batch), batch).values()
    rows = []
    for prefix, goal, others in (
        ([3], 1, negatives[0, 1]), ([3, 1], 8, negatives[0, 2]),
        ([5], 0, negatives[1, 0]), ([5, 0], 2, negatives[1, 1]), ([5, 0, 2], 7, negatives[1, 2]),
    ):  # fmt: skip
        one = Batch(torch.arange(1), torch.tensor([goal]), others[None], torch.tensor([prefix]))
        (part,) = model.losses(model.encode(model.input_embeddings(), one), one).values()
        rows.append(part)
    torch.testing.assert_close(value, torch.stack(rows).mean(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("loss", LOSSES)
def test_learns_the_order(loss):
    train = cycles(items=30)
    fit = FitConfig(learning_rate=1e-2, batch_size=16, epochs=20)
    model = model_of(train, loss=loss, num_negatives=8, bpr_penalty=0.1, dropout=0.1, fit=fit)
    log = fit_best(Joint(model, Aligner(Config(), 0, 0)), model.batches(train, fit), fit, seed=1, device="cpu")
    assert sum(log.epochs[-1]["losses"].values()) < 0.8 * sum(log.epochs[0]["losses"].values())
    queries = Queries.of([[(s + k) % 30 for k in range(n)] for s in range(30) for n in (3, 5)])
    scores = model.score(queries)
    scores[np.repeat(np.arange(60), queries.lengths()), queries.items] = -np.inf
    expected = np.array([(s + n) % 30 for s in range(30) for n in (3, 5)])
    # sampled negatives are never the user's own items, so those that come later in the row are not told apart
    top = 1 if loss == "ce" else 5
    assert (np.argsort(-scores, axis=1)[:, :top] == expected[:, None]).any(1).mean() >= 0.9


def test_encode_reads_its_inputs_and_wrong_batches_are_named():
    model = model_of(cycles(), loss="bpr-max")
    batch = Batch(torch.arange(1), torch.tensor([4]), None, torch.tensor([[1, 2]]))
    changed = type(model.input_embeddings())(None, model.items + 1.0)
    assert not torch.allclose(model.encode(changed, batch).query, model.encode(model.input_embeddings(), batch).query)
    torch.testing.assert_close(
        functional.cosine_similarity(
            model.encode(model.input_embeddings(), batch).query, model.user_embeddings(Queries.of([[1, 2]]))
        ),
        torch.ones(1),
    )
    with pytest.raises(ConfigError, match="negatives"):
        model.losses(model.encode(model.input_embeddings(), batch), batch)
    with pytest.raises(ConfigError, match="histories"):
        model.encode(model.input_embeddings(), Batch(torch.arange(1), torch.tensor([4])))
