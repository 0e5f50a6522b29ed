"""Tables of a comparison: users of every column, what is tested against what, and rows that failed."""

from __future__ import annotations

import numpy as np
import pytest

from interlingua import registry
from interlingua.bench.column_tests import LEAST_USERS, paired_tests
from interlingua.bench.jobs import Job
from interlingua.bench.running import Outcome
from interlingua.bench.spec import RowOptions, Spec, known, load_spec
from interlingua.bench.tables import make
from interlingua.contracts.scorer import Scorer
from interlingua.data.sources.planted import generate
from interlingua.errors import ConfigError
from interlingua.evaluate.compare import holm
from interlingua.evaluate.protocol import evaluate
from interlingua.evaluate.rules import parse_protocol
from interlingua.evaluate.variants import is_question

OWN, SHUFFLED = "sampled-20+expected", "sampled-20+expected+shuffled"
COLUMNS = [
    {"name": "own order", "protocol": OWN},
    {"name": "shuffled", "protocol": SHUFFLED, "baseline": "own order"},
    {"name": "few", "protocol": OWN, "setting": "small"},
    {"name": "plain", "protocol": OWN, "tested": False},
    {"name": "cost", "measure": "training seconds"},
]


class Knows(Scorer):
    """Scores of its own, and, if it reads the order, much for the target of a user whose last item is the true one."""

    def __init__(self, split, reads_order):
        queries, targets = split.queries("test"), split.targets("test")
        self.num_items, self.reads_order = split.train.num_items, reads_order
        self.table = np.random.default_rng(3).normal(size=self.num_items)
        self.last = dict(zip(queries.users.tolist(), queries.items[queries.offsets[1:] - 1].tolist(), strict=True))
        self.target = dict(zip(targets.users.tolist(), targets.items[targets.offsets[:-1]].tolist(), strict=True))

    def score(self, queries, items=None):
        found = np.tile(self.table, (len(queries), 1))
        for place, user in enumerate(queries.users.tolist()):
            if self.reads_order and queries.history(place)[-1] == self.last[user]:
                found[place, self.target[user]] += 10
        return np.float32(found if items is None else np.take_along_axis(found, np.asarray(items), 1))


@pytest.fixture(scope="module")
def done():
    """Two methods in two settings, of which the small one has fewer users than a test wants."""
    world = generate(120, 40, seed=1, cold_share=0.0)
    out = {}
    for row in ("reference", "reader"):
        scorer = Knows(world.split, row == "reader")
        for setting, users in (("whole", 80), ("small", LEAST_USERS - 1)):
            reports = {
                name: evaluate(scorer, world.split, protocol=name, max_users=users, seed=2) for name in (OWN, SHUFFLED)
            }
            out[Job(row, setting, 7)] = Outcome(reports, training_seconds=1.0)
    return out


def spec_of(rows, columns=COLUMNS, against="reference"):
    table = {"title": "t", "rows": list(rows), "columns": columns, "against": against}
    methods = {row: RowOptions(recipe="pop") for row in {*rows, *([against] if against else [])}}
    return Spec.model_validate(
        {
            "about": "a",
            "source": "s",
            "differs": "d",
            "methods": methods,
            "settings": {"small": {}},
            "tables": {"1": table},
        }
    )


def table_of(spec, done, missing=None, failed=None):
    return make(spec, "1", spec.tables["1"], done, missing or {}, failed or {})


def test_a_table_shows_how_many_users_every_column_has(done):
    made = table_of(spec_of(["reference", "reader"]), done)
    users = {each["name"]: each["users"] for each in made.to_json()["columns"]}
    assert users == {"own order": [80], "shuffled": [80], "few": [LEAST_USERS - 1], "plain": [80], "cost": []}
    assert f"| users |  | 80 | 80 | {LEAST_USERS - 1} | 80 | – |" in made.markdown()


