"""DMRec by hand; without texts it is Mult-VAE; texts speak for items that ids know nothing of, shuffled ones do not."""

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from interlingua.backbones.dmrec import Dmrec, DmrecConfig
from interlingua.backbones.mult_vae import MultVae, MultVaeConfig
from interlingua.config import Config, FitConfig
from interlingua.contracts.aligner import Aligner
from interlingua.contracts.batch import Batch
from interlingua.data.interactions import Interactions
from interlingua.data.queries import PAD, Queries
from interlingua.errors import ConfigError
from interlingua.nn.losses import multinomial
from interlingua.training.joint import Joint
from interlingua.training.loop import fit_best, seed_all
from interlingua.vectors.frozen import FrozenRows
from interlingua.vectors.rows import mean_of_items

USERS, ITEMS, TEXT, LATENT = 40, 24, 6, 5
UNSEEN = (10, 11, 22, 23)
"""items without events: the last two of each half"""
SIZES = {"embedding_dim": 12, "latent_dim": LATENT, "text_hidden_dim": 7}
HISTORIES = torch.tensor([[PAD, 3, 5, 9, 3], [PAD, PAD, PAD, PAD, 7]])
BATCH = Batch(torch.tensor([2, 0]), HISTORIES, None, HISTORIES)


@pytest.fixture
def train() -> Interactions:
    """Two kinds of users, each with items of its own half only."""
    rng = np.random.default_rng(0)
    lists = [rng.permutation(10)[:6] + (n % 2) * 12 for n in range(USERS)]
    names = (np.array([f"u{n}" for n in range(USERS)]), np.array([f"i{n}" for n in range(ITEMS)]))
    return Interactions.of(*names, np.repeat(np.arange(USERS), 6), np.concatenate(lists))


def texts_of(train, items=None, users="items"):
    """Item texts that say the half, with noise; a user's is the mean of the training items'."""
    generator = np.random.default_rng(5)
    if items is None:
        items = generator.normal(0, 0.1, (ITEMS, TEXT))
        items[:12, 0] += 1
        items[12:, 1] += 1
    items = torch.as_tensor(items, dtype=torch.float32)
    return FrozenRows(items, mean_of_items(items, train) if users == "items" else None)


def started(train, text=None, **options):
    seed_all(0)
    model = Dmrec(DmrecConfig(**{**SIZES, **options}), train)
    model.start(train, text or texts_of(train))
    return model.eval()


def learned(model, train, epochs=10):
    fit = FitConfig(learning_rate=1e-2, batch_size=20, epochs=epochs)
    return fit_best(Joint(model, Aligner(Config(), 0, 0)), model.batches(train, fit), fit, seed=1, device="cpu")


def by_hand(model, text):
    """Multi-hot rows, both parts and the sum as normal distributions, and the log variance of the part by texts."""
    x = torch.zeros(2, ITEMS)
    x[0, [3, 5, 9]], x[1, 7] = 1, 1
    hidden = torch.tanh(x @ model.read + model.read_bias)
    own = (hidden @ model.to_latent.weight.T + model.to_latent.bias).split(LATENT, dim=1)
    words = model.map(x @ text.rows("items") + text.rows("users")[[2, 0]]).split(LATENT, dim=1)
    normal = lambda mean, log_variance: Normal(mean, (0.5 * log_variance).exp())  # noqa: E731
    return x, normal(*own), normal(*words), normal(own[0] + words[0], own[1] + words[1]), words[1]


def mean_kl(p, q):
    return kl_divergence(p, q).sum(-1).mean()


