"""Stage 1 of A-LLMRec: hand-worked losses, an independent computation, gradients, batches, and the planted world."""

import numpy as np
import pytest
import torch
from torch import Tensor

from interlingua.align.autoencoder import (
    Autoencoder,
    AutoencoderConfig,
    pair_mse,
    recommendation_loss,
    trained_only,
)
from interlingua.config import FitConfig
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Batch, Embeddings, Encoded
from interlingua.contracts.fitting import Fitting
from interlingua.data.interactions import Interactions
from interlingua.data.queries import PAD
from interlingua.errors import ConfigError
from interlingua.text.sbert import Sbert, SbertConfig
from interlingua.training.joint import Joint
from interlingua.training.loop import fit_best, seed_all
from interlingua.vectors.frozen import FrozenRows


class Fixed(Backbone):
    """Users and items with given vectors; the users' are looked up by row."""

    def __init__(self, users: Tensor, items: Tensor, train: Interactions) -> None:
        super().__init__(None, train)
        self.users, self.items = torch.nn.Parameter(users), torch.nn.Parameter(items)

    def input_embeddings(self) -> Embeddings:
        return Embeddings(self.users, self.items)

    def encode(self, inputs: Embeddings, batch: Batch) -> Encoded:
        return Encoded(inputs, inputs.users[batch.users])

    def losses(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        return {"own": (encoded.query * encoded.tables.items[batch.positives]).sum()}

    def item_embeddings(self) -> Tensor:
        return self.items


def events(users=8, items=6, seed=0):
    rng = np.random.default_rng(seed)
    who = np.repeat(np.arange(users), 3)
    what = np.concatenate([rng.permutation(items)[:3] for _ in range(users)])
    return Interactions.of(
        np.array([f"u{u}" for u in range(users)]), np.array([f"i{i}" for i in range(items)]), who, what
    )


def made(config=None, dim=4, text_dim=5, seed=0, users=8, items=6):
    torch.manual_seed(seed)
    backbone = Fixed(torch.randn(users, dim), torch.randn(items, dim), events(users, items))
    aligner = Autoencoder(config or AutoencoderConfig(latent_dim=3), dim, text_dim)
    return backbone, aligner, FrozenRows(torch.randn(items, text_dim))


BATCH = Batch(torch.tensor([0, 1, 2]), torch.tensor([3, 3, 5]), torch.tensor([0, 4, 1]))


def test_recommendation_loss_by_hand():
    user = torch.tensor([[1.0, 3.0]])
    good, bad = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, -2.0]])
    # sums: 2 and -6; means: 1 and -3; log(1 + e^-2) = .126928, log(1 + e^-6) = .002476, log(1 + e^-1) = .313262,
    # log(1 + e^-3) = .048587
    assert recommendation_loss(user, good, bad, "sum").item() == pytest.approx(0.129404, abs=1e-5)
    assert recommendation_loss(user, good, bad, "mean").item() == pytest.approx(0.361849, abs=1e-5)


def test_pair_mse_adds_the_two_halves():
    left = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    right = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    assert pair_mse(left, right).item() == pytest.approx(0.5 + 2.0)