def test_a_column_that_is_not_tested_says_why(done):
    made = table_of(spec_of(["reference", "reader"]), done)
    assert set(made.untested) == {"few", "plain", "cost"}
    assert f"few: not tested, {LEAST_USERS - 1} users, and a test wants {LEAST_USERS}" in made.markdown()
    assert "plain: not tested, shown beside" in made.markdown()
    alone = table_of(spec_of(["reader"]), {job: out for job, out in done.items() if job.row == "reader"})
    assert alone.untested["own order"] == "reference has no value in 'own order'"


def test_a_variant_is_tested_against_the_method_itself_over_the_same_users(done):
    made = table_of(spec_of(["reference", "reader"]), done)
    assert {(test["column"], test["method"], test["against"]) for test in made.tests} == {
        ("own order", "reader", "reference"),
        ("shuffled", "reference", "itself, own order"),
        ("shuffled", "reader", "itself, own order"),
    }
    found = {(test["column"], test["method"]): test for test in made.tests}
    own, other = (done[Job("reader", "whole", 7)].reports[name] for name in (OWN, SHUFFLED))
    by_user = other.per_user["hit@1"] - own.per_user["hit@1"]
    assert found["shuffled", "reader"]["difference"] == pytest.approx(by_user.mean(), abs=1e-5)
    assert found["shuffled", "reader"]["interval"][1] < 0  # it reads the order, and loses by it
    assert found["shuffled", "reference"]["difference"] == 0


def test_all_tests_of_a_table_are_one_family(done):
    tests, _ = paired_tests(spec_of(["reference", "reader"]).tables["1"], done)
    assert [test["p_holm"] for test in tests] == holm([test["p"] for test in tests])


def test_a_variant_without_a_baseline_is_not_tested_against_other_methods(done):
    columns = [COLUMNS[0], {"name": "shuffled", "protocol": SHUFFLED}]
    made = table_of(spec_of(["reader"], columns), done)
    assert {test["column"] for test in made.tests} == {"own order"}
    assert "baseline" in made.untested["shuffled"]


def test_a_column_cannot_have_a_baseline_that_is_not_there():
    with pytest.raises(ValueError, match="names the column 'own'"):
        spec_of(["reader"], [{"name": "shuffled", "protocol": SHUFFLED, "baseline": "own"}])


@pytest.mark.parametrize("name", known())
def test_every_variant_of_a_comparison_that_ships_has_a_baseline(name):
    columns = [each for table in load_spec(name).tables.values() for each in table.columns if each.measure == "metric"]
    assert not [each.name for each in columns if is_question(each.protocol) and each.tested and each.baseline is None]


def test_few_shot_columns_are_tested_alike():
    assert {each.name: each.tested for each in load_spec("a-llmrec").tables["6"].columns} == dict.fromkeys(
        ("256 users", "128 users", "64 users"), True
    )


def test_a_failed_row_is_shown_with_its_reason(done):
    failed = {"broken, whole, seed 7": "ValueError: no\nmore", "reader, small, seed 7": "no room"}
    spec = spec_of(["reference", "broken", "reader"])
    some = {job: out for job, out in done.items() if str(job) not in failed}
    made = table_of(spec, some, failed=failed)
    text = made.markdown()
    assert "| broken | – | failed | failed | – | failed | failed |" in text
    assert "broken, whole, seed 7: failed, ValueError: no" in text
    assert made.failed["reader"] == {"few": "no room"}
    rows = {row["method"]: row for row in made.to_json()["rows"]}
    assert rows["broken"]["failed"]["own order"] == "ValueError: no"
    assert rows["reader"]["own order"]["users"] == 80


@pytest.mark.parametrize("name", ["sampled", "popular", "matched"])
def test_numbered_protocols_are_made_alike(name):
    cls = registry.find("protocol", name)
    assert "of_number" not in vars(cls)
    made = parse_protocol(f"{name}-7")
    assert (type(made), made.name, made.candidates) == (cls, f"{name}-7", 7)
    assert "mrr@7" in made.metrics
    with pytest.raises(ConfigError, match=f"'{name}-1'.*at least 2"):
        parse_protocol(f"{name}-1")
