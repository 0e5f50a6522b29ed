"""MixRec from a recipe: a tiny language model learns on the generated world, and the run is used like any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("peft")

from interlingua.recommender import Recommender
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.session import Session

WORLD = {"name": "planted", "options": {"num_users": 150, "num_items": 60}}
SEARCH = {"trials": 2, "trial_users": 30, "first_epochs": 1}
RANKER: dict[str, Any] = {
    "name": "mixrec", "history_length": 5, "max_title_tokens": 6, "cf_dim": 16, "cf_history": 12, "lora": {"alpha": 4},
    "fit": {"learning_rate": 0.01, "batch_size": 32, "steps_per_epoch": 30, "epochs": 8},
}  # fmt: skip
SHORT = RANKER | {"fit": RANKER["fit"] | {"epochs": 1, "steps_per_epoch": 3}, "search": "none"}


def run(out: Path, ranker: dict[str, Any] | None, **data: Any) -> Session:
    values: dict[str, Any] = {"data": WORLD | data, "backbone": {"name": "pop"}, "evaluate": {"protocols": ["full"]}}
    if ranker is not None:
        values["ranker"] = ranker
    return stages.run(recipes.resolve(values, "small"), out=out, seed=3, device="cpu")


def ndcg(session: Session) -> float:
    text = (session.done["evaluate"].path / "metrics.json").read_text(encoding="utf-8")
    return float(json.loads(text)["full"]["metrics"]["ndcg@10"])


@pytest.fixture(scope="module")
def trained(folder: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Session, Path]:
    out = tmp_path_factory.mktemp("runs")
    return run(out, RANKER | SEARCH | {"model": folder}), out


def test_a_small_model_learns_on_the_generated_world(trained: Any) -> None:
    """The check that belongs to every trainable language model in a ranker."""
    session, out = trained
    assert ndcg(session) > 1.5 * ndcg(run(out, None))
    card = session.done["rank"].card["tuned"]
    assert len(card["experts"]) == len(card["ranks"]) == 2
    assert len(card["search"]) == 3
    best = max(card["search"], key=lambda each: each["value"])
    assert (best["experts"], best["ranks"]) == (card["experts"], card["ranks"])


def test_its_controls_run_and_have_keys_of_their_own(folder: str, tmp_path: Path) -> None:
    found = {}
    for name, options, data in (
        ("plain", {}, {}), ("no language model", {"lm_weights": "none"}, {}),
        ("shuffled weights", {"lm_weights": "shuffled"}, {}), ("permuted texts", {}, {"texts": "shuffled"}),
    ):  # fmt: skip
        done = run(tmp_path, SHORT | {"model": folder} | options, **data).done
        found[name] = (done["rank"].key, json.dumps(done["rank"].card.get("tuned", {}).get("sha256")))
    assert len({key for key, _ in found.values()}) == 4
    assert found["no language model"][1] == "null"
    assert len({hashed for _, hashed in found.values()}) == 4, "each trained other experts, or none"


def test_the_run_recommends_and_gives_reasons_for_known_users_and_others(trained: Any) -> None:
    session, _ = trained
    opened = Recommender.load(session.done["evaluate"].path)
    user = str(session.data.split.train.user_ids[0])
    split = session.data.split
    items = [*split.queries("test").history(0).tolist(), int(split.test.items[0])]
    assert (split.test.users[0], split.queries("test").users[0]) == (0, 0)
    history = [str(split.train.item_ids[i]) for i in items]
    known, same = opened.recommend(user=user, k=5), opened.recommend(history=history, k=5)
    assert [each.item_id for each in known] == [each.item_id for each in same]
    assert len({each.item_id for each in known} - set(history)) == 5
    assert opened.recommend(history=[], k=3)
    reason = opened.explain(known[0].item_id, user)
    assert reason.sentence
    assert {each.item_id for each in reason.support} <= set(history)
