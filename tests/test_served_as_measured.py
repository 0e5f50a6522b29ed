"""Whatever a recipe ends with: what is recommended, explained and exported is what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interlingua.errors import ConfigError
from interlingua.recommender import Recommender
from interlingua.retrieval.best import mask_seen, top_items
from interlingua.runs import recipe as recipes
from interlingua.runs import scorers, stages
from interlingua.runs.export import embed, towers
from interlingua.runs.opening import open_session
from interlingua.runs.session import Session

RECIPE: dict[str, Any] = {
    "data": {"name": "planted", "options": {"num_users": 80, "num_items": 60}},
    "backbone": {"name": "mf", "embedding_dim": 8, "fit": {"learning_rate": 0.02, "batch_size": 256, "epochs": 4}},
    "text": {"name": "lsa", "dim": 16},
    "evaluate": {"protocols": ["full"]},
}  # fmt: skip
ENDS: dict[str, dict[str, Any]] = {
    "backbone alone": {},
    "ridge": {"align": {"name": "ridge"}},
    "autoencoder, unread": {"align": {"name": "autoencoder", "frozen": ["backbone"], "fit": {"epochs": 2}}},
    "autoencoder, read": {
        "align": {"name": "autoencoder", "frozen": ["backbone"], "fit": {"epochs": 2}},
        "evaluate": {"protocols": ["full"], "candidate_source": "aligned"},
    },
}


def resolved(**changes: Any) -> recipes.Recipe:
    values = {k: dict(v) for k, v in RECIPE.items()} | changes
    if "align" not in values:
        del values["text"]
    return recipes.resolve(values, "small")


@pytest.fixture(scope="module", params=ENDS)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Session:
    made = stages.run(resolved(**ENDS[request.param]), out=tmp_path_factory.mktemp("runs"), seed=3, device="cpu")
    return open_session(made.done["evaluate"].path, "cpu")


def test_recommendations_are_the_measured_ranking(run: Session) -> None:
    recommender, users = Recommender(run), np.arange(25)
    queries = run.data.interactions.queries(users)
    scores = np.array(scorers.scorer_of(run).score(queries), np.float32)
    mask_seen(scores, queries)
    ids = run.data.split.train.item_ids
    for row, best in zip(users, top_items(scores, 7), strict=True):
        answers = recommender.recommend(user=str(run.data.split.train.user_ids[row]), k=7)
        assert [a.item_id for a in answers] == [str(ids[item]) for item in best]
        np.testing.assert_allclose([a.score for a in answers], scores[row, best], rtol=1e-5, atol=1e-6)
    aligned = run.recipe.align is not None and (
        run.recipe.align.name == "ridge" or run.recipe.evaluate.candidate_source == "aligned"
    )
    assert {a.stage for a in answers} == {run.recipe.align.name if aligned and run.recipe.align else "mf"}
    new = run.data.split.train.item_counts == 0
    moved = ~np.isclose(scores, run.backbone.score(queries), rtol=1e-4, atol=1e-5)
    moved[~np.isfinite(scores)] = False
    assert moved[:, new].any() == aligned


def test_exported_vectors_score_as_measured(run: Session) -> None:
    queries = run.data.split.queries("test").slice(0, 30)
    made = towers(run)
    got = made.users(queries).numpy() @ made.items.numpy().T
    np.testing.assert_allclose(got, scorers.scorer_of(run).score(queries), rtol=1e-4, atol=1e-5)
    assert made.biased  # mf has an item bias
    assert np.ptp(made.items.numpy()[:, -1]) > 0


def test_an_alignment_that_nothing_reads_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stages.run(resolved(**ENDS["autoencoder, unread"]), out=tmp_path, seed=3, device="cpu")
    assert "nothing here reads the alignment 'autoencoder'" in capsys.readouterr().err
    stages.run(resolved(**ENDS["ridge"]), out=tmp_path, seed=3, device="cpu")
    assert "nothing here reads" not in capsys.readouterr().err


def test_closed_forms_are_fitted_on_a_trained_backbone(tmp_path: Path) -> None:
    made = stages.run(resolved(align={"name": "ridge"}), out=tmp_path, seed=3, device="cpu")
    assert {"train", "align"} <= set(made.done)
    with pytest.raises(ConfigError, match=r"\[align\] frozen = \[\]: the aligner 'ridge' is fitted on a finished"):
        resolved(align={"name": "ridge", "frozen": []})


@pytest.mark.parametrize("align", ["autoencoder", "contrastive", "kar"])
def test_a_backbone_without_gradients_is_not_trained_along(align: str) -> None:
    backbone = {"name": "pretrained", "items": "v.npy"}
    with pytest.raises(ConfigError, match=r"'pretrained' is not trained|a backbone that is trained by"):
        resolved(backbone=backbone, align={"name": align, "frozen": []})
    if align == "kar":
        with pytest.raises(ConfigError, match=r"'kar' trains the backbone, but the backbone 'pretrained' is not"):
            resolved(backbone=backbone, align={"name": align})
    elif align == "contrastive":  # which trains on the backbone's own batches, and these vectors have none
        with pytest.raises(ConfigError, match="'contrastive' needs a backbone that is trained by gradient"):
            resolved(backbone=backbone, align={"name": align})
    else:
        assert resolved(backbone=backbone, align={"name": align}).frozen_backbone


def test_retrieval_by_texts_needs_an_alignment_that_maps_them() -> None:
    by_text = {"protocols": ["full"], "candidate_source": "aligned"}
    with pytest.raises(ConfigError, match=r"candidate_source = 'aligned' needs an \[align\] section"):
        resolved(evaluate=by_text)
    with pytest.raises(ConfigError, match="which the aligner 'masked' does not make"):
        resolved(align={"name": "masked"}, evaluate=by_text, text={"name": "lsa", "dim": 16, "users": "items"})


def given_vectors(tmp_path: Path, made: Session) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Item vectors of a run for some items only: one item with events has none, one without events has one."""
    counts = made.data.split.train.item_counts
    ids = made.data.split.train.item_ids
    new = np.flatnonzero(counts == 0)
    kept = np.setdiff1d(np.arange(len(ids)), [int(counts.argmax()), *new[1:]])
    vectors = made.backbone.item_embeddings().detach().numpy()[kept]
    np.save(tmp_path / "v.npy", vectors)
    (tmp_path / "v.json").write_text(json.dumps([str(i) for i in ids[kept]]), encoding="utf-8")
    options = {"name": "pretrained", "items": str(tmp_path / "v.npy"), "item_ids": str(tmp_path / "v.json")}
    return options, kept, vectors


