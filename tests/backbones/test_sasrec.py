"""SASRec reads the past only, ignores padding, trains every position like a row of its own, and learns a rule."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from interlingua.backbones.sasrec import SasRec, SasRecConfig
from interlingua.config import Config, FitConfig, build
from interlingua.contracts.aligner import Aligner
from interlingua.contracts.batch import Batch
from interlingua.data.interactions import Interactions
from interlingua.data.queries import PAD, Queries
from interlingua.errors import ConfigError
from interlingua.training.batches import last_position_batches
from interlingua.training.joint import Joint
from interlingua.training.loop import fit_best, seed_all


def cycles(users: int = 80, items: int = 12, length: int = 9, seed: int = 0) -> Interactions:
    """The next item is always the one after, modulo the catalogue: only order tells it."""
    starts = np.random.default_rng(seed).integers(0, items, users)
    events = (starts[:, None] + np.arange(length)[None, :]) % items
    names = (np.array([f"u{n}" for n in range(users)]), np.array([f"i{n}" for n in range(items)]))
    return Interactions.of(
        *names, np.repeat(np.arange(users), length), events.ravel(), np.tile(np.arange(length), users)
    )


def model_of(train, **options):
    seed_all(0)
    return SasRec(SasRecConfig(embedding_dim=16, max_history=8, **options), train).eval()


BLOCKS = pytest.mark.parametrize("block", [{"norm": "pre"}, {"norm": "authors"}, {"block": "ligr"}], ids=str)


@BLOCKS
@pytest.mark.parametrize("heads", [1, 2])
def test_later_events_do_not_change_earlier_states(block, heads):
    model = model_of(cycles(), **block, num_heads=heads)
    history = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6]])
    before, _ = model.states(model.items, history)
    for cut in range(1, 8):
        other = history.clone()
        other[:, cut:] = (other[:, cut:] + 1) % 12
        after, _ = model.states(model.items, other)
        torch.testing.assert_close(after[:, :cut], before[:, :cut])
        assert not torch.allclose(after[:, cut:], before[:, cut:])


@BLOCKS
def test_padding_changes_nothing(block):
    model = model_of(cycles(), **block)
    short = torch.tensor([[3, 1, 4]])
    expected, _ = model.states(model.items, short)
    for width in range(4, 9):
        padded = functional.pad(short, (width - 3, 0), value=PAD)
        beside = torch.cat([padded, torch.arange(width)[None, :]])
        states, lengths = model.states(model.items, beside)
        assert lengths.tolist() == [3, width]
        torch.testing.assert_close(states[:1, :3], expected)


def test_only_the_last_events_count():
    model = model_of(cycles())
    long, short = list(range(12)), list(range(4, 12))
    torch.testing.assert_close(model.user_embeddings(Queries.of([long])), model.user_embeddings(Queries.of([short])))


@pytest.mark.parametrize("loss", ["bce", "gbce", "ce", "sampled-ce"])
@pytest.mark.parametrize("num", [1, 3])
def test_all_position_loss_equals_the_mean_over_prefixes(loss, num):
    train = cycles()
    model = model_of(train, loss=loss, num_negatives=num)
    histories = torch.tensor([[PAD, PAD, 3, 1], [5, 0, 2, 7]])
    positives = torch.tensor([[PAD, PAD, 1, 8], [0, 2, 7, 11]])
    negatives = torch.where(positives[..., None] == PAD, PAD, torch.randint(0, 12, (2, 4, num)))
    batch = Batch(torch.arange(2), positives, negatives.squeeze(-1) if num == 1 else negatives, histories)
    (value,) = model.losses(model.encode(model.input_embeddings(), batch), batch).values()
    rows = []
    for row, column in (positives != PAD).nonzero().tolist():
        # the state of a position inside a row has its place counted from the row's end: shift the position table alike
        state, _ = model.states(model.items, histories[row : row + 1])
        at = column - int((histories[row] == PAD).sum())
        state = state[0, at]
        scores = model.items @ state
        positive, others = scores[positives[row, column]], scores[negatives[row, column]]
        if loss == "ce":
            rows.append(functional.cross_entropy(scores, positives[row, column]))
        elif loss == "bce":
            rows.append(-functional.logsigmoid(positive) - functional.logsigmoid(-others).mean())
        elif loss == "gbce":  # t = 0.75; a = num / 11
            beta = 0.75 * (num / 11 - 1) + 1
            negative_part = functional.logsigmoid(-others).sum()
            rows.append(-(beta * functional.logsigmoid(positive) + negative_part) / (num + 1))
        else:
            shifted = others + np.log(11 / num)
            rows.append(functional.cross_entropy(torch.cat([positive[None], shifted]), torch.tensor(0)))
    torch.testing.assert_close(value, torch.stack(rows).mean(), rtol=1e-4, atol=1e-5)


@BLOCKS
@pytest.mark.parametrize("heads", [1, 2])
def test_query_is_the_last_state_and_equals_represent(block, heads):
    model = model_of(cycles(), **block, num_heads=heads)
    histories = torch.tensor([[PAD, PAD, 3, 1], [5, 0, 2, 7], [PAD, PAD, PAD, 2]])
    batch = Batch(torch.arange(3), torch.tensor([4, 5, 6]), None, histories)
    encoded = model.encode(model.input_embeddings(), batch)
    queries = Queries.of([[3, 1], [5, 0, 2, 7], [2]])
    torch.testing.assert_close(encoded.query, model.user_embeddings(queries), rtol=1e-4, atol=1e-6)
    assert encoded.tables.users is None
    assert encoded.tables.items.shape == (12, 16)
    assert set(model.losses(encoded, batch)) == {"ce"}  # one target per row works as well


def test_encode_reads_the_inputs_it_is_given():
    model = model_of(cycles())
    batch = Batch(torch.arange(1), torch.tensor([4]), None, torch.tensor([[1, 2]]))
    inputs = model.input_embeddings()
    changed = type(inputs)(None, inputs.items + torch.randn_like(inputs.items))
    assert not torch.allclose(model.encode(changed, batch).query, model.encode(inputs, batch).query)


def test_unknown_users_empty_histories_and_candidates():
    model = model_of(cycles())
    queries = Queries.of([[], [1, 2, 3], [7]])
    full = model.score(queries)
    assert full.shape == (3, 12)
    assert np.isfinite(full).all()
    some = np.array([[0, 1], [4, 4], [11, 2]])
    np.testing.assert_allclose(model.score(queries, some), np.take_along_axis(full, some, 1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.score(queries.take(np.array([2, 1]))), full[[2, 1]], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "top"),
    [
        ({"loss": "ce"}, 1),
        ({"loss": "ce", "norm": "authors", "init": "xavier"}, 1),
        ({"loss": "ce", "long_histories": "windows"}, 1),
        ({"loss": "ce", "batch_by": "events"}, 1),
        ({"loss": "shared-ce", "num_negatives": 10}, 1),
        # sampled negatives are never the user's own items, so those that come later in the row are not told apart
        ({"loss": "bce", "num_negatives": 2}, 5),
        ({"loss": "sampled-ce", "num_negatives": 4}, 5),
        ({"loss": "gbce", "num_negatives": 4}, 5),
        ({"loss": "sampled-ce", "num_negatives": 8, "block": "ligr", "popular_negatives": 0.5}, 1),
        ({"loss": "ce", "similarity": "cosine", "temperature": 0.2}, 1),
    ],
)
def test_learns_the_order(options, top):
    train = cycles(items=30)
    fit = FitConfig(learning_rate=1e-2, batch_size=16, epochs=25)
    model = model_of(train, dropout=0.1, fit=fit, **options)
    log = fit_best(Joint(model, Aligner(Config(), 0, 0)), model.batches(train, fit), fit, seed=1, device="cpu")
    assert sum(log.epochs[-1]["losses"].values()) < 0.6 * sum(log.epochs[0]["losses"].values())
    queries = Queries.of([[(s + k) % 30 for k in range(n)] for s in range(30) for n in (3, 5)])
    scores = model.score(queries)
    scores[np.repeat(np.arange(60), queries.lengths()), queries.items] = -np.inf
    expected = np.array([(s + n) % 30 for s in range(30) for n in (3, 5)])
    assert (np.argsort(-scores, axis=1)[:, :top] == expected[:, None]).any(1).mean() >= 0.9


def test_last_position_batches_train_it_too():
    train = cycles()
    model = model_of(train, loss="bce").train()
    for batch in last_position_batches(train, 8, 32, np.random.default_rng(0)):
        encoded = model.encode(model.input_embeddings(), batch)
        assert encoded.query.shape == (len(batch), 16)
        model.losses(encoded, batch)["bce"].backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_wrong_options_are_named():
    with pytest.raises(ConfigError, match="num_heads = 3"):
        build(SasRecConfig, {"embedding_dim": 16, "num_heads": 3})
    model = model_of(cycles(), loss="bce")
    batch = Batch(torch.arange(1), torch.tensor([[4]]), None, torch.tensor([[1]]))
    with pytest.raises(ConfigError, match="negatives"):
        model.losses(model.encode(model.input_embeddings(), batch), batch)
