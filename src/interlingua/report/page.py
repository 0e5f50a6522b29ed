"""What a report page shows, as plain data without models or folders. :func:`from_reports` fills most of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from interlingua.data.queries import IntArray
from interlingua.errors import ConfigError
from interlingua.evaluate.compare import Comparison, PairedTest, compare
from interlingua.evaluate.result import Report, at_slice
from interlingua.report.svg import Line, Value
from interlingua.runs.leaderboard import Leaderboard

COLD_START = ("warm items", "cold items", "unseen items", "cold users")
"""slices of the cold-start chart, where there are targets"""
MOST_POINTS = 300
"""of the popularity curve"""


@dataclass(frozen=True)
class Column:
    """One column of the headline table."""

    title: str
    """e.g. ``NDCG@10``"""
    over: str
    """what it is measured on, e.g. ``full ranking, cold items``"""
    protocol: str


@dataclass(frozen=True)
class Method:
    """One row of the headline table."""

    name: str
    values: tuple[Value, ...]
    """one per column"""
    note: str = ""
    """e.g. ``control: the same ranker with shuffled weights``"""


@dataclass(frozen=True)
class Recommended:
    """One recommended item of a person."""

    title: str
    decided_by: str = ""
    """the stage that decided: ``backbone``, ``language model``"""
    reason: str = ""
    support: tuple[str, ...] = ()
    """titles of the history on which the score depends most"""
    held_out: bool = False
    """whether it is the item held out for the test"""


@dataclass(frozen=True)
class Person:
    """One user's history and the recommendations of each method."""

    name: str
    history: tuple[str, ...]
    """oldest first"""
    recommendations: tuple[Recommended, ...]
    held_out: tuple[str, ...] = ()
    """titles that were held out"""


@dataclass(frozen=True)
class Cost:
    """Time and parameters of one stage."""

    stage: str
    seconds: float
    peak_memory_bytes: int | None = None
    note: str = ""
    """e.g. ``reused`` or the number of trained parameters"""


@dataclass(frozen=True)
class ReportPage:
    """Everything on the page; empty parts are left out."""

    title: str
    summary: tuple[str, ...] = ()
    """the findings in sentences, the most important first"""
    facts: Mapping[str, str] = field(default_factory=dict)
    """a few short figures, e.g. ``users``: ``22,363``"""
    main: str | None = None
    """name of the method in the accent colour"""
    columns: tuple[Column, ...] = ()
    methods: tuple[Method, ...] = ()
    cold_start: tuple[tuple[str, tuple[tuple[str, Value], ...]], ...] = ()
    """(slice, [(method, value), ...])"""
    cold_start_title: str = ""
    curves: tuple[Line, ...] = ()
    """learning curves"""
    curve_labels: tuple[str, str] = ("epochs", "validation metric")
    popularity: tuple[Line, ...] = ()
    """events over items, most popular first"""
    leaderboards: tuple[Leaderboard, ...] = ()
    """of several runs, one per dataset and protocol"""
    comparisons: tuple[Comparison, ...] = ()
    people: tuple[Person, ...] = ()
    costs: tuple[Cost, ...] = ()
    doubts: tuple[str, ...] = ()
    """what would change the conclusion"""
    data_card: Mapping[str, str] = field(default_factory=dict)
    config: str = ""
    """the recipe as TOML"""
    environment: Mapping[str, str] = field(default_factory=dict)
    protocols: Mapping[str, str] = field(default_factory=dict)
    """name -> id"""
    warnings: tuple[str, ...] = ()
    command: str = ""
    """the command that repeats it"""


def popularity_line(item_counts: IntArray, name: str = "items") -> Line:
    """Events of each item, most popular first, at log-spaced ranks (items without events are left out)."""
    counts = np.sort(np.asarray(item_counts))[::-1]
    counts = counts[counts > 0]
    if not len(counts):
        return Line(name, (), ())
    ranks = np.unique(np.geomspace(1, len(counts), MOST_POINTS).round().astype(int))
    return Line(name, ranks.tolist(), counts[ranks - 1].tolist())


def value_of(report: Report | None, metric: str, part: str | None = None) -> Value:
    """A metric of a report or of one of its slices; an empty value if it was not measured."""
    if report is None:
        return Value(None)
    source = report if part is None else report.slices.get(part)
    if source is None or metric not in source.metrics:
        return Value(None)
    low, high = source.intervals.get(metric, (None, None))
    return Value(source.metrics[metric], low, high)


