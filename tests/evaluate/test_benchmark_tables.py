"""RLMRec's tables go on without run folders: each user's recall survives in a small file, and tests are one family."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from test_protocol import Scores, random_split

from interlingua.evaluate.compare import compare, holm
from interlingua.evaluate.protocol import evaluate

FOLDER = Path(__file__).parents[2] / "benchmarks" / "quality"


@pytest.fixture(autouse=True)
def _scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])


def report(seed, level, users=120):
    split = random_split(4, users=users, items=60)
    truth = np.zeros((users, 60))
    truth[np.repeat(split.test.users, np.diff(split.test.offsets)), split.test.items] = 1
    noise = np.random.default_rng(seed).normal(0, level, truth.shape)
    return evaluate(Scores(truth + noise), split, protocol="rlmrec")


def test_a_table_is_tested_without_its_runs(tmp_path):
    from per_user import UserHits
    from rlmrec_results import finish, users_file

    out = tmp_path / "table.json"
    users, rows, reports = UserHits(users_file(out)), [], {}
    for variant, level, seeds in (("base", 3.0, 3), ("Con", 1.5, 2), ("Gen", 3.0, 2)):
        for seed in range(seeds):
            found, run = report(10 * len(rows), level), f"evaluate-{variant}-{seed}"
            users.add(run, found)
            reports.setdefault(f"lightgcn: {variant}", []).append(found)
            rows.append(
                {"method": f"lightgcn: {variant}", "backbone": "lightgcn", "variant": variant, "seed": seed, "run": run,
                 "recall@20": found.metrics["recall@20"], "ndcg@20": found.metrics["ndcg@20"], "seconds": 1.0,
                 "epochs": 30, "best epoch": 10 + seed}
            )  # fmt: skip
    again = UserHits(users_file(out))  # another process, another day
    for run in again.hits:
        assert again.report(run).metrics["recall@20"] == pytest.approx(users.report(run).metrics["recall@20"])
    result: dict = {}
    finish(result, rows, again, out)
    expected = {t.first: t for t in compare(reports, metrics=["recall@20"], reference="lightgcn: base").tests}
    for test in result["tests"]:
        assert test["recall@20 difference"] == pytest.approx(expected[test["method"]].difference, abs=1e-5)
        assert test["p"] == pytest.approx(expected[test["method"]].p, abs=0.01)
    assert [t["p_holm"] for t in result["tests"]] == holm([t["p"] for t in result["tests"]])
    assert [t["seeds"] for t in result["tests"]] == ["2, 3", "2, 3"]
    assert [(m["epochs"], m["best epoch"]) for m in json.loads(out.read_text())["mean"]] == [
        (30, 11),
        (30, 10),
        (30, 10),
    ]
    assert users_file(out).stat().st_size < 10_000


def test_runs_of_other_users_are_refused(tmp_path):
    from per_user import UserHits

    users = UserHits(tmp_path / "t.users.npz")
    users.add("one", report(1, 1.0))
    with pytest.raises(SystemExit, match="other users"):
        users.add("two", report(1, 1.0, users=90))


def test_results_from_before_users_were_kept_get_the_seeds_into_their_tests():
    """The users' interval alone would say p < .001; three seeds that differ by more than the difference do not."""
    from rlmrec_retest import retested

    test = {"method": "a", "against": "b", "interval": [0.008, 0.012]}
    wide = retested(test, {"a": [0.20, 0.24, 0.22], "b": [0.19, 0.23, 0.21]})
    narrow = retested(test, {"a": [0.2199, 0.2201, 0.22], "b": [0.2099, 0.2101, 0.21]})
    assert wide["recall@20 difference"] == narrow["recall@20 difference"] == 0.01
    assert wide["p"] > 0.3 > 0.001 > narrow["p"]
    once_more = retested(narrow, {"a": [0.20, 0.24, 0.22], "b": [0.19, 0.23, 0.21]})
    assert once_more["users interval"] == [0.008, 0.012]
