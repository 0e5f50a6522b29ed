"""ComiRec: routing and attention by hand, scores as the best interest's, one interest trained, and a rule learned."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from interlingua.backbones.comirec import ComiRec, ComiRecConfig, attend, fitting, route, squash
from interlingua.config import Config, FitConfig
from interlingua.contracts.aligner import Aligner
from interlingua.contracts.batch import Batch
from interlingua.data.queries import PAD, Queries
from interlingua.errors import ConfigError
from interlingua.training.joint import Joint
from interlingua.training.loop import fit_best, seed_all

KINDS = pytest.mark.parametrize("kind", [{"extraction": "sa"}, {"extraction": "dr"}], ids=["sa", "dr"])
ALL_KINDS = pytest.mark.parametrize(
    "kind", [{"extraction": "sa"}, {"extraction": "dr"}, {"extraction": "dr", "maps": "position"}]
)


def model_of(train, **options):
    seed_all(0)
    return ComiRec(ComiRecConfig(**{"embedding_dim": 8, "num_interests": 3, "max_history": 6, **options}), train).eval()


def test_squash_by_hand():
    torch.testing.assert_close(squash(torch.tensor([3.0, 4.0])), torch.tensor([3.0, 4.0]) / 5 * 25 / 26)
    assert squash(torch.zeros(2)).tolist() == [0.0, 0.0]


def test_routing_by_hand():
    """Two items, two interests, one dimension: the second round follows the agreement of the first."""
    votes = torch.tensor([[[[2.0], [0.0]], [[1.0], [-1.0]]]])
    real = torch.tensor([[True, True]])

    def bend(x):
        return np.sign(x) * x * x / (1 + x * x)

    first = [bend(0.5 * 2 + 0.5 * 1), bend(0.5 * 0 + 0.5 * -1)]
    torch.testing.assert_close(route(votes, real, 1)[0, :, 0], torch.tensor(first, dtype=torch.float32))
    agreement = np.array([[2 * first[0], 0.0], [first[0], -first[1]]])
    weights = np.exp(agreement) / np.exp(agreement).sum(1, keepdims=True)
    second = [bend(weights[0, 0] * 2 + weights[1, 0] * 1), bend(weights[0, 1] * 0 + weights[1, 1] * -1)]
    torch.testing.assert_close(route(votes, real, 2)[0, :, 0], torch.tensor(second, dtype=torch.float32))


def test_attention_by_hand():
    x = torch.tensor([[[9.0, 9.0], [1.0, 0.0], [0.0, 1.0]]])
    logits = torch.tensor([[[50.0, 50.0], [0.0, float(np.log(3.0))], [0.0, 0.0]]])
    found = attend(x, logits, torch.tensor([[False, True, True]]))
    torch.testing.assert_close(found, torch.tensor([[[0.5, 0.5], [0.75, 0.25]]]))


def test_the_fitting_interest_is_the_one_with_the_highest_product():
    interests = torch.tensor([[[1.0, 0.0], [0.0, 2.0]], [[1.0, 0.0], [0.0, 2.0]]])
    assert fitting(interests, torch.tensor([[3.0, 1.0], [1.0, 1.0]])).tolist() == [[1.0, 0.0], [0.0, 2.0]]


def test_order_matters_to_no_routing_with_one_map_per_interest(random_world):
    model = model_of(random_world(), extraction="dr")
    rows = torch.tensor([[3, 1, 4, 15, 9]])
    mixed = model.interests(model.items, rows[:, torch.tensor([4, 2, 0, 1, 3])])
    torch.testing.assert_close(mixed, model.interests(model.items, rows))
    placed = model_of(random_world(), extraction="dr", maps="position")
    other = placed.interests(placed.items, rows.flip(1))
    assert not torch.allclose(other, placed.interests(placed.items, rows))


@ALL_KINDS
def test_padding_changes_nothing_and_only_the_last_events_count(kind, random_world):
    model = model_of(random_world(), **kind)
    short = model.interests(model.items, torch.tensor([[3, 1, 4]]))
    for width in (4, 6):
        padded = torch.tensor([[PAD] * (width - 3) + [3, 1, 4], list(range(width))])
        torch.testing.assert_close(model.interests(model.items, padded)[:1], short)
    long, last = Queries.of([list(range(12))]), Queries.of([list(range(6, 12))])
    np.testing.assert_allclose(model.score(long), model.score(last), rtol=1e-5, atol=1e-6)
    empty = model.interests(model.items, torch.full((1, 3), PAD))
    assert not empty.any()


@KINDS
def test_a_score_is_that_of_the_best_interest(kind, random_world):
    train = random_world()
    model = model_of(train, **kind)
    queries = Queries.of([[3, 1, 4], [7], [1, 5, 9, 2, 6]])
    interests = model.interests(model.items, torch.from_numpy(queries.padded(6)))
    expected = torch.stack([(model.items @ user.T).amax(1) for user in interests]).detach().numpy()
    np.testing.assert_allclose(model.score(queries), expected, rtol=1e-5, atol=1e-6)
    chosen = model.user_embeddings(queries)
    last = model.items[torch.tensor([4, 7, 6])]
    best = (interests * last[:, None]).sum(-1).amax(1)
    torch.testing.assert_close((chosen * last).sum(-1), best)


@KINDS
def test_loss_is_the_softmax_of_the_chosen_interest(kind, random_world):
    model = model_of(random_world(), loss="sampled-ce", **kind)
    histories = torch.tensor([[PAD, 3, 1], [5, 0, 2]])
    batch = Batch(torch.arange(2), torch.tensor([4, 8]), torch.tensor([[7, 8], [9, 10]]), histories)
    encoded = model.encode(model.input_embeddings(), batch)
    value = model.losses(encoded, batch)["sampled_ce"]
    rows = []
    for row, target, others in (
        (0, 4, [7, 8, 9, 10]),
        (1, 8, [7, 9, 10]),
    ):  # 8 is the other row's negative, not its own
        interests = encoded.private[row]
        chosen = interests[(interests @ model.items[target]).argmax()]
        logits = model.items[[target, *others]] @ chosen
        shift = torch.cat([torch.zeros(1), torch.full((len(others),), np.log(29 / 4))]).float()
        rows.append(functional.cross_entropy((logits + shift)[None], torch.tensor([0])))
    torch.testing.assert_close(value, torch.stack(rows).mean())
    full = model_of(random_world(), loss="ce", **kind)
    encoded = full.encode(full.input_embeddings(), batch)
    expected = functional.cross_entropy(encoded.query @ full.items.T, batch.positives)
    torch.testing.assert_close(full.losses(encoded, batch)["ce"], expected)


@KINDS
@pytest.mark.parametrize("loss", ["sampled-ce", "ce"])
def test_users_with_two_tastes_get_both(kind, loss, block_world):
    """A history from two of three groups: what comes next, unseen, is from these two groups."""
    train = block_world(users=90, items=30, groups=3, events=9)
    fit = FitConfig(learning_rate=1e-2, batch_size=64, epochs=6)
    model = model_of(train, loss=loss, fit=fit, max_history=8, **kind)
    log = fit_best(Joint(model, Aligner(Config(), 0, 0)), model.batches(train, fit), fit, seed=1, device="cpu")
    assert sum(log.epochs[-1]["losses"].values()) < 0.8 * sum(log.epochs[0]["losses"].values())
    queries = Queries.of([[0, 3, 6, 1, 4, 7], [2, 5, 8, 1, 4, 7]])
    scores = model.score(queries)
    scores[np.repeat(np.arange(2), 6), queries.items] = -np.inf
    top = np.argsort(-scores, axis=1)[:, :8] % 3
    assert np.isin(top[0], [0, 1]).mean() >= 0.8
    assert np.isin(top[1], [2, 1]).mean() >= 0.8


def test_wrong_batches_are_named(random_world):
    model = model_of(random_world())
    with pytest.raises(ConfigError, match="histories"):
        model.encode(model.input_embeddings(), Batch(torch.arange(1), torch.tensor([4])))
    batch = Batch(torch.arange(1), torch.tensor([4]), None, torch.tensor([[1]]))
    with pytest.raises(ConfigError, match="negatives"):
        model.losses(model.encode(model.input_embeddings(), batch), batch)