@pytest.mark.parametrize("activation", ["sigmoid", "none"])
@pytest.mark.parametrize("logit", ["mean", "sum"])
def test_losses_equal_an_independent_computation(activation, logit):
    config = AutoencoderConfig(
        latent_dim=3, latent_activation=activation, rec_logit=logit, rec_weight=2.0, match_weight=3.0, recon_weight=0.7,
        recon_text_weight=0.4,
    )  # fmt: skip
    backbone, aligner, text = made(config)
    got = Joint(backbone, aligner, text, frozen_backbone=True)(BATCH)

    weights = {k: v.detach().double().numpy() for k, v in aligner.state_dict().items()}
    layer = lambda x, name: x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]  # noqa: E731
    squash = (lambda x: 1 / (1 + np.exp(-x))) if activation == "sigmoid" else (lambda x: x)
    items, users = backbone.items.detach().double().numpy(), backbone.users.detach().double().numpy()
    texts = text.items.double().numpy()
    total = dict.fromkeys(("rec", "match", "item_recon", "text_recon"), 0.0)
    for rows, label in ((BATCH.positives.numpy(), 1), (BATCH.negatives.numpy(), 0)):
        e, q = squash(layer(items[rows], "item_encoder")), squash(layer(texts[rows], "text_encoder"))
        back = layer(e, "item_decoder")
        products = users[BATCH.users.numpy()] * back
        logits = products.mean(1) if logit == "mean" else products.sum(1)
        p = 1 / (1 + np.exp(-logits))
        total["rec"] += -np.log(p if label else 1 - p).mean()
        total["match"] += ((e - q) ** 2).mean()
        total["item_recon"] += ((back - items[rows]) ** 2).mean()
        total["text_recon"] += ((layer(q, "text_decoder") - texts[rows]) ** 2).mean()
    expected = {"rec": 2.0, "match": 3.0, "item_recon": 0.7, "text_recon": 0.4}
    for name, weight in expected.items():
        assert got[name].item() == pytest.approx(weight * total[name], rel=1e-5)


@pytest.mark.parametrize("gone", ["rec", "match", "recon", "recon_text"])
def test_weight_zero_takes_a_loss_out(gone):
    backbone, aligner, text = made(AutoencoderConfig(latent_dim=3, **{f"{gone}_weight": 0.0}))
    names = set(Joint(backbone, aligner, text, frozen_backbone=True)(BATCH))
    removed = {"rec": "rec", "match": "match", "recon": "item_recon", "recon_text": "text_recon"}[gone]
    assert names == {"rec", "match", "item_recon", "text_recon"} - {removed}


def test_without_any_loss_or_text():
    with pytest.raises(ConfigError, match="all four loss weights are 0"):
        made(AutoencoderConfig(rec_weight=0, match_weight=0, recon_weight=0, recon_text_weight=0))
    backbone, aligner, _ = made()
    with pytest.raises(ConfigError, match=r"needs a \[text\] section"):
        Joint(backbone, aligner)(BATCH)
    with pytest.raises(ConfigError, match=r"needs a \[text\] section"):
        aligner.export(Fitting(None, tables={"items": backbone.items}))


