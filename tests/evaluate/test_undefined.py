"""A metric without a number says why: in words, in the report, as null in JSON."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import interlingua
from interlingua.cli.run import print_metrics, summary
from interlingua.data.sources.planted import generate
from interlingua.evaluate.judged import Judged, LabelledScores
from interlingua.evaluate.metrics.auc import AUC
from interlingua.evaluate.metrics.log_loss import LogLoss
from interlingua.evaluate.metrics.uauc import UAUC
from interlingua.evaluate.named import measure, notes_of

WORLD = generate(num_users=40, num_items=20, seed=2).interactions
EVENTS = pl.DataFrame(
    {
        "user_id": [f"u{row}" for row in WORLD.users], "item_id": [f"i{row}" for row in WORLD.items],
        "timestamp": WORLD.times, "rating": np.where(np.arange(len(WORLD.items)) % 3 == 1, 1.0, 5.0),
    }
)  # fmt: skip


def labelled(tmp_path: Path, split: str) -> Any:
    sets = ["data.label.at_least=4", "data.filter={min_user = 0, min_item = 0}", f"data.split={split}"]
    return interlingua.run(
        "itemknn", data=EVENTS, out=tmp_path, overrides=[*sets, 'evaluate.protocols=["labelled"]'], device="cpu"
    )


def test_uauc_under_leave_one_out_is_null_with_a_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session = labelled(tmp_path, "leave-one-out")
    why = "none of 40 has both: hold out more events of each user"
    assert why in capsys.readouterr().err
    stored = json.loads((session.path / "metrics.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert stored["labelled"]["metrics"]["uauc"] is None
    assert why in stored["labelled"]["undefined"]["uauc"]
    report = session.reports["labelled"]  # as it was stored
    assert math.isnan(report.metrics["uauc"])
    assert why in report.undefined["uauc"]
    assert any(text.startswith("log-loss: ") and "no logits" in text for text in report.warnings)
    capsys.readouterr()
    print_metrics(summary(session))
    assert "not defined" in capsys.readouterr().out


def test_what_is_defined_for_some_says_for_how_many(tmp_path: Path) -> None:
    report = labelled(tmp_path, '{name = "ratio", test = 0.4}').reports["labelled"]
    values = report.per_user["uauc"]
    defined = int((~np.isnan(values)).sum())
    assert 0 < defined < len(values)
    assert not report.undefined
    assert any(text.startswith(f"uauc: over {defined} of {len(values)} users") for text in report.warnings)


@pytest.mark.parametrize(
    ("labels", "scores", "expected"),
    [
        ([True, True], [1.0, 2.0], {"auc": "all 2 held-out events are liked", "uauc": "none of 1 has both"}),
        ([False, False], [-1.0, -2.0], {"auc": "all 2 held-out events are disliked", "uauc": "none of 1 has both"}),
        ([True, False], [4.0, -4.0], {}),
        ([True, False], [40.0, 30.0], {"log-loss": "above 0.6931"}),
    ],
)
def test_notes_by_hand(labels: list[bool], scores: list[float], expected: dict[str, str]) -> None:
    pairs = LabelledScores(np.zeros(2, np.int64), np.array(labels), np.array(scores), 1)
    judged = Judged(labels=pairs)
    names = [name for name in ("auc", "uauc", "log-loss") if name != "log-loss" or len(set(labels)) == 2]
    found = notes_of(judged, *measure(judged, names))
    assert found.keys() == expected.keys()
    for name, words in expected.items():
        assert words in found[name]
    assert {AUC.cut, UAUC.cut, LogLoss.cut} == {False}
