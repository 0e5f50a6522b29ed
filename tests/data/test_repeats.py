"""People who come back to what they had: kept, described, trained on, measured and recommended."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import interlingua
from interlingua import registry
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.scorer import Scorer
from interlingua.data.catalogue import Catalogue
from interlingua.data.describe import describe, render
from interlingua.data.prepare import Dataset
from interlingua.data.queries import Queries
from interlingua.data.repeats import MANY, repeat_share
from interlingua.data.sources.planted import generate
from interlingua.evaluate.protocol import evaluate, validation_metrics
from interlingua.evaluate.rules import scorer_for
from interlingua.retrieval.cascade import RetrieveThenRerank

WORLD = generate(num_users=60, num_items=40, seed=5).interactions


def frame(share: float = 1.0) -> pl.DataFrame:
    """A world in which so many of the users end with two items that they had before."""
    rows = [("u" + str(u), "i" + str(i), int(t)) for u, i, t in zip(WORLD.users, WORLD.items, WORLD.times, strict=True)]
    last = int(WORLD.times.max())
    for user in range(round(share * WORLD.num_users)):
        first, second = WORLD.history(user)[:2]
        rows += [(f"u{user}", f"i{first}", last + 1), (f"u{user}", f"i{second}", last + 2)]
    return pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")


KEPT = interlingua.prepare(frame(), filter={"duplicates": "keep"}, quiet=True)


class Scores(Scorer):
    """The same scores for everybody."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.num_items = values.astype(np.float32), len(values)

    def score(self, queries: Queries, items: np.ndarray | None = None) -> np.ndarray:
        table = np.broadcast_to(self.values, (len(queries), self.num_items))
        return table.copy() if items is None else np.take_along_axis(table, items, axis=1)


def test_every_item_is_a_candidate() -> None:
    """Against ranks counted by hand; nothing is masked, so a repeated item can be hit."""
    scorer = Scores(np.random.default_rng(3).permutation(KEPT.interactions.num_items))
    report = evaluate(scorer, KEPT.split, protocol="full-repeat")
    rank_of = np.argsort(np.argsort(-scorer.values)) + 1
    assert report.ranks is not None
    near = report.ranks.first <= 20
    assert (report.ranks.first[near] == rank_of[KEPT.split.test.items][near]).all()
    assert report.metrics["hit@10"] == pytest.approx((rank_of[KEPT.split.test.items] <= 10).mean())
    assert report.metrics["hit@10"] > 0
    assert "masked=nothing" in report.protocol
    assert not report.warnings
    masked = evaluate(scorer, KEPT.split, protocol="full")
    assert masked.metrics["hit@10"] == 0
    assert "never recommended" in masked.warnings[0]


def test_slices_tell_repeats_from_new_items() -> None:
    some = interlingua.prepare(frame(0.5), filter={"duplicates": "keep"}, quiet=True)
    report = evaluate(Scores(np.arange(some.interactions.num_items)), some.split, protocol="full-repeat")
    assert report.slices["repeated items"].n_users + report.slices["new items"].n_users == report.n_users
    assert report.slices["repeated items"].n_users == 30
    assert "repeated items" not in evaluate(Scores(np.arange(40)), some.split, protocol="full").slices


def test_a_reader_orders_what_may_come_back() -> None:
    """The reader puts the target first; what retrieves for it must not have left the target out."""
    target = int(KEPT.split.test.items[0])
    items = KEPT.interactions.num_items
    reader = Scores((np.arange(items) == target).astype(float))
    cascade = RetrieveThenRerank(Scores(np.arange(items)), reader, items)
    one = KEPT.split.queries("test").slice(0, 1)
    assert target in one.items
    assert int(np.argmax(scorer_for(cascade, "full-repeat").score(one)[0])) == target
    assert int(np.argmax(scorer_for(cascade, "full").score(one)[0])) != target
    assert scorer_for(reader, "full-repeat") is reader