def test_of_given_vectors_the_missing_ones_come_from_texts_whatever_their_events(tmp_path: Path) -> None:
    made = stages.run(resolved(), out=tmp_path / "runs", seed=3, device="cpu")
    backbone, kept, vectors = given_vectors(tmp_path, made)
    run = stages.run(resolved(backbone=backbone, align={"name": "ridge"}), out=tmp_path / "runs", seed=3, device="cpu")
    table = scorers.aligned_scorer(run).items.numpy()
    np.testing.assert_array_equal(table[kept], vectors)
    missing = np.setdiff1d(np.arange(len(table)), kept)
    assert (np.linalg.norm(table[missing], axis=1) > 0).all()
    popular = int(run.data.split.train.item_counts.argmax())
    assert popular in missing
    np.testing.assert_allclose(table[popular], run.aligned.items_from_text[popular].numpy(), rtol=1e-6)


def test_vectors_that_know_the_held_out_events_are_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = stages.run(resolved(), out=tmp_path / "runs", seed=3, device="cpu")
    for events in ("all", "train"):
        embed(made, tmp_path / events, "parquet", events=events)
        files = {side: str(tmp_path / events / f"{side}.parquet") for side in ("items", "users")}
        capsys.readouterr()
        stages.run(resolved(backbone={"name": "pretrained", **files}), out=tmp_path / "runs", seed=3, device="cpu")
        assert ("knows the answers" in capsys.readouterr().err) == (events == "all")


def test_a_run_whose_recipe_would_be_refused_today_still_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes, "_needs_frozen", lambda parts: "")  # as it was
    made = stages.run(resolved(align={"name": "ridge", "frozen": []}), out=tmp_path, seed=3, device="cpu")
    monkeypatch.undo()
    again = open_session(made.done["evaluate"].path, "cpu")
    assert len(Recommender(again).recommend(history=[str(made.data.split.train.item_ids[0])], k=3)) == 3


def test_remeasuring_by_texts_needs_an_alignment(tmp_path: Path) -> None:
    made = stages.run(resolved(), out=tmp_path, seed=3, device="cpu")
    changed = made.recipe.evaluate.model_copy(update={"candidate_source": "aligned"})
    with pytest.raises(ConfigError, match=r"needs an \[align\] section"):
        stages.reevaluate(made, changed)


@pytest.mark.parametrize("section", ["align", "ranker"])
def test_early_stopping_that_would_look_at_nothing_is_refused(section: str) -> None:
    parts = {"align": {"name": "autoencoder"}, "ranker": {"name": "soft-prompt"}}
    parts[section]["fit"] = {"patience": 2}
    with pytest.raises(ConfigError, match=rf"\[{section}\]\.fit\.patience"):
        resolved(**parts)
