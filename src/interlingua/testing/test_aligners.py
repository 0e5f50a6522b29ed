"""What every aligner promises, on a frozen text table and a frozen backbone (or one that learns along)."""

from __future__ import annotations

from copy import deepcopy
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from interlingua import registry
from interlingua.contracts.aligner import Aligner
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Embeddings
from interlingua.contracts.exported import exported
from interlingua.contracts.fitting import Fitting
from interlingua.data.prepared import Dataset
from interlingua.errors import ConfigError
from interlingua.training.deploy import deploy, deployed
from interlingua.training.joint import Joint
from interlingua.training.loop import fit, fit_best, seed_all, trainable_state
from interlingua.vectors.frozen import FrozenRows

NAMES = registry.names("align")
JOINT = [name for name in NAMES if registry.find("align", name).trains_backbone]
TRAINED = [name for name in NAMES if "fit" in registry.find("align", name).Config.model_fields]


@pytest.fixture(scope="module")
def backbone(world: Dataset, small: Any) -> Backbone:
    """A backbone with user and item vectors, trained for a moment."""
    cls = registry.find("backbone", "sasrec")
    seed_all(5)
    made: Backbone = cls(small(cls, steps_per_epoch=None, epochs=5), world.split.train)
    joint = Joint(made, Aligner(Aligner.Config(), 0, 0))
    options = made.config.fit
    fit_best(joint, made.batches(world.split.train, options), options, seed=1, device="cpu")
    return made.requires_grad_(False)


@pytest.fixture
def make(backbone: Backbone, small: Any, table: Any, world: Dataset) -> Any:
    """``make(name)``: the joint module and a function of the batches it is trained on."""

    def build(name: str, **fit_options: Any) -> SimpleNamespace:
        cls = registry.find("align", name)
        seed_all(6)
        config = small(cls, **fit_options)
        aligner = cls(config, int(backbone.item_embeddings().shape[1]), table.dim)
        own = deepcopy(backbone).requires_grad_(True) if cls.trains_backbone else backbone
        joint = Joint(own, aligner, table, frozen_backbone=not cls.trains_backbone)
        if name in TRAINED:
            aligner.start(own, table)
        batches = aligner.batches(backbone, world.split.train, config.fit) if name in TRAINED else None
        return SimpleNamespace(joint=joint, aligner=aligner, batches=batches, fit=getattr(config, "fit", None))

    return build


def first_batches(made: SimpleNamespace, count: int = 3) -> list[Any]:
    return list(islice(made.batches(0, np.random.default_rng(0)), count))


def ready(made: SimpleNamespace, backbone: Backbone, table: Any, world: Dataset) -> Aligner:
    """The aligner after its own way of learning."""
    if made.batches is not None:
        fit_best(made.joint, made.batches, made.fit, seed=1, device="cpu")
    elif made.aligner.closed_form:
        made.aligner.fit(Fitting(world.split.train, table, backbone))
    aligner: Aligner = made.aligner
    return aligner.eval()


def tables_of(aligner: Aligner, backbone: Backbone, table: Any, world: Dataset) -> Embeddings:
    """What the aligner exports, checked as its stage checks it."""
    job = Fitting(world.split.train, table, tables={"items": backbone.item_embeddings().detach()})
    return Embeddings.of(exported(aligner, aligner.config, job))


@pytest.mark.parametrize("name", NAMES)
def test_texts_that_come_later_get_what_the_catalogues_texts_got(
    name: str, make: Any, backbone: Backbone, table: Any, world: Dataset
) -> None:
    """Every text by itself: whatever else is read with it. An aligner of which that is not true says None."""
    made = make(name)
    aligner = ready(made, backbone, table, world)
    vectors, width = table.rows("items"), made.joint.backbone.input_embeddings().items.shape[1]
    job = Fitting(world.split.train, table, tables={"items": backbone.item_embeddings().detach()})
    with torch.no_grad():
        for read in (lambda text: aligner.from_texts(text, job), lambda text: aligner.inputs_from_texts(text, width)):
            every, some = read(FrozenRows(vectors)), read(FrozenRows(vectors[5:9]))
            assert (every is None) == (some is None)
            if every is not None and some is not None:
                torch.testing.assert_close(some, every[5:9], rtol=1e-4, atol=1e-5)
        if "items_from_text" in aligner.makes(aligner.config):
            exported_ones = tables_of(aligner, backbone, table, world).items_from_text
            torch.testing.assert_close(aligner.from_texts(FrozenRows(vectors), job), exported_ones)


