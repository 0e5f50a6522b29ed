"""What the demo shows: the methods it compares, one table, and a few users with recommendations and reasons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from interlingua.data.queries import Queries
from interlingua.progress import duration
from interlingua.report.side_by_side import Method, Result
from interlingua.runs import scorers
from interlingua.runs.session import Session

if TYPE_CHECKING:
    from interlingua.report.page import Cost, Person, ReportPage
    from interlingua.report.svg import Line

COLUMNS = (
    ("full", None, "ndcg@10"),
    ("full", None, "recall@10"),
    ("sampled-20", None, "hit@1"),
    ("sampled-20", "warm items", "hit@1"),
    ("sampled-20", "cold items", "hit@1"),
)
"""(protocol, slice or None, metric) of the headline table"""
BACKBONE = "SASRec"
METHOD = "aligned mixture"
CONTROL = "aligned mixture, no LM"
NO_LM, RANKER = "ranker.lm_weights=none", ("backbone", "text", "align", "ranker")
DEMO = (
    Method("popularity", "pop"),
    Method("item kNN (cosine)", "itemknn"),
    Method("EASE", "ease"),
    Method(
        "text kNN (MiniLM)", "textknn", ("text.name=sbert", 'text.fields=["title", "categories"]'), "item texts only"
    ),
    Method(BACKBONE, "sasrec", (), "the backbone alone", ("backbone",)),
    Method(
        METHOD,
        "aligned-mixture-long",
        (),
        "backbone, texts and a head on a frozen language model, mixed (ours; grew out of A-LLMRec)",
        RANKER,
    ),
    Method(CONTROL, "aligned-mixture-long", (NO_LM,), "control: same vectors, head and training, no LM", RANKER),
)
"""What the demo compares"""


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
    by_rule: bool = False
    """the sentence is worded by a rule, not by the language model"""


def worth_of_the_model(results: Sequence[Result]) -> str:
    """One sentence that compares the ranker with the same head without a language model."""
    found = {r.method.label: r for r in results}
    if METHOD not in found or CONTROL not in found:
        return ""
    lines = []
    for protocol, part, metric in COLUMNS:
        own, control = (found[label].cell(protocol, part, metric) for label in (METHOD, CONTROL))
        if own is not None and control is not None:
            lines.append(f"{metric} ({protocol}, {part or 'all items'}) {own.value:.3f} against {control.value:.3f}")
    samples = found[METHOD].session.done["rank"].card.get("samples", 0)
    return (
        f"What the language model adds to the same vectors and head without one, both trained on {samples:,} samples: "
        + "; ".join(lines)
    )


def page(results: Sequence[Result], shown: Sequence[Shown], seconds: float, command: str) -> ReportPage:
    """The report of a comparison: tables and tests from the stored reports, users, costs, data card, recipe.

    Args:
        results: of every method; one is :data:`METHOD`, one :data:`BACKBONE`.
        shown: the users.
        seconds: of the whole comparison.
        command: the command that repeats it.
    """
    from interlingua.config import to_toml
    from interlingua.report.page import from_reports, popularity_line
    from interlingua.runs.reports import load_run

    ranker = next(r for r in results if r.method.label == METHOD)
    data, card = ranker.session.data, ranker.session.done["evaluate"].card
    made = from_reports(
        f"Interlingua on {data.card['name']}",
        {r.method.label: load_run(r.run).reports for r in results},
        main=METHOD,
        reference=BACKBONE,
        notes={r.method.label: r.method.note for r in results},
        extra_methods=[r.method.label for r in results if r.saved],
    )
    counts = data.card["counts"]
    facts = {name: f"{counts[name]:,}" for name in ("users", "items", "events")}
    facts["training samples of the ranker"] = f"{ranker.session.done['rank'].card.get('samples', 0):,}"
    facts["time of this run"] = duration(seconds)
    return replace(
        made,
        summary=(*made.summary, *filter(None, [worth_of_the_model(results)])),
        facts=facts,
        curves=tuple(curves(results)),
        curve_labels=("share of training", "loss, share of the first round's"),
        popularity=(popularity_line(data.split.train.item_counts),),
        people=tuple(_person(one) for one in shown),
        costs=tuple(_costs(results)),
        data_card={k: str(data.card[k]) for k in ("name", "licence", "url", "fingerprint") if data.card.get(k)},
        config=to_toml(ranker.session.recipe.resolved()),
        environment={**card["versions"], "machine": card["machine"], "python": card["python"]},
        command=command,
    )


def curves(results: Sequence[Result]) -> Iterator[Line]:
    """Training losses of all stages on one scale: loss relative to the first epoch, over the fraction of epochs."""
    from interlingua.report.svg import Line

    seen: set[str] = set()
    for result in results:
        for stage, own in (("train", BACKBONE), ("align", "alignment"), ("rank", result.method.label)):
            losses = [sum(record["losses"].values()) for record in result.log(stage)]
            key = result.session.done[stage].key if losses else ""
            if len(losses) < 2 or key in seen or not losses[0]:
                continue
            seen.add(key)
            label = f"{result.method.label}: {result.session.done[stage].card['name']}" if result.saved else own
            steps = [i / (len(losses) - 1) for i in range(len(losses))]
            yield Line(label, steps, [value / losses[0] for value in losses])


def _costs(results: Sequence[Result]) -> Iterator[Cost]:
    from interlingua.report.page import Cost

    seen: set[str] = set()
    for result in results:
        for kind, done in result.session.done.items():
            if done.key in seen:
                continue
            seen.add(done.key)
            parameters = done.card.get("parameters")
            note = f"{parameters:,} trained parameters" if parameters else ""
            label = f"{kind}: {done.card['name']}" + (
                f" ({result.method.label})" if kind in ("rank", "evaluate") else ""
            )
            yield Cost(label, float(done.card["seconds"]), int(done.card["peak_memory_bytes"]), note)


def author(shown: Shown) -> str:
    """The author of the reason, in brackets."""
    if not shown.by_rule:
        return "(worded by the language model, which can say nothing but the evidence)"
    return "(worded by a rule from the evidence)"


def _person(shown: Shown) -> Person:
    from interlingua.report.page import Person, Recommended

    def entries() -> Iterator[Recommended]:
        for label in sorted(shown.answers, key=lambda label: label != METHOD):
            for title in shown.answers[label]:
                explained = label == METHOD and title == shown.explained
                yield Recommended(
                    title,
                    decided_by=label,
                    reason=f"{shown.sentence} {author(shown)}" if explained else "",
                    support=tuple(t for t, _ in shown.support) if explained else (),
                    held_out=title == shown.held_out,
                )

    return Person(f"user {shown.user}", tuple(shown.history), tuple(entries()), (shown.held_out,))


def pick_users(session: Session, n: int, seed: int) -> list[int]:
    """Indices (in the test targets) of ``n`` users drawn at random, not chosen by hand."""
    return np.random.default_rng(seed).permutation(len(session.data.split.test))[:n].tolist()


def show_user(
    row: int, base: Result, ranker: Result | None, extra_runs: Sequence[Result] = (), k: int = 5, shown_history: int = 8
) -> Shown:
    """Recommendations for one test user by the backbone and, with a reason for the first, by the ranker."""
    split, titles = base.session.data.split, base.session.data.catalogue.titles
    query = split.queries("test").take(np.array([row]))
    target = int(split.test.of_row(row)[0])
    answers = {base.method.label: _titles(base.session, query, k, titles, ranker=False)[0]}
    explained, sentence, by_rule = "", "", False
    support: list[tuple[str, float]] = []
    if ranker is not None:
        from interlingua.recommender import Recommender

        named, indices = _titles(ranker.session, query, k, titles, ranker=True)
        answers[ranker.method.label] = named
        answer = Recommender(ranker.session).explain_query(query, int(indices[0]))
        explained, sentence, by_rule = named[0], answer.sentence, answer.from_template
        support = [(titles[item], float(influence)) for item, influence in answer.support]
    for other in extra_runs:
        read = "rank" in other.session.done
        answers[other.method.label] = _titles(other.session, query, k, titles, ranker=read)[0]
    return Shown(
        user=str(split.train.user_ids[int(query.users[0])]),
        history=[titles[int(item)] for item in query.history(0)[-shown_history:]],
        held_out=titles[target],
        answers=answers,
        explained=explained,
        sentence=sentence,
        support=support,
        by_rule=by_rule,
    )


def _titles(
    session: Session, query: Queries, k: int, titles: list[str], *, ranker: bool
) -> tuple[list[str], list[int]]:
    cascade = scorers.rerank_of(session, session.ranker if ranker else None)
    indices = [int(item) for item in cascade.candidates(query, k).items[0] if item >= 0]
    return [titles[item] for item in indices], indices
