"""CTRL's sentence encoder that learns: a step worked out anew, what moves in which phase, and what is kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

pytest.importorskip("sentence_transformers")

from interlingua import registry
from interlingua.backbones.mf import Mf, MfConfig
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.data.prepared import Dataset
from interlingua.data.sources.planted import generate
from interlingua.errors import ConfigError
from interlingua.recommender import Recommender
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.estimate import Estimator
from interlingua.runs.opening import open_session
from interlingua.runs.session import Session
from interlingua.text.sbert import Sbert, SbertConfig
from interlingua.training.joint import Joint
from interlingua.training.loop import fit, fit_best, make_optimizer, seed_all
from interlingua.vectors.fields import item_texts
from interlingua.vectors.readable import ReadableEncoder

BOTH = pytest.mark.parametrize("name", ["ctrl", "ctrl-a-llmrec"])
FIT = {"epochs": 1, "batch_size": 6, "learning_rate": 1e-2, "warmup_steps": 0}


@pytest.fixture(scope="module")
def world() -> Dataset:
    return generate(num_users=20, num_items=30, seed=3, history=5)


def pair(world: Dataset, encoder: Path, name: str = "ctrl", rate: float | None = None, **text: Any) -> Joint:
    """Backbone, aligner and encoder, as the stage puts them together."""
    seed_all(0)
    config = SbertConfig(model=str(encoder), trainable=True, **text)
    words = item_texts(world.catalogue, config)
    text_source = ReadableEncoder(Sbert(config, words), titles=list(world.catalogue.titles), texts=words)
    cls: Any = registry.find("align", name)
    options = {"joint_dim": 4, "sub_spaces": 2, "prefixes": 2, "fit": FIT | {"encoder_learning_rate": rate}}
    backbone = Mf(MfConfig(embedding_dim=8), world.split.train)
    joint = Joint(backbone, cls(cls.Config.model_validate(options), 8, text_source.dim), text_source)
    joint.aligner.start(backbone, text_source)
    return joint


def batches_of(joint: Joint, world: Dataset) -> Any:
    return joint.aligner.batches(joint.backbone, world.split.train, joint.aligner.config.fit)


def similarity(left: Any, right: Any) -> torch.Tensor:
    """(B, B) pair by pair, part by part."""

    def one(a: Any, b: Any) -> torch.Tensor:
        return torch.stack([torch.stack([part @ other for other in b]).max() for part in a]).sum()

    return torch.stack([torch.stack([one(a, b) for b in right]) for a in left])


def test_a_step_is_that_of_the_plain_transformer_over_its_sentences(world: Dataset, encoder_folder: Path) -> None:
    """Loss and gradients of everything, the encoder's included, by a second encoder, loops and the formula."""
    from transformers import AutoModel, AutoTokenizer

    joint = pair(world, encoder_folder).eval()
    train = world.split.train
    batch = next(iter(batches_of(joint, world)(0, np.random.default_rng(0))))
    value = joint(batch)["contrast"]
    value.backward()

    plain, tokenizer = AutoModel.from_pretrained(encoder_folder).eval(), AutoTokenizer.from_pretrained(encoder_folder)
    texts = item_texts(world.catalogue, joint.text.source.config)
    vectors = []
    for user, event in zip(batch.users.tolist(), batch.events.tolist(), strict=True):
        history = "|".join(world.catalogue.titles[item] for item in train.items[int(train.offsets[user]) : event])
        said = f"The user recently chose {history}. The next item is {texts[int(train.items[event])]}"
        states = plain(**tokenizer(said, truncation=True, return_tensors="pt"))[0][0]
        vectors.append(states.mean(0))
    others = {key: each.detach().clone().requires_grad_() for key, each in joint.named_parameters()}
    table = others["backbone.users"]

    def mapped(x: torch.Tensor, first: str, second: str) -> torch.Tensor:
        inner = x @ others[f"aligner.{first}.weight"].T + others[f"aligner.{first}.bias"]
        return (inner @ others[f"aligner.{second}.weight"].T + others[f"aligner.{second}.bias"]).view(len(x), 2, 4)

    left = mapped(table[batch.users], "state_map", "state_parts")
    right = mapped(torch.stack(vectors), "text_map", "text_parts")
    expected = torch.zeros(())
    for matrix in (similarity(left, right) / 0.7, similarity(right, left) / 0.7):
        expected = expected + (matrix.exp().sum(1).log() - matrix.diagonal()).mean() / 2
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)

    expected.backward()
    slow = {key: p.grad for key, p in plain.named_parameters() if p.grad is not None}
    assert len(slow) > 10
    own = {key: p.grad for key, p in joint.named_parameters() if key.startswith("text.")}
    for key, gradient in slow.items():
        (found,) = (g for k, g in own.items() if k.endswith(f".{key}"))
        torch.testing.assert_close(found, gradient, rtol=1e-3, atol=1e-5)
        assert key.startswith("pooler") or "key.bias" in key or bool(gradient.any())
    for key in ("aligner.text_map.weight", "aligner.state_parts.weight", "backbone.users"):
        torch.testing.assert_close(dict(joint.named_parameters())[key].grad, others[key].grad, rtol=1e-3, atol=1e-5)