@pytest.mark.parametrize("name", TRAINED)
def test_losses_are_finite_named_scalars(name: str, make: Any, contract: Any) -> None:
    made = make(name)
    for batch in first_batches(made):
        contract.named(made.joint(batch))


@pytest.mark.parametrize("name", TRAINED)
def test_gradients_reach_the_aligner_and_not_the_frozen_backbone(name: str, make: Any, contract: Any) -> None:
    made = make(name)
    contract.gradients_reach_all(made.joint, first_batches(made))


@pytest.mark.parametrize("name", [name for name in TRAINED if name not in JOINT])
def test_a_frozen_backbone_and_text_table_stay_bitwise(name: str, make: Any, backbone: Backbone, table: Any) -> None:
    made = make(name)
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    texts = table.items.clone()
    own = {k: v.clone() for k, v in made.aligner.state_dict().items()}
    list(fit(made.joint, made.batches, made.fit, seed=1, device="cpu"))
    assert all(torch.equal(v, before[k]) for k, v in backbone.state_dict().items())
    assert torch.equal(table.items, texts)
    assert any(not torch.equal(v, own[k]) for k, v in made.aligner.state_dict().items()), "the aligner did not learn"


@pytest.mark.parametrize("name", TRAINED)
def test_steps_at_learning_rate_zero_leave_the_gradient_as_it_was(name: str, make: Any, contract: Any) -> None:
    made = make(name)
    batch = first_batches(made, 1)[0]
    optimizer = torch.optim.Adam([p for p in made.joint.parameters() if p.requires_grad], lr=0.0)
    contract.step(made.joint, batch, optimizer)
    first = {n: p.grad.clone() for n, p in made.joint.named_parameters() if p.grad is not None}
    for _ in range(2):
        contract.step(made.joint, batch, optimizer)
    assert all(torch.equal(p.grad, first[n]) for n, p in made.joint.named_parameters() if p.grad is not None)


@pytest.mark.parametrize("name", TRAINED)
def test_same_seed_same_trace(name: str, make: Any) -> None:
    def trace(seed: int) -> list[dict[str, float]]:
        made = make(name)
        return [e.losses for e in fit(made.joint, made.batches, made.fit, seed=seed, device="cpu")]

    assert trace(1) == trace(1)
    assert trace(1) != trace(2)


@pytest.mark.parametrize("name", TRAINED)
def test_training_lowers_the_loss(name: str, make: Any) -> None:
    made = make(name, epochs=15, steps_per_epoch=None, learning_rate=3e-3)
    epochs = [sum(e.losses.values()) for e in fit(made.joint, made.batches, made.fit, seed=1, device="cpu")]
    assert epochs[-1] < 0.95 * epochs[0]