@pytest.mark.parametrize("matching", ["none", "godm", "cpdm", "mddm"])
def test_the_whole_network_by_hand(train, matching):
    text = texts_of(train)
    model = started(train, text, matching=matching, beta=0.3)
    found = model.losses(model.encode(model.input_embeddings(), BATCH), BATCH)
    x, own, words, both, log_variance = by_hand(model, text)
    logits = torch.tanh(model.from_latent(both.mean)) @ model.items.T + model.bias
    prior = mean_kl(both, Normal(torch.zeros(2, LATENT), torch.ones(2, LATENT)))
    middle = [both.mean + words.mean, both.variance.log() + log_variance]
    middle = Normal(middle[0] / 2, (middle[1] / 4).exp())
    distance = ((own.mean - words.mean) ** 2 + (own.stddev - words.stddev) ** 2).sum(1).sqrt().mean()
    expected = {
        "none": (prior, None),
        "godm": (prior, 0.3 * distance),
        "cpdm": (prior, 0.3 * (mean_kl(both, middle) + mean_kl(words, middle))),
        "mddm": (0.3 * prior, 0.7 * mean_kl(both, words)),
    }[matching]
    torch.testing.assert_close(found["multinomial"], multinomial(logits, x))
    torch.testing.assert_close(found["kl"], expected[0], rtol=1e-4, atol=1e-6)
    assert ("matching" in found) == (matching != "none")
    if expected[1] is not None:
        torch.testing.assert_close(found["matching"], expected[1], rtol=1e-4, atol=1e-6)
    scores = model.score(Queries.of([[9, 5, 3], [7]], users=np.array([2, 0])))
    np.testing.assert_allclose(scores, logits.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_an_item_that_dropout_hides_is_hidden_from_both_networks(train):
    text = FrozenRows(torch.eye(ITEMS))
    model = started(train, text, dropout=0.5).train()
    histories = torch.arange(ITEMS)[None]
    with torch.no_grad():
        model.read.copy_(torch.ones(ITEMS, 1) * torch.arange(12))
    bag = model.bag(histories)
    left = model.text_of(bag, torch.tensor([-1]))[0]
    assert 0 < int((left > 0).sum()) < ITEMS
    assert set(left.tolist()) == {0.0, 2.0}  # dropout doubles what it leaves
    torch.testing.assert_close(bag.sums(model.read)[0], left.sum() * torch.arange(12.0))


def test_without_language_it_is_mult_vae(train):
    seed_all(0)
    sizes = {"embedding_dim": 12, "latent_dim": LATENT, "dropout": 0.3, "kl_weight": 1.0, "kl_steps": 0}
    plain = MultVae(MultVaeConfig(normalised=False, **sizes), train)
    model = started(train, language=False)
    for each in (plain, model):
        learned(each, train)
    queries = Queries.of([[1, 4], [13, 20, 14], []])
    assert np.array_equal(plain.eval().score(queries), model.eval().score(queries))
    with_texts = started(train)
    learned(with_texts, train)
    assert not np.allclose(plain.score(queries), with_texts.eval().score(queries), atol=1e-2)


def halves_found(model):
    """For histories of one item without events each: whether the learned items of its half are above the others."""
    with torch.no_grad():
        model.read[list(UNSEEN)] = 0  # they are still where they began, at random
    scores = model.eval().score(Queries.of([[item] for item in UNSEEN]))
    above = scores[:, :10].mean(1) > scores[:, 12:22].mean(1)
    return [bool(above[n]) == (item < 12) for n, item in enumerate(UNSEEN)]


@pytest.mark.parametrize("matching", ["godm", "cpdm", "mddm"])
def test_texts_speak_for_items_that_the_ids_know_nothing_of(train, matching):
    model = started(train, matching=matching, kl_weight=0.2)
    learned(model, train, epochs=30)
    assert halves_found(model) == [True] * 4
    model.texts[list(UNSEEN)] = model.texts[list(UNSEEN[::-1])]  # each gets the text of the other half
    assert halves_found(model) == [False] * 4


def test_shuffled_texts_speak_for_nothing(train):
    dealt = texts_of(train).rows("items")[torch.from_numpy(np.random.default_rng(3).permutation(ITEMS))]
    model = started(train, texts_of(train, dealt), kl_weight=0.2)
    learned(model, train, epochs=30)
    assert not all(halves_found(model))


def test_the_unknown_are_answered_as_the_known_with_the_same_history(train):
    model = started(train)
    queries = train.queries(np.arange(USERS))
    strangers = Queries(np.full(USERS, -1), queries.items, queries.offsets)
    np.testing.assert_allclose(model.score(strangers), model.score(queries), rtol=1e-4, atol=1e-5)
    empty = model.score(Queries.of([[]]))
    assert np.isfinite(empty).all()
    own = torch.zeros(USERS, TEXT)
    own[3] = 5.0
    written = started(train, FrozenRows(texts_of(train).rows("items"), own))
    both = [written.score(each) for each in (queries, strangers)]
    np.testing.assert_allclose(both[0][:3], both[1][:3], rtol=1e-4, atol=1e-5)  # rows of zeros: nothing was written
    assert np.abs(both[0][3] - both[1][3]).max() > 1e-3


def test_the_mean_of_all_items_is_nobody_s_text(train):
    names = (np.array([*train.user_ids, "idle", "written"]), train.item_ids)
    more = Interactions.of(*names, np.repeat(np.arange(USERS), 6), train.items)
    text = texts_of(more)
    model = started(more, text)
    assert model.learned_users(more).tolist() == [True] * USERS + [False] * 2
    idle, stranger = model.score(Queries.of([[], []], users=np.array([USERS, -1])))
    np.testing.assert_allclose(idle, stranger, rtol=1e-4, atol=1e-6)
    own = text.rows("users").clone()
    own[-1] = torch.arange(TEXT)
    model = started(more, FrozenRows(text.rows("items"), own))
    assert model.learned_users(more).tolist() == [True] * USERS + [False, True]


def test_stored_and_given_away(train):
    model = started(train)
    learned(model, train)
    queries = train.queries(np.arange(USERS))
    again = Dmrec(DmrecConfig(**SIZES), train)
    again.load_state_dict(model.state_dict())
    assert np.array_equal(again.eval().score(queries), model.eval().score(queries))
    bare = Dmrec(DmrecConfig(**SIZES), train)
    bare.load_state_dict(model.given_away())
    assert not bare.user_texts.any()
    strangers = Queries(np.full(USERS, -1), queries.items, queries.offsets)
    assert np.array_equal(bare.eval().score(strangers), model.score(strangers))


def test_without_user_texts_there_are_sums_alone_and_without_texts_it_is_refused(train):
    text = texts_of(train, users="none")
    model = started(train, text)
    summed = model.text_of(model.bag(HISTORIES), torch.tensor([2, 0]))
    torch.testing.assert_close(summed[1], text.rows("items")[7])
    with pytest.raises(ConfigError, match=r"no \[text\] section"):
        Dmrec(DmrecConfig(), train).start(train, None)
