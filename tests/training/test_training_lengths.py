"""What a run says of its training: the epochs it took, why it ended, and what cannot be trained or validated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from interlingua.errors import DataError
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.session import Session


def run(out: Path, data: dict[str, Any], backbone: dict[str, Any]) -> Session:
    values = {"data": data, "backbone": backbone, "evaluate": {"protocols": ["full"]}}
    return stages.run(recipes.resolve(values, "short"), out=out, seed=1, device="cpu")


def table(folder: Path, per_user: int, users: int = 12) -> dict[str, Any]:
    """Users with so many events each, ten items, as a table of events."""
    lines = [f"u{u},i{(u * 3 + n) % 10},{n}" for u in range(users) for n in range(per_user)]
    path = folder / "events.csv"
    path.write_text("user_id,item_id,timestamp\n" + "\n".join(lines) + "\n")
    return {"name": str(path), "filter": {"min_user": 1, "min_item": 1}}


@pytest.mark.parametrize("backbone", ["sasrec", "gru4rec", "comirec"])
def test_histories_of_one_event_are_refused_before_anything_is_measured(backbone: str, tmp_path: Path) -> None:
    """Three events each and leave-one-out: one is left, and random weights would have been measured."""
    data = table(tmp_path, 3) | {"split": "leave-one-out"}
    with pytest.raises(DataError, match="no history of two events"):
        run(tmp_path / "runs", data, {"name": backbone, "embedding_dim": 4})
    assert not list((tmp_path / "runs").glob("evaluate-*"))


def test_patience_without_a_validation_part_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = table(tmp_path, 6) | {"split": {"name": "ratio", "valid": 0.0, "test": 0.3}}
    made = run(tmp_path / "runs", data, {"name": "mf", "embedding_dim": 4, "fit": {"epochs": 3, "patience": 2}})
    assert "the validation part is empty, so patience has no say: all 3 epochs are trained" in capsys.readouterr().err
    assert (made.done["train"].card["epochs"], made.done["train"].card["best_epoch"]) == (3, None)


def test_the_card_and_the_last_line_say_how_long_a_training_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = {"name": "planted", "options": {"num_users": 40, "num_items": 30}}
    fit = {"epochs": 40, "patience": 1, "patience_steps": 4, "batch_size": 64, "learning_rate": 0.05}
    made = run(tmp_path / "runs", data, {"name": "mf", "embedding_dim": 4, "fit": fit})
    card, said = made.done["train"].card, capsys.readouterr().err
    *epochs, last = (json.loads(line) for line in (made.done["train"].path / "log.jsonl").read_text().splitlines())
    assert (card["epochs"], card["best_epoch"]) == (len(epochs), last["best_epoch"])
    assert card["steps"] == sum(epoch["steps"] for epoch in epochs)
    assert card["epochs"] < 40
    assert f"train: best epoch {card['best_epoch']} of {card['epochs']}, ndcg@10 {last['best']:.4f}\n" in said
    fit |= {"epochs": 2}
    run(tmp_path / "runs", data, {"name": "mf", "embedding_dim": 4, "fit": fit})
    assert "of 2, ndcg@10" in (said := capsys.readouterr().err)
    assert "ended by fit.epochs = 2 before patience did" in said