@pytest.mark.parametrize("name", NAMES)
def test_exported_tables_fit_the_items_and_each_other(
    name: str, make: Any, backbone: Backbone, table: Any, world: Dataset
) -> None:
    aligner = ready(make(name), backbone, table, world)
    first, again = (tables_of(aligner, backbone, table, world) for _ in range(2))
    assert first.items.shape[0] == world.split.train.num_items
    assert bool(torch.isfinite(first.items).all())
    assert torch.equal(first.items, again.items)
    assert not first.items.requires_grad
    if first.item_codes is not None:
        assert first.item_codes.shape[:1] == first.items.shape[:1]
        assert not first.item_codes.is_floating_point()
        assert torch.equal(first.item_codes, again.item_codes)
        new = aligner.further_codes(first.item_codes, first.items[4:6], FrozenRows(table.rows("items")[4:6]))
        assert new.shape == (2, first.item_codes.shape[1])
        assert torch.equal(new[:, :2], first.item_codes[4:6, :2])  # by their vectors alone, with the same codebooks
    if first.items_from_text is not None:
        assert first.items_from_text.shape == first.items.shape
        assert bool(torch.isfinite(first.items_from_text).all())
        assert torch.equal(first.items_from_text, again.items_from_text)


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_aligner_exports_the_same(
    name: str, make: Any, backbone: Backbone, table: Any, world: Dataset, tmp_path: Path
) -> None:
    aligner = ready(make(name), backbone, table, world)
    state = {k: v.contiguous().clone() for k, v in trainable_state(aligner).items()}
    save_file(state, tmp_path / "weights.safetensors")
    fresh = make(name).aligner
    fresh.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    stored, fitted = (tables_of(each, backbone, table, world) for each in (fresh, aligner))
    assert torch.equal(stored.items, fitted.items)
    assert (stored.items_from_text is None) == (fitted.items_from_text is None)
    assert stored.items_from_text is None or torch.equal(stored.items_from_text, fitted.items_from_text)
    assert stored.item_codes is None or torch.equal(stored.item_codes, fitted.item_codes)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "none"])
def test_an_item_unseen_in_training_is_reached_from_its_text(
    name: str, make: Any, backbone: Backbone, table: Any, world: Dataset
) -> None:
    """The text's side of an item is nearer to the item's own than to other items', after training."""
    made = make(name, epochs=40, steps_per_epoch=None, learning_rate=3e-3) if name in TRAINED else make(name)
    tables = tables_of(ready(made, backbone, table, world), backbone, table, world)
    if tables.items_from_text is None:
        pytest.skip(f"{name} keeps no text side")
    warm = torch.as_tensor(world.split.train.item_counts > 0)
    items, texts = (t[warm] - t[warm].mean(0) for t in (tables.items, tables.items_from_text))
    similarity = torch.nn.functional.normalize(items) @ torch.nn.functional.normalize(texts).T
    place = (similarity > similarity.diagonal()[:, None]).float().mean(1)
    assert float(place.mean()) < 0.35, "by chance half of the other items are nearer"


@pytest.mark.parametrize("name", [name for name in NAMES if name != "none"])
def test_without_texts_the_error_names_the_missing_section(
    name: str, make: Any, backbone: Backbone, world: Dataset
) -> None:
    made = make(name)
    if "text.items" not in made.aligner.needs(made.aligner.config):
        pytest.skip(f"{name} reads no texts unless its options say so")

    def learn_without_texts() -> None:
        if made.batches is None:
            made.aligner.fit(Fitting(world.split.train, None, backbone))
        else:
            fresh = type(made.aligner)(made.aligner.config, int(backbone.item_embeddings().shape[1]), 64)
            fresh.start(made.joint.backbone, None)
            Joint(backbone, fresh, None, frozen_backbone=True)(first_batches(made, 1)[0])

    with pytest.raises(ConfigError, match=r"\[text\]"):
        learn_without_texts()


@pytest.mark.parametrize("name", TRAINED)
def test_what_is_deployed_scores_as_the_pair_did_and_training_goes_on_unchanged(
    name: str, make: Any, world: Dataset
) -> None:
    made = make(name)
    fit_best(made.joint, made.batches, made.fit, seed=1, device="cpu")
    queries = world.split.train.queries(np.arange(20))
    before = {k: v.clone() for k, v in made.joint.state_dict().items()}
    with deployed(made.joint) as backbone:
        shown = backbone.score(queries)
    assert all(torch.equal(v, before[k]) for k, v in made.joint.state_dict().items())
    deploy(made.joint)
    assert np.array_equal(made.joint.backbone.score(queries), shown)
