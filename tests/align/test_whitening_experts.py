"""UniSRec's adaptor by hand, and the recipe's promise: an item without an event is scored and read by its text."""

import numpy as np
import torch

from interlingua.align._whitening_experts import WhiteningExperts
from interlingua.align.replace import Replace, ReplaceConfig
from interlingua.backbones.sasrec import SasRec, SasRecConfig
from interlingua.config import FitConfig
from interlingua.data.interactions import Interactions
from interlingua.data.queries import Queries
from interlingua.training.deploy import deploy
from interlingua.training.joint import Joint
from interlingua.training.loop import fit_best, seed_all
from interlingua.vectors.frozen import FrozenRows


def test_the_map_is_a_gated_sum_of_whitening_experts():
    seed_all(0)
    model = WhiteningExperts(text_dim=6, backbone_dim=4, experts=3, dropout=0.5).eval()
    torch.nn.init.normal_(model.gates.weight)
    torch.nn.init.normal_(model.maps.bias)
    x = torch.randn(5, 6)
    gates = torch.softmax(x @ model.gates.weight.T, dim=1)
    total = torch.zeros(5, 4)
    for expert in range(3):
        weight = model.maps.weight[4 * expert : 4 * expert + 4]  # (D, T)
        shift = -torch.linalg.lstsq(weight, model.maps.bias[4 * expert : 4 * expert + 4, None]).solution[:, 0]
        total = total + gates[:, expert, None] * ((x - shift) @ weight.T)
    torch.testing.assert_close(model(x), total, rtol=1e-4, atol=1e-5)
    assert torch.equal(model(x), model(x))


def test_gates_are_noisy_in_training_only_and_by_the_learned_deviation():
    seed_all(0)
    model = WhiteningExperts(6, 4, 3, dropout=0.0)
    x = torch.randn(2000, 6)
    moved = (model(x) - model.eval()(x)).abs().mean()
    torch.nn.init.constant_(model.noise.weight, 0.0)
    with torch.no_grad():
        model.noise.weight.copy_(-100 * x[0] / x[0].square().sum())  # softplus of a large negative number: almost none
    still = (model.train()(x[:1]) - model.eval()(x[:1])).abs().mean()
    assert moved > 20 * still


def world(seed: int = 0) -> tuple[Interactions, FrozenRows]:
    """Users walk round one of two rings of ten items; the last item of either ring is in no event. Texts: a place."""
    rng = np.random.default_rng(seed)
    lists = [[(s + k) % 9 + 10 * (n % 2) for k in range(6)] for n, s in enumerate(rng.integers(0, 9, 80))]
    names = (np.array([f"u{n}" for n in range(80)]), np.array([f"i{n}" for n in range(20)]))
    texts = torch.randn(20, 12, generator=torch.Generator().manual_seed(seed)) * 0.05
    texts[:10, 0], texts[10:, 1] = 1, 1
    return Interactions.of(*names, np.repeat(np.arange(80), 6), np.concatenate(lists)), FrozenRows(texts)


def test_items_without_an_event_are_scored_and_read_by_their_texts():
    train, text = world()
    seed_all(0)
    fit = FitConfig(learning_rate=1e-2, batch_size=16, epochs=12)
    options = SasRecConfig(embedding_dim=16, max_history=8, dropout=0.1, similarity="cosine", temperature=0.1, fit=fit)
    backbone = SasRec(options, train)
    aligner = Replace(ReplaceConfig(map="experts", num_experts=4), 16, 12)
    joint = Joint(backbone, aligner, text)
    aligner.start(backbone, text)
    fit_best(joint, aligner.batches(backbone, train, fit), fit, seed=1, device="cpu")
    deploy(joint.eval())
    assert train.item_counts[[9, 19]].sum() == 0
    scores = backbone.score(Queries.of([[0, 1, 2], [12, 13], [9], [19]]))
    for row, mine, other in ((0, 9, 19), (1, 19, 9), (2, 4, 14), (3, 14, 4)):
        assert scores[row, mine] > scores[row, other] + 1
