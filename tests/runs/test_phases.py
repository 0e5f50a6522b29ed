"""A training in two phases: killed in either of them it goes on where it was, and ends with the same bits."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest

from interlingua.runs import building, session, stages
from interlingua.runs import recipe as recipes
from interlingua.storage import artifact
from interlingua.training import loop

RECIPE = {
    "data": {"name": "planted", "options": {"num_users": 40, "num_items": 30}},
    "backbone": {"name": "ncf", "embedding_dim": 4, "layers": [8, 4], "pretrain_epochs": 3,
                 "fit": {"epochs": 3, "batch_size": 128, "patience": 2}},
    "evaluate": {"protocols": ["full"]},
}  # fmt: skip


class Killed(BaseException):
    """Stands for the end of the process."""


def run(out: Path) -> session.Session:
    return stages.run(recipes.resolve(RECIPE, "phases"), out=out, seed=3, device="cpu")


def bits(made: session.Session) -> str:
    return artifact.file_hash(made.done["train"].path / "weights.safetensors")


@pytest.mark.parametrize("place", [1, 3, 4], ids=["in the first phase", "between them", "in the second phase"])
def test_a_killed_run_goes_on_in_its_phase(place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(tmp_path / "whole")
    done: list[tuple[str, int]] = []
    real = loop._set_learning_rate

    def counted(optimizer: Any, config: Any, epoch: int, step: int, before: int) -> None:
        if step == 0:
            if len(done) == place:
                raise Killed
            done.append(("epoch", epoch))
        real(optimizer, config, epoch, step, before)

    monkeypatch.setattr(building, "fit_best", functools.partial(loop.fit_best, checkpoint_every_s=0.0))
    with monkeypatch.context() as inside:
        inside.setattr(loop, "_set_learning_rate", counted)
        with pytest.raises(Killed):
            run(tmp_path / "killed")
    trained = len(done)
    done.clear()
    monkeypatch.setattr(loop, "_set_learning_rate", functools.partial(_noted, done, real))
    again = run(tmp_path / "killed")
    assert bits(again) == bits(whole)
    assert len(done) == 6 - trained, "finished epochs of either phase are not trained again"
    lines = (again.done["train"].path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line).get("phase") for line in lines] == ["pretrain"] * 3 + [None] * 4
    assert again.done["train"].card["epochs"] == 6


def _noted(done: list[Any], real: Any, optimizer: Any, config: Any, epoch: int, step: int, before: int) -> None:
    if step == 0:
        done.append(epoch)
    real(optimizer, config, epoch, step, before)
