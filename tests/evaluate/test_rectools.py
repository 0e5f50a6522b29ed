"""Metrics over lists equal RecTools' to the last digits, on numbers that it left behind (``rectools_numbers.py``)."""

from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.sparse as sp
from tests.evaluate.rectools_numbers import FILE, ITEMS, USERS, case

from interlingua.data.interactions import Interactions
from interlingua.data.split import GroundTruth
from interlingua.evaluate.judged import ItemFacts, Judged
from interlingua.evaluate.named import measure

KEPT = json.loads(FILE.read_text(encoding="utf-8"))


def judged() -> Judged:
    given = KEPT["case"]
    users, items = np.array(given["train"]).T
    ids = np.array([f"u{n:02}" for n in range(USERS)]), np.array([f"i{n:02}" for n in range(ITEMS)])
    train = Interactions.of(*ids, users, items)
    owners = np.repeat(np.arange(USERS), [len(row) for row in given["targets"]])
    targets = GroundTruth.of(owners, np.concatenate(given["targets"]))
    facts = ItemFacts(sp.csr_matrix(np.eye(3)[given["categories"]]), np.array(given["vectors"], np.float32))
    return Judged(
        lists=np.array(given["lists"]), train=train, targets=targets, queries=train.queries(), facts=facts
    )  # fmt: skip


@pytest.mark.parametrize("name", sorted(KEPT["values"]))
def test_a_metric_equals_that_of_rectools(name: str) -> None:
    per_user, together = measure(judged(), [name])
    found = per_user[name] if name in per_user else np.array([together[name]])
    np.testing.assert_allclose(found, KEPT["values"][name], rtol=1e-5, atol=1e-6)


def test_the_numbers_are_those_of_the_case_that_the_script_makes() -> None:
    """And none of them is trivial: each metric differs between users."""
    assert json.loads(json.dumps(case())) == KEPT["case"]
    assert KEPT["rectools"] == "0.19.0"
    kinds = {name.partition("@")[0] for name in KEPT["values"]}
    assert kinds == {"coverage", "diversity-categories", "diversity-vectors", "novelty", "popularity", "serendipity"}
    assert all(len(set(values)) > 1 for name, values in KEPT["values"].items() if not name.startswith("coverage"))