def from_reports(
    title: str,
    reports: Mapping[str, Mapping[str, Report]],
    *,
    main: str,
    reference: str,
    notes: Mapping[str, str] | None = None,
    full: tuple[str, str] = ("full", "ndcg@10"),
    sampled: tuple[str, str] = ("sampled-20", "hit@1"),
    extra_methods: Sequence[str] = (),
) -> ReportPage:
    """Makes the page's tables, cold-start chart, tests, findings and doubts. Add the rest with ``dataclasses.replace``.

    Args:
        title: of the page.
        reports: method -> protocol name -> report. A method may lack the full ranking.
        main: the method that the page is about.
        reference: the method that it must beat (its own backbone).
        notes: method -> a few words below its name.
        full: protocol name and metric of the first columns.
        sampled: protocol name and metric of the last columns.
        extra_methods: methods tested as a separate family, so that they do not change other verdicts (Holm).
    """
    for name in (main, reference):
        if name not in reports:
            raise ConfigError(f"method {name!r} has no report; there are: {', '.join(reports)}")
    measured = [
        (protocol, metric, part)
        for protocol, metric in (full, sampled)
        for part in (None, "warm items", "cold items")
        if any(value_of(each.get(protocol), metric, part).value is not None for each in reports.values())
    ]
    ids = {name: r.protocol for each in reports.values() for name, r in each.items()}
    methods = tuple(
        Method(
            name,
            tuple(value_of(each.get(protocol), metric, part) for protocol, metric, part in measured),
            (notes or {}).get(name, ""),
        )
        for name, each in reports.items()
    )
    own = {name: each for name, each in reports.items() if name not in extra_methods}
    comparisons, summary = _tests(own, main, reference, (full, sampled))
    if extra_methods:
        extra = {name: each for name, each in reports.items() if name in (reference, *extra_methods)}
        comparisons += _tests(extra, main, reference, (full, sampled))[0]
    chart, name = _cold_start(reports, sampled if any(sampled[0] in each for each in reports.values()) else full)
    return ReportPage(
        title,
        summary,
        main=main,
        columns=tuple(Column(label(m), f"{_ranking(p)}, {part or 'all items'}", ids[p]) for p, m, part in measured),
        methods=methods,
        cold_start=chart,
        cold_start_title=name,
        comparisons=comparisons,
        doubts=_doubts(reports, main, reference, comparisons),
        protocols=ids,
        warnings=tuple(dict.fromkeys(w for each in reports.values() for r in each.values() for w in r.warnings)),
    )


def label(metric: str) -> str:
    """``ndcg@10`` -> ``NDCG@10``, ``hit@1`` -> ``Hit@1``."""
    name, at, k = metric.partition("@")
    return f"{name.upper() if name in ('ndcg', 'mrr', 'map', 'auc', 'uauc') else name.capitalize()}{at}{k}"


def _ranking(protocol: str) -> str:
    if protocol.startswith("sampled-"):
        return f"{protocol.removeprefix('sampled-')} candidates"
    return "full ranking" if protocol == "full" else protocol


def _cold_start(
    reports: Mapping[str, Mapping[str, Report]], source: tuple[str, str]
) -> tuple[tuple[tuple[str, tuple[tuple[str, Value], ...]], ...], str]:
    protocol, metric = source
    measured = {name: each[protocol] for name, each in reports.items() if protocol in each}
    groups = []
    for part in COLD_START:
        users = [r.slices[part].n_users for r in measured.values() if part in r.slices]
        if users:
            bars = tuple((name, value_of(report, metric, part)) for name, report in measured.items())
            groups.append((f"{part} ({users[0]:,} users)", bars))
    return tuple(groups), f"{label(metric)}, {_ranking(protocol)}: where it works and where not"


def _tests(
    reports: Mapping[str, Mapping[str, Report]], main: str, reference: str, sources: Sequence[tuple[str, str]]
) -> tuple[tuple[Comparison, ...], tuple[str, ...]]:
    """Paired tests of every method against the reference, overall and on cold items; the main test also in words."""
    found, words = [], []
    for protocol, metric in sources:
        for part in (None, "cold items"):
            rows = {n: each[protocol] for n, each in reports.items() if protocol in each}
            if part is not None:
                rows = {n: at_slice(r, part) for n, r in rows.items() if part in r.masks}
            if reference not in rows or len(rows) < 2:
                continue
            comparison = compare(rows, metrics=[metric], reference=reference)
            found.append(comparison)
            words += [
                _sentence(test, f"{label(metric)}, {_ranking(protocol)}, {part or 'all items'}")
                for test in comparison.tests
                if test.first == main
            ]
    return tuple(found), tuple(words)


def _sentence(test: PairedTest, where: str) -> str:
    low, high = test.interval
    change = f"{test.difference:+.4f} (95 % interval {low:+.4f} to {high:+.4f})"
    if test.p_holm >= 0.05:
        return f"{where}: {test.first} shows no difference to {test.second}: {change}."
    word = "better" if test.winner == test.first else "worse"
    return f"{where}: {test.first} is {word} than {test.second}: {change}."


def _doubts(
    reports: Mapping[str, Mapping[str, Report]], main: str, reference: str, comparisons: Sequence[Comparison]
) -> tuple[str, ...]:
    out = []
    open_tests = [(c, t) for c in comparisons for t in c.tests if t.first == main and t.p_holm >= 0.05]
    for comparison, test in open_tests:
        half = (test.interval[1] - test.interval[0]) / 2
        out.append(
            f"{label(test.metric)} under “{comparison.protocol}”: with {comparison.n_users:,} users a difference below "
            f"about {half:.4f} cannot be seen; more users would narrow it."
        )
    out.append(
        "Intervals and tests cover the choice of users, not the choice of training seed: "
        f"repeat {main} and {reference} with several seeds before trusting a small gap."
    )
    if main not in [n for n, each in reports.items() if "full" in each]:
        out.append(f"{main} has no full ranking here; sampled candidates can order methods differently.")
    protocols = " ".join(r.protocol for each in reports.values() for r in each.values())
    if "leave-one-out" in protocols:
        out.append(
            "Leave-one-out lets a model train on events that happened after other users' test events "
            "(Ji et al., TOIS 2023): a split at one global time may give another order."
        )
    return tuple(out)
