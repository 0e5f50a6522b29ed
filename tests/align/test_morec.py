"""MoRec: what a step encodes, what learns at which rate, and that the trained encoder is the run's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("sentence_transformers")

from interlingua.align.morec import MoRec, MoRecConfig
from interlingua.backbones.sasrec import SasRec, SasRecConfig
from interlingua.data.prepared import Dataset
from interlingua.data.sources.planted import generate
from interlingua.lm.sentence_model import SentenceModel
from interlingua.recommender import Recommender
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.opening import open_session
from interlingua.runs.scorers import scorer_of
from interlingua.text.sbert import Sbert, SbertConfig
from interlingua.training.joint import Joint
from interlingua.training.loop import fit, make_optimizer, seed_all
from interlingua.vectors.fields import item_texts

FIT = {"epochs": 1, "batch_size": 8, "patience": None, "encoder_learning_rate": 1e-4, "learning_rate": 1e-2}


@pytest.fixture(scope="module")
def world() -> Dataset:
    return generate(num_users=24, num_items=60, seed=3, history=6)


def pair(world: Dataset, encoder: Path, loss: str = "in-batch", **text: Any) -> tuple[Joint, Any]:
    """Backbone, aligner and encoder, which learns; and their batches."""
    seed_all(0)
    config = SbertConfig(model=str(encoder), trainable=True, **text)
    source = Sbert(config, item_texts(world.catalogue, config))
    options = {"embedding_dim": 8, "max_history": 6, "num_blocks": 1, "dropout": 0.0, "loss": loss}
    backbone = SasRec(SasRecConfig.model_validate(options), world.split.train)
    aligner = MoRec(MoRecConfig.model_validate({"fit": FIT}), 8, source.dim)
    aligner.start(backbone, source)
    return Joint(backbone, aligner, source), aligner.batches(backbone, world.split.train, aligner.config.fit)


def test_a_step_encodes_the_distinct_titles_of_its_batch_once(
    world: Dataset, encoder_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    joint, batches = pair(world, encoder_folder, "bce")
    calls: list[list[int]] = []
    own = SentenceModel.forward

    def told(self: Any, tokens: Any, indices: Any, *rest: Any) -> Any:
        calls.append(indices.tolist())
        return own(self, tokens, indices, *rest)

    monkeypatch.setattr(SentenceModel, "forward", told)
    for batch in batches(0, np.random.default_rng(0)):
        calls.clear()
        joint(batch)
        (encoded,) = calls
        named = torch.cat([batch.histories.flatten(), batch.positives.flatten(), batch.negatives.flatten()])
        assert sorted(encoded) == sorted({item for item in named.tolist() if item >= 0})
        assert len(encoded) < world.split.train.num_items


@pytest.mark.parametrize("loss", ["bce", "in-batch", "gbce", "sampled-ce"])
def test_titles_of_the_batch_alone_give_the_loss_and_gradients_of_all_titles(
    loss: str, world: Dataset, encoder_folder: Path
) -> None:
    found = []
    for all_items in (False, True):
        joint, batches = pair(world, encoder_folder, loss)
        assert not joint.aligner.all_items
        joint.aligner.all_items = all_items
        (value,) = joint.eval()(next(iter(batches(0, np.random.default_rng(0))))).values()
        value.backward()
        found.append([value, *(p.grad for p in joint.parameters() if p.grad is not None)])
    assert len(found[0]) == len(found[1])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_a_softmax_over_all_items_encodes_all_and_says_so(
    world: Dataset, encoder_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    joint, batches = pair(world, encoder_folder, "ce")
    assert "encodes all" in capsys.readouterr().err
    joint(next(iter(batches(0, np.random.default_rng(0)))))["ce"].backward()


def test_the_encoder_learns_at_the_smaller_rate_and_frozen_layers_do_not(world: Dataset, encoder_folder: Path) -> None:
    joint, batches = pair(world, encoder_folder, train_layers=1)
    optimizer = make_optimizer(joint, joint.aligner.config.fit)
    assert isinstance(optimizer, torch.optim.AdamW)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-2, 1e-4]
    before = {name: p.detach().clone() for name, p in joint.named_parameters()}
    list(fit(joint, batches, joint.aligner.config.fit, seed=1, device="cpu", optimizer=optimizer))
    moved = {n: float((p.detach() - before[n]).abs().max()) for n, p in joint.named_parameters()}
    encoder = {n: m for n, m in moved.items() if n.startswith("text.")}
    last = {n: m for n, m in encoder.items() if "layer.1." in n}
    assert last
    assert all(m == 0 for n, m in encoder.items() if n not in last)
    assert 0 < max(last.values()) < 1e-4 * 5 < 1e-3 < moved["aligner.map.0.weight"]
    assert moved["backbone.items"] == 0


def test_further_layers_stand_behind_the_map() -> None:
    seed_all(0)
    aligner = MoRec(MoRecConfig(hidden_layers=2), 4, 6).eval()
    x = torch.randn(3, 6)
    expected = x
    for layer in (aligner.map[0], aligner.map[3], aligner.map[6]):
        expected = torch.nn.functional.gelu(expected @ layer.weight.T + layer.bias)
    torch.testing.assert_close(aligner.map(x), expected)


@pytest.fixture(scope="module", params=[None, 1], ids=["whole encoder", "last layer"])
def run(encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Any:
    values = {
        "data": {"name": "planted", "options": {"num_users": 60, "num_items": 40}},
        "backbone": {"name": "sasrec", "embedding_dim": 8, "max_history": 8, "loss": "in-batch"},
        "text": {"name": "sbert", "model": str(encoder_folder), "trainable": True, "train_layers": request.param},
        "align": {"name": "morec", "fit": {"epochs": 3, "encoder_learning_rate": 1e-3, "patience": 1}},
        "evaluate": {"protocols": ["full"]},
    }
    return stages.run(recipes.resolve(values, "morec"), out=tmp_path_factory.mktemp("runs"), seed=3, device="cpu")


def test_an_item_without_events_has_a_vector_of_its_text_by_the_trained_encoder(run: Any) -> None:
    again = open_session(run.done["evaluate"].path, "cpu")
    queries = run.data.split.train.queries(np.arange(10))
    assert np.array_equal(scorer_of(again).score(queries), scorer_of(run).score(queries))
    recommender = Recommender(again)
    cold = int(np.flatnonzero(run.data.split.train.item_counts == 0)[0])
    line = run.data.catalogue.items.row(cold, named=True)
    recommender.add_items([line | {"item_id": "copy"}, line | {"item_id": "other", "title": "Robots of the Sea"}])
    grown = recommender._lists.session.backbone
    vectors, at = grown.item_embeddings(), recommender.train.item_indices
    assert bool(vectors.isfinite().all())
    torch.testing.assert_close(vectors[at["copy"]], vectors[cold])
    assert not torch.allclose(vectors[at["other"]], vectors[cold], atol=1e-3)
    untrained = Sbert(SbertConfig(model=run.recipe.text.config.model), ["x"])
    with torch.no_grad():
        text = item_texts(run.data.catalogue, run.recipe.text.config)[cold]
        former = again.aligner.eval().map(untrained.encode([text]))[0]
    assert not torch.allclose(former, vectors[cold], atol=1e-3), "the encoder as it was before training"