def test_frozen_backbone_and_text_stay_bitwise_while_all_else_learns():
    backbone, aligner, text = made()
    joint = Joint(backbone, aligner, text, frozen_backbone=True)
    before = {k: v.clone() for k, v in joint.state_dict().items()}
    rows = text.items.clone()
    optimizer = torch.optim.Adam([p for p in joint.parameters() if p.requires_grad], lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        sum(joint(BATCH).values()).backward()
        optimizer.step()
    changed = {k for k, v in joint.state_dict().items() if not torch.equal(v, before[k])}
    assert changed == {k for k in before if k.startswith("aligner.")}
    assert torch.equal(text.items, rows)


def test_text_reconstruction_does_not_move_the_text(encoder_folder):
    """Its target is detached: with that loss alone the encoder learns only through the autoencoder's input."""
    config = AutoencoderConfig(latent_dim=3, rec_weight=0, match_weight=0, recon_weight=0)
    backbone, aligner, _ = made(config, text_dim=16)
    with torch.no_grad():
        aligner.text_encoder.weight.zero_()  # cuts the path through the input
    text = Sbert(SbertConfig(model=str(encoder_folder), trainable=True), [f"movie {i}" for i in range(6)])
    sum(Joint(backbone, aligner, text, frozen_backbone=True)(BATCH).values()).backward()
    assert all(p.grad is None or not p.grad.any() for p in text.parameters())


def test_trainable_text_gets_gradients_and_shares_repeated_items(encoder_folder):
    backbone, aligner, _ = made(text_dim=16)
    text = Sbert(SbertConfig(model=str(encoder_folder), trainable=True), [f"movie {i} robot" for i in range(6)])
    joint = Joint(backbone, aligner, text, frozen_backbone=True).train()
    seen = []
    text.encoder.register_forward_pre_hook(lambda module, args: seen.append(sorted(args[1].tolist())))
    sum(joint(BATCH).values()).backward()
    assert seen == [[0, 1, 3, 4, 5]]
    without = {n for n, p in joint.named_parameters() if p.grad is None}
    assert {n.split(".")[0] for n in without} == {"backbone"} or all("backbone" in n or "pooler" in n for n in without)
    assert aligner.text_encoder.weight.grad.any()
    assert not joint.backbone.training


def test_repeated_ids_give_the_gradient_of_separate_rows(encoder_folder):
    text = Sbert(SbertConfig(model=str(encoder_folder), trainable=True), ["robot", "love and war", "river"]).eval()
    weights = torch.randn(4, 16)
    (text.rows("items", torch.tensor([2, 0, 2, 1])) * weights).sum().backward()
    name, parameter = next((n, p) for n, p in text.named_parameters() if "query.weight" in n)
    together = parameter.grad.clone()
    text.zero_grad()
    for row, item in enumerate([2, 0, 2, 1]):
        (text.rows("items", torch.tensor([item])) * weights[row]).sum().backward()
    assert torch.allclose(together, dict(text.named_parameters())[name].grad, atol=1e-4)


def test_train_layers_freezes_what_lies_below(encoder_folder):
    text = Sbert(SbertConfig(model=str(encoder_folder), trainable=True, train_layers=1), ["robot"])
    learn = {n for n, p in text.named_parameters() if p.requires_grad}
    assert learn
    assert all("layer.1." in n for n in learn)
    with pytest.raises(ConfigError, match="has 2 layers: use 1 to 2"):
        Sbert(SbertConfig(model=str(encoder_folder), trainable=True, train_layers=3), ["robot"])


def test_export_shapes_and_values():
    backbone, aligner, text = made()
    tables = Embeddings.of(aligner.export(Fitting(None, text, tables={"items": backbone.items.detach()})))
    assert tables.users is None
    assert tables.items.shape == tables.items_from_text.shape == (6, 3)
    assert ((tables.items > 0) & (tables.items < 1)).all()
    assert torch.equal(tables.items_from_text, aligner.text_latent(text.items))
    assert aligner.to_backbone(tables.items_from_text).shape == (6, 4)


def test_targets_per_position_use_the_last():
    backbone, aligner, text = made()
    wide = Batch(
        BATCH.users, torch.stack([torch.full((3,), PAD), BATCH.positives], 1),
        torch.stack([torch.full((3,), PAD), BATCH.negatives], 1),
    )  # fmt: skip
    joint = Joint(backbone, aligner, text, frozen_backbone=True)
    assert {k: v.item() for k, v in joint(wide).items()} == {k: v.item() for k, v in joint(BATCH).items()}


@pytest.mark.parametrize(("positions", "rows"), [("last", 8), ("all", 16)])
def test_batches_of_the_last_or_of_all_positions(positions, rows):
    backbone, aligner, _ = made(AutoencoderConfig(positions=positions))
    train = events()
    fit = FitConfig(batch_size=3)
    batches = list(aligner.batches(backbone, train, fit)(0, np.random.default_rng(0)))
    assert sum(len(b) for b in batches) == rows
    for batch in batches:
        for row in range(len(batch)):
            history = train.history(int(batch.users[row])).tolist()
            before = [i for i in batch.histories[row].tolist() if i != PAD]
            assert [*before, int(batch.positives[row])] == history[: len(before) + 1]
            assert int(batch.negatives[row]) not in history


def test_items_without_events_are_never_negatives():
    """Cold items stand at rows 0 and 3: the row numbers of all others have to survive."""
    train = Interactions.of(
        np.array(["u", "v"]), np.array(list("abcdef")), np.array([0, 0, 1, 1]), np.array([1, 4, 5, 2]), np.arange(4)
    )
    known, rows = trained_only(train)
    assert known.item_ids.tolist() == ["b", "c", "e", "f"]
    assert rows[torch.from_numpy(known.items.astype(np.int64))].tolist() == train.items.tolist()
    backbone, aligner, _ = made()
    make = aligner.batches(backbone, train, FitConfig(batch_size=2))
    drawn = [b for epoch in range(20) for b in make(epoch, np.random.default_rng(epoch))]
    assert {int(n) for b in drawn for n in b.negatives} == {1, 2, 4, 5}
    assert {(int(p), int(h[-1])) for b in drawn for p, h in zip(b.positives, b.histories, strict=True)} == {
        (4, 1),
        (2, 5),
    }
    every = Autoencoder(AutoencoderConfig(negatives="all"), 4, 5).batches(backbone, train, FitConfig(batch_size=2))
    assert {int(n) for e in range(60) for b in every(e, np.random.default_rng(e)) for n in b.negatives} >= {0, 3}


def themed(items=90, themes=6, dim=8, seed=0):
    """Collaborative vectors and texts that both follow the item's theme, in different coordinates and with noise."""
    rng = np.random.default_rng(seed)
    theme = np.arange(items) % themes
    centres, words = rng.standard_normal((themes, dim)), rng.standard_normal((themes, 12))
    vectors = centres[theme] + 0.3 * rng.standard_normal((items, dim))
    texts = words[theme] + 0.3 * rng.standard_normal((items, 12))
    users = np.repeat(np.arange(themes * 10), 8)
    held = np.arange(items) >= items - 18
    warm = np.flatnonzero(~held)
    what = np.concatenate([rng.permutation(warm[theme[warm] == u % themes])[:8] for u in range(themes * 10)])
    train = Interactions.of(np.arange(themes * 10).astype(str), np.arange(items).astype(str), users, what)
    user_vectors = centres[np.arange(themes * 10) % themes]
    return train, torch.tensor(user_vectors).float(), torch.tensor(vectors).float(), texts.astype(np.float32), held


def percentile(joint: Tensor, text: Tensor, held: np.ndarray) -> float:
    """Mean share of held-out items whose joint vector is farther from an item's text latent than its own is."""
    rows, warm = torch.from_numpy(np.flatnonzero(held)), torch.from_numpy(np.flatnonzero(~held))
    e, q = joint[rows] - joint[warm].mean(0), text[rows] - text[warm].mean(0)
    similar = torch.nn.functional.normalize(q, dim=1) @ torch.nn.functional.normalize(e, dim=1).T
    return float((similar < similar.diagonal()[:, None]).double().mean())


@pytest.mark.parametrize("activation", ["sigmoid", "none"])
def test_learns_the_planted_world(activation):
    """Text latents of held-out items land near their joint latents; with shuffled texts they do not."""
    train, users, items, texts, held = themed()
    shuffled = texts[np.random.default_rng(1).permutation(len(texts))]
    reached, match = [], []
    for rows in (texts, shuffled):
        fit = FitConfig(learning_rate=3e-3, batch_size=64, epochs=25)
        config = AutoencoderConfig(latent_dim=16, latent_activation=activation, positions="all", fit=fit)
        seed_all(0)
        aligner = Autoencoder(config, items.shape[1], rows.shape[1])
        backbone, text = Fixed(users, items, train), FrozenRows(rows)
        joint = Joint(backbone, aligner, text, frozen_backbone=True)
        log = fit_best(joint, aligner.batches(backbone, train, fit), fit, seed=0, device="cpu")
        tables = Embeddings.of(aligner.export(Fitting(train, text, tables={"items": items})))
        reached.append(percentile(tables.items, tables.items_from_text, held))
        match.append(log.epochs[-1]["losses"]["match"])
    assert reached[0] > 0.8
    assert reached[1] < 0.65
    assert match[0] < match[1]