@pytest.mark.parametrize("duplicates", ["first", "last", "keep"])
def test_repeats_are_described_whether_they_were_kept_or_not(duplicates: str) -> None:
    prepared = interlingua.prepare(frame(), filter={"duplicates": duplicates}, quiet=True)
    facts = describe(prepared)
    total = frame().height
    assert facts["repeats"] == {"events": 120, "share": 120 / total, "kept": duplicates == "keep"}
    advice = [line for line in facts["warnings"] if "full-repeat" in line and "repeat consumption" in line]
    assert len(advice) == 1
    assert ('duplicates = "keep"' in advice[0]) == (duplicates != "keep")
    assert f"{120 / total:.1%}" in render(facts)


def test_few_repeats_need_no_advice() -> None:
    few = interlingua.prepare(frame(0.1), quiet=True)
    facts = describe(few)
    assert 0 < facts["repeats"]["share"] < MANY
    assert not [line for line in facts["warnings"] if "repeat consumption" in line]


def test_early_stopping_looks_at_what_comes_back() -> None:
    scorer = Scores(np.arange(KEPT.interactions.num_items))
    expected = evaluate(scorer, KEPT.split, "valid", protocol="full-repeat", slices=False, resamples=0).metrics
    assert repeat_share(KEPT.split, "valid") == 1.0
    assert validation_metrics(scorer, KEPT.split) == expected
    unique = interlingua.prepare(frame(), quiet=True)
    assert repeat_share(unique.split, "valid") == repeat_share(unique.split, "test") == 0.0
    scorer = Scores(np.arange(unique.interactions.num_items))
    full = evaluate(scorer, unique.split, "valid", protocol="full", slices=False, resamples=0).metrics
    assert validation_metrics(scorer, unique.split) == full


def trained(name: str, prepared: Dataset) -> Any:
    """A backbone after one epoch."""
    from interlingua.contracts.aligner import Aligner
    from interlingua.training.joint import Joint
    from interlingua.training.loop import fit_best

    cls = registry.find("backbone", name)
    fit = {"fit": {"epochs": 1, "batch_size": 64}} if "fit" in cls.Config.model_fields else {}
    model = cls(cls.Config(**fit), prepared.split.train)
    if model.sampling == "none":
        model.fit(Fitting(prepared.split.train))
    else:
        ids = [str(name) for name in prepared.interactions.item_ids]
        model.read_catalogue(Catalogue(pl.DataFrame({"item_id": ids, "title": [f"title of {name}" for name in ids]})))
        joint = Joint(model, Aligner(Aligner.Config(), 0, 0))
        fit_best(joint, model.batches(prepared.split.train, model.config.fit), model.config.fit, seed=1, label="x")
    return model.eval()


@pytest.mark.parametrize(
    "name",
    [n for n in registry.names("backbone") if not registry.find("backbone", n).needs_text and n != "pretrained"],
)
def test_every_backbone_learns_from_repeated_events(name: str) -> None:
    report = evaluate(trained(name, KEPT), KEPT.split, protocol="full-repeat", resamples=0)
    assert report.slices["repeated items"].n_targets == len(KEPT.split.test.items)
    assert all(np.isfinite(value) for value in report.metrics.values())


def test_a_run_with_repeats_from_data_to_recommendations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = ["data.filter.duplicates=keep", 'evaluate.protocols=["full-repeat"]']
    session = interlingua.run("itemknn", data=frame(), out=tmp_path, overrides=sets)
    assert session.metrics.keys() == {"full-repeat"}
    assert session.metrics["full-repeat"]["hit@10"] > 0

    def asked(*more: str) -> set[str]:
        from interlingua.cli.main import main

        words = ["interlingua", "recommend", str(session.path), "--user", "u1", "--json", *more]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit):
            main()
        return {item["item_id"] for item in json.loads(capsys.readouterr().out)}

    history = {f"i{item}" for item in WORLD.history(1)}
    assert not asked() & history
    assert asked("--repeat") & history
