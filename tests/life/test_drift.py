"""Two versions side by side: a rotation is found and undone, other changes are not taken for one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from interlingua.errors import ConfigError
from interlingua.life.drift import drift, procrustes, repaired
from interlingua.life.overlap import common, neighbour_overlap, rank_biased_overlap
from interlingua.recommender import Recommender
from interlingua.runs.neighbours import item_vectors
from interlingua.runs.stages import run

LISTS = st.lists(st.integers(0, 15).map(str), unique=True, max_size=12)


def test_rank_biased_overlap_by_hand() -> None:
    """Depth 1: no common item; depth 2: both. (1 - p) / p (0 p + 1 p^2) + 1 p^2, p = 0.5: 0.25 + 0.25."""
    assert rank_biased_overlap(["a", "b"], ["b", "a"], 0.5) == pytest.approx(0.5)
    assert rank_biased_overlap(["a", "b"], ["a", "c"], 0.5) == pytest.approx(0.5 + 0.125 + 0.125)
    assert rank_biased_overlap([], []) == 1
    assert rank_biased_overlap(["a"], []) == 0


@given(LISTS, LISTS)
def test_rank_biased_overlap_is_one_for_equal_lists_and_symmetric(one: list[str], other: list[str]) -> None:
    assert rank_biased_overlap(one, one) == pytest.approx(1)
    assert 0 <= rank_biased_overlap(one, other) <= 1 + 1e-9
    assert rank_biased_overlap(one, other) == pytest.approx(rank_biased_overlap(other, one))
    assert (common(one, other) == 0) == (not set(one) & set(other) and max(len(one), len(other)) > 0)


def rotation(size: int, seed: int = 0) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(size, size)))[0]


def test_procrustes_finds_the_rotation() -> None:
    table, turned = np.random.default_rng(1).normal(size=(50, 8)), rotation(8)
    assert np.abs(procrustes(table, table @ turned) - turned).max() < 1e-8


def test_neighbours_survive_a_rotation_and_not_a_shuffle() -> None:
    table = torch.from_numpy(np.random.default_rng(2).normal(size=(60, 6))).float()
    turned = table @ torch.from_numpy(rotation(6)).float()
    every = range(60)
    assert neighbour_overlap(table, turned, every, 5) == pytest.approx(1, abs=0.02)
    assert neighbour_overlap(table, table[torch.randperm(60)], every, 5) < 0.3


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """One model with two seeds, and a run without vectors."""
    out = tmp_path_factory.mktemp("runs")
    options = ["data.options={num_users = 60, num_items = 40}", 'evaluate.protocols=["full"]']
    few = ["backbone.fit.epochs=4"]
    made = [
        run(recipe, out=out, data="planted", overrides=[*options, *more], device="cpu", seed=seed)
        for recipe, more, seed in (("mf", few, 7), ("mf", [*few, "backbone.embedding_dim=16"], 7), ("itemknn", [], 7))
    ]
    return made[0].path, made[1].path, made[2].path


def turned(path: Path, matrix: torch.Tensor) -> Recommender:
    """The run with its whole space turned: users and items alike."""
    made = Recommender.load(path, "cpu")
    backbone = made.session.backbone
    state = backbone.state_dict()
    size = matrix.shape[0]
    backbone.load_state_dict({k: v @ matrix if v.ndim == 2 and v.shape[1] == size else v for k, v in state.items()})
    return made


def test_a_random_rotation_is_found_and_undone(runs: tuple[Path, Path, Path]) -> None:
    old = Recommender.load(runs[0], "cpu")
    before = item_vectors(old.session)
    assert before is not None
    new = turned(runs[0], torch.from_numpy(rotation(before.shape[1])).to(before))
    after = item_vectors(new.session)
    assert after is not None
    report = drift(old, new)
    assert report.decision == "rotate"
    assert report.difference is not None
    assert report.difference > 0.5
    assert report.difference_rotated is not None
    assert report.difference_rotated < 1e-5
    assert (repaired(report, after) - before).abs().max() < 1e-5
    assert report.neighbours == pytest.approx(1, abs=0.01)
    assert report.lists == pytest.approx(1, abs=0.01)
    assert report.norms is not None
    assert report.norms["p95"] == pytest.approx(1, abs=1e-5)
    assert report.users == 60


def test_the_same_version_is_reused_and_a_scaled_one_is_not(runs: tuple[Path, Path, Path]) -> None:
    old = Recommender.load(runs[0], "cpu")
    report = drift(old, Recommender.load(runs[0], "cpu"), users=20)
    assert (report.decision, report.users, report.lists) == ("reuse", 20, pytest.approx(1))
    size = item_vectors(old.session).shape[1]  # type: ignore[union-attr]
    report = drift(old, turned(runs[0], 2 * torch.eye(size)))
    assert report.decision == "re-align"
    assert report.norms is not None
    assert report.norms["median"] == pytest.approx(2, abs=1e-5)


def test_the_command_writes_what_turns_the_new_vectors(
    runs: tuple[Path, Path, Path], tmp_path: Path, cli: Callable[..., tuple[int, str, str]]
) -> None:
    first, wide, none = map(str, runs)
    code, out, _ = cli("drift", first, first, "--json", "--out", str(tmp_path / "drift"), "--device", "cpu")
    assert code == 0
    assert json.loads(out)["decision"] == "reuse"
    assert json.loads((tmp_path / "drift" / "drift.json").read_text())["items_new"] == 0
    found = load_file(tmp_path / "drift" / "drift.safetensors")
    assert torch.allclose(found["rotation"], torch.eye(len(found["rotation"])).double(), atol=1e-5)
    assert len(json.loads((tmp_path / "drift" / "item_ids.json").read_text())) == len(found["items"])
    out = cli("drift", first, wide, "--device", "cpu")[1]
    assert "re-align (vectors have 16 dimensions, and had" in out
    report = json.loads(cli("drift", none, none, "--json", "--device", "cpu")[1])
    assert (report["decision"], report["difference"]) == ("reuse", None)
    code, _, err = cli("drift", first, "abc")
    assert code == 2
    assert "name its store" in err


def test_without_a_rotation_nothing_is_repaired(runs: tuple[Path, Path, Path]) -> None:
    same = Recommender.load(runs[2], "cpu")
    with pytest.raises(ConfigError, match="no rotation"):
        repaired(drift(same, same, users=5), torch.eye(3))
