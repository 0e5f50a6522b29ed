"""GRU4Rec on sessions side by side: states carried and reset once, other rows as negatives, the port's quirks."""

import numpy as np
import pytest
import torch

from interlingua.backbones.gru4rec import Gru4Rec, Gru4RecConfig
from interlingua.config import Config, FitConfig, build
from interlingua.contracts.aligner import Aligner
from interlingua.contracts.batch import Batch
from interlingua.data.interactions import Interactions
from interlingua.data.queries import PAD, Queries
from interlingua.errors import ConfigError, DataError
from interlingua.training.joint import Joint
from interlingua.training.loop import fit_best, seed_all
from interlingua.training.sessions import session_batches

PAIRWISE = ["sampled-ce", "bce", "bpr", "top1", "bpr-max", "top1-max"]


def some_events(users=11, items=30, seed=0):
    """Sessions of one to nine events."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(1, 10, users)
    names = np.array([f"u{n}" for n in range(users)]), np.array([f"i{n}" for n in range(items)])
    return Interactions.of(*names, np.repeat(np.arange(users), counts), rng.integers(0, items, counts.sum()))


def model_of(train, **options):
    seed_all(0)
    fit = {"batch_size": 4}
    small = {"embedding_dim": 6, "hidden_dim": 5, "max_history": 20, "batch_of": "sessions", "dropout": 0.0, "fit": fit}
    return Gru4Rec(build(Gru4RecConfig, {**small, **options}, "backbone"), train)


def batches_of(model, train, seed=0):
    return list(model.batches(train, model.config.fit)(0, np.random.default_rng(seed)))


@pytest.mark.parametrize("steps", [1, 3, 50])
def test_the_state_of_a_row_is_that_of_a_lone_run_over_its_session(steps):
    train = some_events()
    model = model_of(train, gradient_steps=steps, loss="ce")
    compared = 0
    histories: list[list[int]] = [[] for _ in range(4)]
    for batch in batches_of(model, train):
        states = model.encode(model.input_embeddings(), batch).private[0]
        for step in range(states.shape[1]):
            for row in range(4):
                if batch.histories[row, step] == PAD:
                    continue
                if batch.fresh[row, step]:
                    histories[row] = []
                histories[row].append(int(batch.histories[row, step]))
                lone = model.user_embeddings(Queries.of([histories[row]]))[0]
                torch.testing.assert_close(states[row, step].detach(), lone, rtol=1e-4, atol=1e-5)
                compared += 1
    assert compared == sum(max(count - 1, 0) for count in train.user_counts)


def test_every_event_but_a_users_first_is_a_target_once_and_a_session_begins_once():
    train = some_events()
    batches = list(session_batches(train, 4, 3, np.random.default_rng(0), least=1))
    real = [batch.positives != PAD for batch in batches]
    aimed = np.concatenate([batch.positives[mask].numpy() for batch, mask in zip(batches, real, strict=True)])
    expected = np.concatenate([train.history(user)[1:] for user in range(train.num_users)])
    assert sorted(aimed.tolist()) == sorted(expected.tolist())
    assert sum(int((batch.fresh & mask).sum()) for batch, mask in zip(batches, real, strict=True)) == int(
        (train.user_counts >= 2).sum()
    )
    assert batches[0].fresh[:, 0].all()


def test_an_epoch_ends_when_a_target_has_no_other_to_be_compared_with():
    train = some_events()
    for batch in session_batches(train, 4, 3, np.random.default_rng(0)):
        assert ((batch.positives != PAD).sum(0) >= 2).all()
    alone = train.filter(train.users == int(train.user_counts.argmax()))
    with pytest.raises(DataError, match="from 2 sessions side by side"):
        next(session_batches(alone, 4, 3, np.random.default_rng(0)))
    assert next(session_batches(alone, 4, 3, np.random.default_rng(0), least=1)).positives.shape == (1, 3)


def by_hand(loss, matrix, penalty):
    """A row at a time: its own score r, and the other rows' targets' scores."""
    rows = []
    for own in range(len(matrix)):
        r, others = matrix[own, own], np.delete(matrix[own], own)
        weights = np.exp(others) / np.exp(others).sum()
        better = 1 / (1 + np.exp(others - r))
        rows.append(
            {
                "sampled-ce": np.log(np.exp(matrix[own]).sum()) - r,
                "bce": np.log1p(np.exp(-r)) + np.log1p(np.exp(others)).mean(),
                "bpr": -np.log(better).mean(),
                "top1": (1 - better + 1 / (1 + np.exp(-(others**2)))).mean(),
                "bpr-max": -np.log((weights * better).sum()) + penalty * (weights * others**2).sum(),
                "top1-max": (weights * (1 - better + 1 / (1 + np.exp(-(others**2))))).sum(),
            }[loss]
        )
    return rows


@pytest.mark.parametrize("scores", ["linear", "tanh"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("loss", PAIRWISE)
def test_negatives_are_the_other_rows_targets_of_the_same_step(loss, tied, scores):
    model = model_of(some_events(), loss=loss, tied=tied, scores=scores, bpr_penalty=0.3)
    if model.bias is not None:
        torch.nn.init.normal_(model.bias)
    read = torch.tensor([[1, 2], [3, 4], [5, PAD], [6, 7]])
    aimed = torch.tensor([[2, 8], [4, 9], [10, PAD], [7, 11]])
    fresh = torch.tensor([[True, False]] * 4)
    batch = Batch(torch.arange(4), aimed, None, read, fresh=fresh)
    (value,) = model.losses(model.encode(model.input_embeddings(), batch), batch).values()
    terms = []
    for step, rows in ((0, [0, 1, 2, 3]), (1, [0, 1, 3])):
        histories = [read[row, : step + 1].tolist() for row in rows]
        matrix = model.score(Queries.of(histories))[:, aimed[rows, step].numpy()].astype(np.float64)
        terms += by_hand(loss, np.tanh(matrix) if scores == "tanh" else matrix, 0.3)
    assert float(value) == pytest.approx(np.mean(terms), rel=1e-4)


@pytest.mark.parametrize(("steps", "reaches"), [(1, False), (2, True)])
def test_a_gradient_reaches_back_as_many_steps_as_a_batch_has(steps, reaches):
    train = some_events()
    model = model_of(train, gradient_steps=steps, loss="ce", tied=False)
    read = torch.tensor([[1, 2], [3, 4]])
    fresh = torch.tensor([[True, False]] * 2)
    for at in range(0, 2, steps):
        model.zero_grad()
        part = slice(at, at + steps)
        batch = Batch(
            torch.arange(2), torch.tensor([[5, 6], [7, 8]])[:, part], None, read[:, part], fresh=fresh[:, part]
        )
        states = model.encode(model.input_embeddings(), batch).private[0]
        states[:, -1].sum().backward()
    assert bool(model.items.grad[[2, 4]].any())
    assert bool(model.items.grad[[1, 3]].any()) is reaches


def port(train, order, count):
    """The PyTorch port's loader: which rows are zeroed before each of its steps; an own program."""
    lengths = [int(train.user_counts[user]) - 1 for user in order]
    left, following = lengths[:count], count
    masks, current = [], set()
    while all(left):
        masks += [set(current)] * min(left)
        shortest = min(left)
        left = [n - shortest for n in left]
        current = {row for row, n in enumerate(left) if n == 0}
        for row in sorted(current):
            if following >= len(lengths):
                return masks
            left[row], following = lengths[following], following + 1
    return masks


