"""What every fusion promises, over two members that know different things of the planted world."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from interlingua import registry
from interlingua.contracts.exported import exported
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.fusion import Fusion
from interlingua.contracts.scorer import TableScorer
from interlingua.data.prepared import Dataset
from interlingua.data.queries import PAD, Queries
from interlingua.training.loop import seed_all, trainable_state

NAMES = registry.names("fuse")


@pytest.fixture(scope="module")
def members(world: Dataset, table: Any) -> list[TableScorer]:
    """Similarity of texts to the history, and popularity."""
    items = (table.items > 0).float()  # whole numbers: sums are exact in whatever order they are made

    def words(queries: Queries) -> torch.Tensor:
        indices = torch.as_tensor(queries.padded(10))
        real = (indices != PAD).float()[..., None]
        return (items[indices.clamp(min=0)] * real).sum(1)

    counts = torch.as_tensor(world.split.train.item_counts).float()[:, None]
    return [TableScorer(items, words), TableScorer(counts, lambda queries: torch.ones(len(queries), 1))]


@pytest.fixture
def make(members: list[TableScorer], world: Dataset, small: Any) -> Any:
    """``make(name)``: a fresh fusion of the two, or of the members given."""

    def build(name: str, some: list[TableScorer] | None = None) -> Fusion:
        cls = registry.find("fuse", name)
        seed_all(2)
        made: Fusion = cls(small(cls), some or members, world.split.train)
        return made.eval()

    return build


def learned(fusion: Fusion, world: Dataset) -> Fusion:
    """After its own way of learning."""
    split = world.split
    fusion.fit(Fitting(split.train))
    fusion.calibrate(split.queries("valid"), split.valid.items[split.valid.offsets[:-1]])
    return fusion.eval()


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_finite_whoever_asks_and_the_same_twice(
    name: str, make: Any, world: Dataset, queries: Queries
) -> None:
    fusion = learned(make(name), world)
    scores = fusion.score(queries)
    assert scores.shape == (len(queries), world.split.train.num_items)
    assert scores.dtype == np.float32
    assert np.isfinite(scores).all()
    assert np.array_equal(scores, fusion.score(queries))


@pytest.mark.parametrize("name", NAMES)
def test_candidates_have_their_scores_of_the_whole_catalogue(
    name: str, make: Any, world: Dataset, queries: Queries
) -> None:
    fusion = learned(make(name), world)
    candidates = np.random.default_rng(0).integers(0, fusion.num_items, (len(queries), 5))
    assert np.array_equal(
        fusion.score(queries, candidates), np.take_along_axis(fusion.score(queries), candidates, axis=1)
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_query_gets_the_same_answer_alone_as_among_others(name: str, make: Any, queries: Queries) -> None:
    fusion = make(name)
    together = fusion.score(queries)
    for row in range(len(queries)):
        np.testing.assert_allclose(fusion.score(queries.slice(row, row + 1))[0], together[row], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_members_that_agree_are_followed(
    name: str, make: Any, members: list[TableScorer], queries: Queries, world: Dataset
) -> None:
    """Two equal members leave the order of what they have seen as it is, where nothing was learned yet."""
    known, seen = queries.slice(0, 6), world.split.train.item_counts > 0
    fused, own = (each.score(known)[:, seen] for each in (make(name, [members[0]] * 2), members[0]))
    for row in range(len(known)):
        order = np.argsort(-fused[row], kind="stable")
        assert (np.diff(own[row][order]) <= 1e-5).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_fusion_scores_the_same(
    name: str, make: Any, world: Dataset, queries: Queries, tmp_path: Path
) -> None:
    fusion = learned(make(name), world)
    save_file({k: v.contiguous().clone() for k, v in trainable_state(fusion).items()}, tmp_path / "weights.safetensors")
    fresh = make(name)
    fresh.load_state_dict(load_file(tmp_path / "weights.safetensors"), strict=False)
    assert np.array_equal(fresh.eval().score(queries), fusion.score(queries))


@pytest.mark.parametrize("name", NAMES)
def test_it_exports_the_tables_that_it_says_it_makes(name: str, make: Any, world: Dataset) -> None:
    fusion = make(name)
    exported(fusion, fusion.config, Fitting(world.split.train))