@BOTH
def test_the_encoder_learns_in_phase_one_and_lies_still_in_phase_two(
    name: str, world: Dataset, encoder_folder: Path
) -> None:
    joint = pair(world, encoder_folder, name)
    text = {key: p for key, p in joint.named_parameters() if key.startswith("text.")}
    first = {key: p.detach().clone() for key, p in text.items()}
    between: dict[str, torch.Tensor] = {}

    def loop(batches: Any, options: Any, *, phase: str) -> FitLog:
        if phase == "second":
            between.update({key: p.detach().clone() for key, p in text.items()})
            options = options.model_copy(update={"epochs": 1, "weight_decay": 0.1})
        return fit_best(joint, batches, options, seed=1, device="cpu")

    job = Fitting(
        world.split.train, joint.text, joint.backbone, lambda *a: loop(*a, phase="second"),
        lambda *a: loop(*a, phase="first"),
    )  # fmt: skip
    joint.aligner.fit(job)
    moved = [key for key in text if not torch.equal(first[key], between[key])]
    assert any("embeddings.word" in key for key in moved)
    assert any("layer.1." in key for key in moved)
    assert all(torch.equal(between[key], p) for key, p in text.items())
    assert not any(p.requires_grad for p in text.values())


def test_the_encoder_has_a_rate_of_its_own_and_by_default_that_of_the_rest(
    world: Dataset, encoder_folder: Path
) -> None:
    for rate, expected in ((None, [1e-2, 1e-2]), (1e-4, [1e-2, 1e-4])):
        joint = pair(world, encoder_folder, rate=rate, train_layers=1)
        options = joint.aligner.config.fit
        optimizer = make_optimizer(joint, options)
        assert [group["lr"] for group in optimizer.param_groups] == expected
        before = {key: p.detach().clone() for key, p in joint.named_parameters()}
        list(fit(joint, batches_of(joint, world), options, seed=1, device="cpu", optimizer=optimizer))
        moved = {key: float((p.detach() - before[key]).abs().max()) for key, p in joint.named_parameters()}
        last = max(m for key, m in moved.items() if "layer.1." in key)
        assert 0 < last < 20 * expected[1]
        assert all(m == 0 for key, m in moved.items() if key.startswith("text.") and "layer.1." not in key)


def test_a_rate_for_a_frozen_encoder_is_refused(encoder_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"encoder_learning_rate is 0\.001.*text\.trainable = true"):
        run(encoder_folder, tmp_path, {"encoder_learning_rate": 1e-3}, trainable=False)


def values(encoder: Path, options: dict[str, Any] | None = None, trainable: bool = True) -> dict[str, Any]:
    return {
        "data": {"name": "planted", "options": {"num_users": 40, "num_items": 30}},
        "backbone": {"name": "sasrec", "embedding_dim": 8, "max_history": 6, "fit": {"epochs": 2}},
        "text": {"name": "sbert", "model": str(encoder), "trainable": trainable},
        "align": {"name": "ctrl", "prefixes": 2, "fit": {"epochs": 2, "batch_size": 32, **(options or {})}},
        "evaluate": {"protocols": ["full"]},
    }


def run(encoder: Path, out: Path, options: dict[str, Any] | None = None, trainable: bool = True) -> Session:
    return stages.run(recipes.resolve(values(encoder, options, trainable), "ctrl"), out=out, seed=3, device="cpu")


@pytest.fixture(scope="module")
def made(encoder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Session:
    return run(encoder_folder, tmp_path_factory.mktemp("runs"))


def test_what_is_kept_is_the_backbone_and_serving_reads_no_text(
    made: Session, encoder_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = load_file(made.done["align"].path / "weights.safetensors")
    assert not [key for key in held if key.startswith("text.")]
    frozen = run(encoder_folder, tmp_path, trainable=False)
    queries = made.data.split.queries("test").slice(0, 5)
    scores = made.backbone.score(queries)
    assert not np.allclose(frozen.backbone.score(queries), scores), "it began from another phase 1"
    monkeypatch.setattr("interlingua.runs.session.make_text", lambda *_: pytest.fail("no text is read to score"))
    np.testing.assert_array_equal(open_session(made.path, "cpu").backbone.score(queries), scores)


def test_a_new_item_is_refused_in_words_and_the_old_ones_are_served(made: Session) -> None:
    recommender = Recommender(open_session(made.path, "cpu"))
    user = str(made.data.split.train.user_ids[0])
    line = made.data.catalogue.items.row(0, named=True)
    before = [each.item_id for each in recommender.recommend(user, k=5)]
    with pytest.raises(ConfigError, match=r"cannot read new texts.*was not kept.*morec"):
        recommender.add_items([line | {"item_id": "new"}])
    assert [each.item_id for each in recommender.recommend(user, k=5)] == before


def test_texts_of_which_no_sentence_can_be_made_are_refused(encoder_folder: Path) -> None:
    wrong = values(encoder_folder)
    wrong["text"] |= {"profiles": "somewhere"}
    with pytest.raises(ConfigError, match="own words"):
        recipes.resolve(wrong)


def test_the_estimate_counts_both_phases(encoder_folder: Path, tmp_path: Path) -> None:
    session = Session(recipes.resolve(values(encoder_folder), "ctrl"), tmp_path, 3, "cpu")
    found = Estimator(session).all()["align"]
    assert found.note.count("steps an epoch") == 2, found.note
    assert found.seconds > 0
