"""Caser: filters written out, windows and their targets, what the order does, and users with a vector or without."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from interlingua.backbones.caser import Caser, CaserConfig
from interlingua.contracts.batch import Batch
from interlingua.data.interactions import Interactions
from interlingua.data.queries import PAD, Queries
from interlingua.errors import ConfigError, DataError
from interlingua.training.batches import Negatives
from interlingua.training.loop import seed_all
from interlingua.training.target_windows import target_batches


def model_of(train, **options):
    seed_all(0)
    small = {"embedding_dim": 4, "max_history": 3, "vertical_filters": 2, "horizontal_filters": 5}
    made = Caser(CaserConfig(**{**small, **options}), train)
    with torch.no_grad():
        made.items.normal_()
        made.bias.normal_(std=0.1)
    return made.eval()


def written_out(model, window):
    """(D,) of three items, None for padding: the paper's filters one by one."""
    picture = torch.stack([torch.zeros(4) if item is None else model.items[item] for item in window])
    parts = [(model.vertical.weight[k] @ picture)[None] for k in range(2)]
    vertical = torch.stack(parts, dim=-1).flatten()  # every dimension's two sums side by side
    horizontal = []
    for height, conv in enumerate(model.horizontal, 1):
        for k in range(5):
            values = [
                functional.relu((conv.weight[k].T * picture[top : top + height]).sum() + conv.bias[k])
                for top in range(3 - height + 1)
            ]
            horizontal.append(torch.stack(values).max())
    return functional.relu(model.above(torch.cat([vertical, torch.stack(horizontal)])))


def test_a_window_is_the_papers_filters_written_out(random_world):
    model = model_of(random_world())
    found = model.user_embeddings(Queries.of([[3, 1, 4], [9], [], [7, 7, 3, 1, 4]]))
    expected = [written_out(model, window) for window in ([3, 1, 4], [None, None, 9], [None] * 3, [3, 1, 4])]
    torch.testing.assert_close(found, torch.stack(expected).detach(), rtol=1e-4, atol=1e-6)


def test_the_order_in_a_window_counts_and_what_is_before_it_does_not(random_world):
    model = model_of(random_world())
    plain, swapped, longer = model.score(Queries.of([[3, 1, 4], [1, 3, 4], [8, 6, 3, 1, 4]]))
    assert np.abs(plain - swapped).max() > 1e-3
    np.testing.assert_allclose(longer, plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("width", [1, 2, 3, 8])
def test_padding_of_a_batch_changes_nothing(width, random_world):
    model = model_of(random_world())
    alone = model.windows(model.items, torch.tensor([[5]]))
    padded = model.windows(model.items, torch.tensor([[PAD] * (width - 1) + [5], list(range(width))]))
    torch.testing.assert_close(padded[:1], alone)


def test_a_user_vector_stands_beside_the_window_and_the_unknown_get_the_mean(random_world):
    train = random_world(users=6)
    model = model_of(train, user_table=True)
    queries = Queries.of([[3, 1, 4], [3, 1, 4]], np.array([2, -1]))
    own, unknown = model.user_embeddings(queries)
    torch.testing.assert_close(own[:4], unknown[:4])
    torch.testing.assert_close(own[4:], model.users[2].detach())
    torch.testing.assert_close(unknown[4:], model.users.mean(0).detach())
    scores = torch.from_numpy(model.score(queries))
    torch.testing.assert_close(scores[0], (model.outputs @ own + model.bias).detach(), rtol=1e-4, atol=1e-5)
    assert "user_table" in Caser.makes(model.config)
    assert "user_table" not in Caser.makes(CaserConfig())


def test_given_away_without_users_it_answers_the_unknown_as_before(random_world):
    train = random_world(users=6)
    model = model_of(train, user_table=True)
    lone = random_world(users=1)
    other = Caser(model.config, lone)
    other.load_state_dict(model.given_away())
    queries = Queries.of([[3, 1, 4], [2]])
    np.testing.assert_allclose(other.score(queries), model.score(queries), rtol=1e-5, atol=1e-6)


def events_of(*histories, items=12):
    users = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
    names = np.array([f"u{n}" for n in range(len(histories))]), np.array([f"i{n}" for n in range(items)])
    return Interactions.of(*names, users, np.concatenate([np.asarray(h, int) for h in histories]))


def test_windows_slide_by_one_and_short_users_have_one_with_something_to_read():
    train = events_of([0, 1, 2, 3, 4, 5], [6, 7], [8], [9, 10, 11])
    (batch,) = target_batches(train, 3, 2, 99, np.random.default_rng(0), negatives=Negatives(train), num_negatives=4)
    rows = {
        (int(user), tuple(read), tuple(goals))
        for user, read, goals in zip(batch.users, batch.histories.tolist(), batch.positives.tolist(), strict=True)
    }
    assert rows == {
        (0, (0, 1, 2), (3, 4)), (0, (1, 2, 3), (4, 5)), (1, (PAD, PAD, 6), (PAD, 7)), (3, (PAD, PAD, 9), (10, 11)),
    }  # fmt: skip
    assert batch.negatives.shape == (4, 4)
    for user, drawn in zip(batch.users.tolist(), batch.negatives, strict=True):
        assert not set(drawn.tolist()) & set(train.history(user).tolist())
    with pytest.raises(DataError, match="no history of two events"):
        next(target_batches(events_of([0], [1]), 3, 2, 4, np.random.default_rng(0)))


def test_losses_by_hand(random_world):
    batch = Batch(
        torch.arange(2), torch.tensor([[PAD, 8], [0, 7]]), torch.tensor([[4, 6], [9, 10]]),
        torch.tensor([[PAD, 3, 1], [5, 0, 2]]),
    )  # fmt: skip
    model = model_of(random_world(), num_negatives=2)
    first, second = written_out(model, [None, 3, 1]), written_out(model, [5, 0, 2])
    score = lambda window, item: window @ model.outputs[item] + model.bias[item]  # noqa: E731
    good = [score(first, 8), score(second, 0), score(second, 7)]
    bad = [score(first, 4), score(first, 6), score(second, 9), score(second, 10)]
    expected = -torch.stack([s.sigmoid().log() for s in good]).mean()
    expected = expected - torch.stack([(1 - s.sigmoid()).log() for s in bad]).mean()
    value = model.losses(model.encode(model.input_embeddings(), batch), batch)["bce"]
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)
    full = model_of(random_world(), loss="ce")
    logits = torch.stack([w @ full.outputs.T + full.bias for w in (first, second, second)])
    value = full.losses(full.encode(full.input_embeddings(), batch), batch)["ce"]
    torch.testing.assert_close(value, functional.cross_entropy(logits, torch.tensor([8, 0, 7])), rtol=1e-4, atol=1e-5)


def test_without_any_filter_it_says_so(random_world):
    with pytest.raises(ConfigError, match="both 0"):
        model_of(random_world(), vertical_filters=0, horizontal_filters=0)
