"""Named tensors between stages: what a component exports is what it says it makes, or it is refused in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from interlingua.contracts.aligner import Aligner
from interlingua.contracts.exported import exported
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.data.sources.planted import generate
from interlingua.errors import ConfigError
from interlingua.runs import recipe as recipes
from interlingua.runs import stages

TRAIN = generate(num_users=30, num_items=20, seed=1).split.train


class Given(Aligner):
    """Exports what it is told to."""

    closed_form = True
    tables: dict[str, torch.Tensor] = {}

    @classmethod
    def makes(cls, config: Any) -> frozenset[str]:
        return frozenset({"items", "item_codes"})

    def export(self, job: Fitting) -> dict[str, torch.Tensor]:
        return self.tables


ITEMS, CODES = torch.zeros(20, 3), torch.zeros(20, 2, dtype=torch.int64)


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"items": ITEMS}, "Given makes item_codes, items, but exports items"),
        ({"items": ITEMS, "item_codes": CODES, "users": ITEMS}, "but exports item_codes, items, users"),
        ({"items": ITEMS[1:], "item_codes": CODES}, r"items of shape \(19, 3\); it must be a table of 20 rows"),
        ({"items": ITEMS, "item_codes": CODES[:, 0]}, r"item_codes of shape \(20,\)"),
        ({"items": ITEMS, "item_codes": ITEMS}, "must be a table of integers, one row per item; got torch.float32"),
        ({"items": ITEMS / 0, "item_codes": CODES}, "NaN or infinity in 20 of 20 rows"),
    ],
)
def test_what_is_not_as_declared_is_refused_in_words(tables: dict[str, torch.Tensor], words: str) -> None:
    aligner = Given(Aligner.Config(), 3, 3)
    aligner.tables = tables
    with pytest.raises(ConfigError, match=words):
        exported(aligner, aligner.config, Fitting(TRAIN))


def test_what_is_as_declared_passes() -> None:
    aligner = Given(Aligner.Config(), 3, 3)
    aligner.tables = {"items": ITEMS, "item_codes": CODES}
    assert exported(aligner, aligner.config, Fitting(TRAIN)) == aligner.tables


class Doubled(Aligner):
    """Reads the backbone's items by name, and nothing else."""

    closed_form = True
    seen: list[dict[str, torch.Tensor]] = []

    def fit(self, job: Fitting) -> FitLog:
        return FitLog.untrained()

    def export(self, job: Fitting) -> dict[str, torch.Tensor]:
        self.seen.append(dict(job.tables))
        return {"items": 2 * job.tables["items"]}


def test_the_next_stage_finds_what_the_last_one_wrote(tmp_path: Path) -> None:
    values = {
        "data": {"name": "planted", "options": {"num_users": 40, "num_items": 30, "history": 6}},
        "backbone": {"name": "mf", "embedding_dim": 4, "fit": {"epochs": 1}},
        "text": {"name": "lsa", "dim": 4},
        "align": {"name": f"{__name__}:Doubled"},
        "evaluate": {"protocols": ["sampled-20"], "max_users": 5},
    }
    run = stages.run(recipes.resolve(values, "doubled"), out=tmp_path, seed=1, device="cpu")
    written = {s: load_file(run.done[s].path / "vectors.safetensors") for s in ("embed", "train", "align")}
    assert {s: set(tables) for s, tables in written.items()} == {
        "embed": {"items"}, "train": {"items", "users"}, "align": {"items"},
    }  # fmt: skip
    (given,) = Doubled.seen
    assert all(torch.equal(given[name], table) for name, table in written["train"].items())
    assert torch.equal(written["align"]["items"], 2 * written["train"]["items"])