def test_the_ports_resets_last_until_another_session_begins():
    train = some_events(users=30)
    order = np.random.default_rng(5).permutation(np.flatnonzero(train.user_counts >= 2))
    (batch,) = session_batches(train, 4, 10_000, np.random.default_rng(5), resets="port")
    expected = port(train, order, 4)
    found = [set(np.flatnonzero(column)) for column in batch.fresh.numpy().T]
    assert found[1 : len(expected)] == expected[1:]  # at the first step all states are zero anyway
    (once,) = session_batches(train, 4, 10_000, np.random.default_rng(5))
    assert batch.fresh.sum() > once.fresh.sum()
    assert torch.equal(batch.histories, once.histories)


@pytest.mark.parametrize("loss", ["ce", "bpr-max", "top1-max", "sampled-ce"])
def test_it_learns_the_order_of_events(loss):
    """The next item is always the one after, modulo the catalogue."""
    starts = np.random.default_rng(0).integers(0, 20, 60)
    events = (starts[:, None] + np.arange(9)) % 20
    names = np.array([f"u{n}" for n in range(60)]), np.array([f"i{n}" for n in range(20)])
    train = Interactions.of(*names, np.repeat(np.arange(60), 9), events.ravel())
    fit = FitConfig(learning_rate=1e-2, batch_size=20, epochs=60)
    model = model_of(train, loss=loss, hidden_dim=16, embedding_dim=12, bpr_penalty=0.1, gradient_steps=4, fit=fit)
    fit_best(Joint(model, Aligner(Config(), 0, 0)), model.batches(train, fit), fit, seed=1, device="cpu")
    queries = Queries.of([[(start + step) % 20 for step in range(4)] for start in range(20)])
    best = np.argsort(-model.eval().score(queries), axis=1)[:, :3]
    assert (best == (np.arange(20)[:, None] + 4) % 20).any(1).mean() >= 0.9


def test_options_of_the_other_batches_are_refused():
    with pytest.raises(ConfigError, match="gradient_steps is read with batch_of = 'sessions' only"):
        build(Gru4RecConfig, {"gradient_steps": 3}, "backbone")
    with pytest.raises(ConfigError, match="long_histories is read with batch_of = 'stretches' only"):
        build(Gru4RecConfig, {"batch_of": "sessions", "long_histories": "last"}, "backbone")
