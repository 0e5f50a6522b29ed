"""Several methods on one dataset, side by side: the runs, one table, and a few users with recommendations and reasons.

The demo and the quality benchmarks are both made of this. Every method shares the prepared data and, where it has one,
the trained backbone; candidates of sampled protocols depend on (seed, user) only, so all methods rank the same ones.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from interlingua import recipe as recipes
from interlingua import stages
from interlingua.core import Queries
from interlingua.progress import say
from interlingua.session import Session

if TYPE_CHECKING:
    from interlingua.evaluate.compare import PairedTest

COLUMNS = (
    ("full", None, "ndcg@10"),
    ("full", None, "recall@10"),
    ("sampled-20", None, "hit@1"),
    ("sampled-20", "warm items", "hit@1"),
    ("sampled-20", "cold items", "hit@1"),
)
"""(protocol, slice or None, metric) of the headline table"""


@dataclass(frozen=True)
class Method:
    """One row of the comparison."""

    label: str
    recipe: str
    sets: tuple[str, ...] = ()
    note: str = ""


BACKBONE = "SASRec"
METHOD = "A-LLMRec"
CONTROL = "A-LLMRec without the LM"
DEMO = (
    Method("popularity", "pop"),
    Method("item kNN (cosine)", "itemknn"),
    Method("EASE", "ease"),
    Method("text kNN", "textknn", note="item texts only"),
    Method(BACKBONE, "sasrec", note="the backbone alone"),
    Method(METHOD, "a-llmrec", note="the backbone aligned with texts and read by a language model"),
    Method(CONTROL, "a-llmrec", ("llm.lm_weights=none",), note="control: same vectors, head and training, no LM"),
)
"""What the demo compares"""


@dataclass(frozen=True)
class Cell:
    """One number with its 95 % interval and the users behind it."""

    value: float
    low: float
    high: float
    n_users: int


@dataclass
class Result:
    """A finished method."""

    method: Method
    session: Session
    reports: dict[str, Any] = field(default_factory=dict)

    @property
    def run(self) -> Path:
        """Folder of the evaluate stage."""
        return self.session.done["evaluate"].path

    @property
    def seconds(self) -> dict[str, float]:
        """Stage -> seconds when it was made."""
        return {kind: float(done.card["seconds"]) for kind, done in self.session.done.items()}

    def cell(self, protocol: str, part: str | None, metric: str) -> Cell | None:
        """One number, or None where the protocol or slice was not measured."""
        report = self.reports.get(protocol)
        if report is None:
            return None
        whole = report if part is None else report["slices"].get(part)
        if whole is None or metric not in whole["metrics"]:
            return None
        low, high = whole["intervals"].get(metric, (float("nan"), float("nan")))
        return Cell(float(whole["metrics"][metric]), float(low), float(high), int(whole["n_users"]))

    def log(self, stage: str) -> list[dict[str, Any]]:
        """Epoch records of a stage that was trained by gradient."""
        done = self.session.done.get(stage)
        path = None if done is None else done.path / "log.jsonl"
        if path is None or not path.is_file():
            return []
        lines = path.read_text(encoding="utf-8").splitlines()
        return [record for record in map(json.loads, lines) if "epoch" in record]


def run_methods(
    methods: Sequence[Method],
    *,
    out: Path,
    seed: int,
    data: str | None = None,
    sets: Sequence[str] = (),
    device: str = "auto",
) -> list[Result]:
    """Runs every method; what is finished already is reused."""
    results = []
    for place, method in enumerate(methods, 1):
        say(f"\n[{place}/{len(methods)}] {method.label}")
        recipe = recipes.load(method.recipe, [*method.sets, *sets], data)
        session = stages.run(recipe, out=out, seed=seed, device=device)
        text = (session.done["evaluate"].path / "metrics.json").read_text(encoding="utf-8")
        results.append(Result(method, session, json.loads(text)))
    return results


@dataclass(frozen=True)
class Shown:
    """One user's history, what was recommended, and why."""

    user: str
    history: list[str]
    held_out: str
    answers: dict[str, list[str]]
    """method label -> titles, best first; the held-out one is marked by :attr:`held_out`"""
    explained: str = ""
    sentence: str = ""
    support: list[tuple[str, float]] = field(default_factory=list)
    dropped: int = 0


