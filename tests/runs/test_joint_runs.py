"""Runs whose backbone is trained along with texts: every stage, reopened, recommending, on a planted world."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interlingua.errors import ConfigError
from interlingua.evaluate.result import load_report
from interlingua.recommender import Recommender
from interlingua.runs import recipe as recipes
from interlingua.runs import scorers, stages
from interlingua.runs.opening import open_session
from interlingua.runs.session import Session

RECIPE: dict[str, Any] = {
    "data": {"name": "planted", "options": {"num_users": 80, "num_items": 40}},
    "backbone": {"name": "lightgcn", "embedding_dim": 8, "num_layers": 2,
                 "fit": {"learning_rate": 0.02, "batch_size": 256, "epochs": 4, "patience": 2}},
    "text": {"name": "lsa", "dim": 16, "users": "items"},
    "evaluate": {"protocols": ["full"]},
}  # fmt: skip
ALIGNERS = ("contrastive", "masked", "replace", "init", "kar")


def run(folder: Path, align: str, **changes: Any) -> Session:
    """One run of the recipe with the given aligner; the backbone learns along."""
    values = {k: {**v, **changes.get(k, {})} for k, v in RECIPE.items()}
    values["align"] = {"name": align, **changes.get("align", {})}
    return stages.run(recipes.resolve(values, align), out=folder, seed=3, device="cpu")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Session]:
    folder = tmp_path_factory.mktemp("joint")
    return {name: run(folder, name) for name in ALIGNERS}


@pytest.mark.parametrize("name", ALIGNERS)
def test_a_reopened_run_scores_as_the_one_in_memory(name: str, runs: dict[str, Session]) -> None:
    made = runs[name]
    again = open_session(made.done["evaluate"].path, "cpu")
    queries = made.data.split.train.queries(np.arange(10))
    assert np.array_equal(scorers.scorer_of(again).score(queries), scorers.scorer_of(made).score(queries))


@pytest.mark.parametrize("name", ALIGNERS)
def test_what_was_measured_is_what_is_served(name: str, runs: dict[str, Session]) -> None:
    """The best validation value of the log is reached by the stored weights: deployed inputs included."""
    from interlingua.evaluate.protocol import validation_metrics

    made = runs[name]
    best = made.done["align"].path.joinpath("log.jsonl").read_text(encoding="utf-8").splitlines()[-1]
    again = open_session(made.done["evaluate"].path, "cpu")
    assert f'"best": {validation_metrics(again.backbone, made.data.split)["ndcg@10"]}' in best


def test_recommendations_name_the_backbone_that_answered(runs: dict[str, Session]) -> None:
    made = runs["contrastive"]
    recommender = Recommender(open_session(made.done["evaluate"].path, "cpu"))
    train = made.data.split.train
    known = recommender.recommend(user=str(train.user_ids[0]), k=3)
    fresh = recommender.recommend(history=[str(train.item_ids[1])], k=3)
    assert len(known) == len(fresh) == 3
    assert {item.stage for item in known} == {"lightgcn"}
    had = {str(train.item_ids[row]) for row in train.history(0)}
    assert had.isdisjoint(item.item_id for item in known)


def test_items_without_events_are_reached_through_their_texts(runs: dict[str, Session]) -> None:
    plain = runs["contrastive"]
    folder = plain.done["evaluate"].path.parent
    texts = run(folder, "contrastive", evaluate={"candidate_source": "aligned"})
    assert texts.done["align"].key == plain.done["align"].key, "the same trained pair"
    new = plain.data.split.train.item_counts == 0
    assert new.any()
    queries = plain.data.split.train.queries(np.arange(20))
    before, after = scorers.scorer_of(plain).score(queries), scorers.scorer_of(texts).score(queries)
    assert np.allclose(before[:, ~new], after[:, ~new], atol=1e-5)
    assert not np.allclose(before[:, new], after[:, new])


def test_controls_and_reduction_make_other_runs(runs: dict[str, Session]) -> None:
    plain = runs["contrastive"]
    folder = plain.done["evaluate"].path.parent
    shuffled = run(folder, "contrastive", text={"control": "shuffled"})
    small = run(folder, "contrastive", text={"reduce": 4})
    assert len({r.done["align"].key for r in (plain, shuffled, small)}) == 3
    assert small.text is not None
    assert small.text.dim == 4
    reports = [load_report(r.done["evaluate"].path / "protocols" / "full") for r in (plain, shuffled)]
    assert reports[0].metrics != reports[1].metrics


def test_without_user_vectors_the_error_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"text\.users = 'items'"):
        run(tmp_path, "contrastive", text={"users": "none"})


def test_a_user_column_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"users column 'bio' in text\.user_fields"):
        run(tmp_path, "contrastive", text={"users": "texts", "user_fields": ["bio"]})


def test_an_item_bias_survives_when_new_items_are_read_from_their_texts(tmp_path: Path) -> None:
    values = {k: dict(v) for k, v in RECIPE.items()}
    values["backbone"] = {"name": "mf", "embedding_dim": 8, "fit": {"epochs": 3, "learning_rate": 0.02}}
    values["align"] = {"name": "ridge", "frozen": ["backbone"]}
    made = stages.run(recipes.resolve(values, "biased"), out=tmp_path, seed=3, device="cpu")
    new = made.data.split.train.item_counts == 0
    queries = made.data.split.train.queries(np.arange(10))
    shown, own = scorers.scorer_of(made).score(queries), made.backbone.score(queries)
    assert np.allclose(shown[:, ~new], own[:, ~new], atol=1e-5)
    assert not np.allclose(shown[:, new], own[:, new])


def test_other_vectors_under_the_same_path_are_another_stage(tmp_path: Path) -> None:
    def keys() -> dict[str, str]:
        values = {k: dict(v) for k, v in RECIPE.items()}
        values["text"] = {"name": "npy", "path": str(tmp_path / "v.npy"), "users": "items"}
        values["align"] = {"name": "contrastive"}
        plan = Session(recipes.resolve(values, "brought"), tmp_path, 3).plan
        return {kind: stage.key for kind, stage in plan.items()}

    np.save(tmp_path / "v.npy", np.zeros((40, 8), np.float32))
    first, again = keys(), keys()
    np.save(tmp_path / "v.npy", np.ones((40, 8), np.float32))
    other = keys()
    assert first == again
    assert first["prepare"] == other["prepare"]
    assert first["embed"] != other["embed"]
    assert first["align"] != other["align"]