def paired(first: Result, second: Result) -> list[PairedTest]:
    """Paired tests of two methods on the headline metrics, warm and cold, Holm-corrected within each slice."""
    from interlingua.evaluate.compare import compare
    from interlingua.evaluate.result import at_slice, load_report

    tests: list[PairedTest] = []
    for protocol, part, metric in COLUMNS:
        reports = {}
        for result in (first, second):
            report = load_report(result.run / "protocols" / protocol)
            if part is not None and part not in report.slices:
                break
            reports[result.method.label] = report if part is None else at_slice(report, part)
        if len(reports) == 2:
            found = compare(reports, metrics=[metric]).tests[0]
            tests.append(replace(found, metric=f"{metric}, {protocol}, {part or 'all items'}"))
    return tests


def reading(results: Sequence[Result], tests: Sequence[PairedTest]) -> list[str]:
    """What the numbers say, each sentence computed from them: gains, losses and ties alike."""
    lines = [
        f"{test.metric}: {test.verdict} ({test.difference:+.3f} [{test.interval[0]:+.3f}, {test.interval[1]:+.3f}], "
        f"p = {test.p_holm:.3f}; better for {test.better} users, worse for {test.worse})"
        for test in tests
    ]
    by_label = {r.method.label: r for r in results}
    reader, control = by_label.get(METHOD), by_label.get(CONTROL)
    if reader is not None and control is not None:
        with_lm, without = reader.cell(*COLUMNS[2]), control.cell(*COLUMNS[2])
        samples = reader.session.done["read"].card.get("samples")
        if with_lm is not None and without is not None:
            lines.append(
                f"what the language model is worth: Hit@1 {with_lm.value:.3f} with it, {without.value:.3f} for "
                f"the same head without it (trained on {samples:,} samples)"
            )
    for protocol, part, metric in COLUMNS:
        cells = {r.method.label: c for r in results if (c := r.cell(protocol, part, metric)) is not None}
        if cells:
            best = max(cells, key=lambda label: cells[label].value)
            lines.append(f"highest {metric} ({protocol}, {part or 'all items'}): {best}, {cells[best].value:.3f}")
    return lines


def pick_users(session: Session, n: int, seed: int) -> list[int]:
    """Rows (in the test targets) of ``n`` users drawn at random: nobody chose the pretty ones."""
    return np.random.default_rng(seed).permutation(len(session.data.split.test))[:n].tolist()


def show_user(row: int, base: Result, reader: Result | None, k: int = 5, shown_history: int = 8) -> Shown:
    """Recommendations for one test user by the backbone and, with a reason for the first, by the reader."""
    split, titles = base.session.data.split, base.session.data.catalogue.titles
    query = split.queries("test").take(np.array([row]))
    target = int(split.test.of_row(row)[0])
    answers = {base.method.label: _titles(base.session, query, k, titles, reader=False)[0]}
    explained = sentence = ""
    support: list[tuple[str, float]] = []
    dropped = 0
    if reader is not None:
        from interlingua.recommender import Recommender

        named, rows = _titles(reader.session, query, k, titles, reader=True)
        answers[reader.method.label] = named
        answer = Recommender(reader.session).explain_query(query, int(rows[0]))
        explained, sentence, dropped = named[0], answer.sentence, answer.dropped
        support = [(titles[item], float(influence)) for item, influence in answer.support]
    return Shown(
        user=str(split.train.user_ids[int(query.users[0])]),
        history=[titles[int(item)] for item in query.history(0)[-shown_history:]],
        held_out=titles[target],
        answers=answers,
        explained=explained,
        sentence=sentence,
        support=support,
        dropped=dropped,
    )


def _titles(
    session: Session, query: Queries, k: int, titles: list[str], *, reader: bool
) -> tuple[list[str], list[int]]:
    cascade = stages.cascade_of(session, session.reader if reader else None)
    rows = [int(item) for item in cascade.shortlist(query, k).items[0] if item >= 0]
    return [titles[item] for item in rows], rows
