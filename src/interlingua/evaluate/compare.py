"""Runs side by side, user by user: differences with intervals and paired tests, never across protocols.

Two numbers are comparable if the same users had the same targets ranked under the same protocol. Anything else is
refused, with both ids in the message.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from interlingua.errors import ArtifactError, ConfigError, unknown
from interlingua.evaluate.accuracy import Values
from interlingua.evaluate.intervals import bootstrap_means, intervals, seed_deviations
from interlingua.evaluate.named import lower_is_better, mean
from interlingua.evaluate.naming import by_path
from interlingua.evaluate.result import Report
from interlingua.progress import track

TESTS = ("bootstrap", "wilcoxon", "t")
PAIRED_RESAMPLES = 10_000
"""the smallest p-value of the bootstrap test is about 2 / resamples"""


@dataclass(frozen=True)
class PairedTest:
    """One metric of two runs over the same users."""

    metric: str
    first: str
    second: str
    difference: float
    """mean of the first minus mean of the second"""
    interval: tuple[float, float]
    """95 % paired bootstrap interval of the difference, over users and training seeds"""
    p: float
    p_holm: float
    """p after Holm's correction for all tests of the comparison"""
    better: int
    """users for whom the first run is better"""
    worse: int
    equal: int

    @property
    def winner(self) -> str | None:
        """The better run at the 5 % level after correction, or None."""
        if self.p_holm >= 0.05:
            return None
        return self.first if (self.difference > 0) != lower_is_better(self.metric) else self.second

    @property
    def verdict(self) -> str:
        """In words."""
        if self.winner is None:
            return "no difference shown"
        return f"{self.winner} is better than {self.second if self.winner == self.first else self.first}"


@dataclass(frozen=True)
class Row:
    """One run: the mean over its seeds."""

    name: str
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    seeds: int
    spread: dict[str, float]
    """standard deviation of the means over seeds (0 with one seed)"""


@dataclass(frozen=True)
class Comparison:
    """Rows and tests of one protocol."""

    protocol: str
    n_users: int
    test: str
    rows: tuple[Row, ...]
    tests: tuple[PairedTest, ...]
    warnings: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "protocol": self.protocol,
            "n_users": self.n_users,
            "test": self.test,
            "runs": {
                row.name: {
                    "metrics": row.metrics,
                    "intervals": {name: list(pair) for name, pair in row.intervals.items()},
                    "seeds": row.seeds,
                    "spread": row.spread,
                }
                for row in self.rows
            },
            "tests": [
                {**each.__dict__, "interval": list(each.interval), "verdict": each.verdict} for each in self.tests
            ],
            "warnings": list(self.warnings),
        }


def compare(
    runs: Mapping[str, Report | Sequence[Report]],
    *,
    metrics: Sequence[str] | None = None,
    test: str = "bootstrap",
    reference: str | None = None,
    resamples: int = PAIRED_RESAMPLES,
    seed: int = 0,
    data: Mapping[str, Mapping[str, Any]] | None = None,
) -> Comparison:
    """Compares runs of one protocol on the same users.

    Several reports of a run are its training seeds. Every user's values are averaged over them, and the bootstrap draws
    users *and* seeds: a difference that other seeds could reverse is not significant. With one seed each, and in the
    classical tests, only users are drawn; a warning says so.

    Args:
        runs: name -> report, or reports of several seeds.
        metrics: which (default: all that the runs share).
        test: ``bootstrap`` (paired, by shifting to no difference), ``wilcoxon`` (signed ranks, Pratt) or
            ``t``, the latter two over users alone.
        reference: test every run against this one (default: all pairs).
        resamples: of the bootstrap.
        seed: of the bootstrap.
        data: run -> its recipe's [data] options, so that a refusal can name those that differ.

    Raises:
        ConfigError: fewer than two runs, different protocols, an unknown metric, test or reference.
        ArtifactError: the runs have different users or targets.
    """
    if len(runs) < 2:
        raise ConfigError(f"a comparison needs at least two runs; got {len(runs)}")
    if test not in TESTS:
        raise ConfigError(unknown("test", test, TESTS))
    if reference is not None and reference not in runs:
        raise ConfigError(unknown("reference run", reference, runs))
    seeds = {name: (given,) if isinstance(given, Report) else tuple(given) for name, given in runs.items()}
    _check_comparable(seeds, data or {})
    names = _per_user(seeds, _shared_metrics(seeds, metrics))
    values = {run: {m: np.stack([r.per_user[m] for r in reports]) for m in names} for run, reports in seeds.items()}
    pairs = [(run, reference) for run in runs if run != reference] if reference else list(combinations(runs, 2))
    planned = [(metric, a, b) for metric in names for a, b in pairs]
    found = [
        _paired(metric, (a, b), (values[a][metric], values[b][metric]), test, resamples, seed)
        for metric, a, b in track(planned, "paired tests")
    ]
    corrected = holm([each.p for each in found])
    first = next(iter(seeds.values()))[0]
    return Comparison(
        first.protocol,
        first.n_users,
        test,
        tuple(_row(run, reports, values[run], _together(seeds, metrics)) for run, reports in seeds.items()),
        tuple(PairedTest(**{**each.__dict__, "p_holm": p}) for each, p in zip(found, corrected, strict=True)),
        (*_unseen_seeds(seeds, test), *dict.fromkeys(w for each in seeds.values() for r in each for w in r.warnings)),
    )


def _unseen_seeds(seeds: Mapping[str, Sequence[Report]], test: str) -> tuple[str, ...]:
    """Says how far the p-values ignore training seeds."""
    single = [name for name, reports in seeds.items() if len(reports) == 1]
    if len(single) == len(seeds):
        return ("one training seed each: p-values and intervals are over users; other seeds may turn them round",)
    if test != "bootstrap":
        return (f"the test {test!r} averages training seeds and knows their spread not; bootstrap draws them too",)
    if not single:
        return ()
    return (f"one training seed of {', '.join(single)}: if it is random, its spread is not in the p-values",)


def row_of(name: str, reports: Sequence[Report], metrics: Sequence[str] | None = None) -> Row:
    """The row of a table for one method with any number of training seeds."""
    seeds = {name: tuple(reports)}
    names = _per_user(seeds, _shared_metrics(seeds, metrics))
    values = {m: np.stack([r.per_user[m] for r in reports]) for m in names}
    return _row(name, seeds[name], values, _together(seeds, metrics))


def _check_comparable(seeds: Mapping[str, Sequence[Report]], data: Mapping[str, Mapping[str, Any]]) -> None:
    (name, first), *rest = [(name, report) for name, reports in seeds.items() for report in reports]
    for other, report in rest:
        if report.protocol != first.protocol:
            raise ConfigError(
                f"{name} and {other} were measured under different protocols and cannot stand in one table:\n"
                f"  {name}: {first.protocol}\n  {other}: {report.protocol}\n"
                "evaluate both under one protocol (interlingua evaluate RUN --protocol NAME)"
            )
        if report.population != first.population or report.n_users != first.n_users:
            raise ArtifactError(
                f"{name} and {other} were measured on different users or targets and cannot be paired:\n"
                f"  {name}: {first.n_users} users, population {first.population}\n"
                f"  {other}: {report.n_users} users, population {report.population}\n"
                + _how_to_agree(name, other, data)
            )


def _how_to_agree(one: str, other: str, data: Mapping[str, Mapping[str, Any]]) -> str:
    """How to make two runs read the same data: the options that differ, if both are known."""
    first, second = (by_path(data.get(name, {})) for name in (one, other))
    paths = [path for path in {**first, **second} if first.get(path) != second.get(path)]
    if not first or not second or not paths:
        return "prepare one dataset and run both on it with the same options and seed: interlingua run A B --on DATA"
    lines = [f"  {path}: {first.get(path)!r} in {one}, {second.get(path)!r} in {other}" for path in paths]
    return (
        "their [data] options differ:\n" + "\n".join(lines) + "\n"
        f"run both with the same: interlingua run A B --on DATA, or --set data.{paths[0]}=VALUE for each"
    )


def _shared_metrics(seeds: Mapping[str, Sequence[Report]], requested: Sequence[str] | None) -> list[str]:
    reports = [report for each in seeds.values() for report in each]
    shared = [m for m in reports[0].metrics if all(m in r.metrics for r in reports)]
    for name in requested or ():
        if name not in shared:
            raise ConfigError(unknown("metric", name, shared, "the runs' reports"))
    if not shared:
        raise ArtifactError("the runs share no metric; evaluate them again")
    return list(requested or shared)


def _per_user(seeds: Mapping[str, Sequence[Report]], names: Sequence[str]) -> list[str]:
    """The metrics with a value per user, for paired tests."""
    return [m for m in names if all(m in r.per_user for each in seeds.values() for r in each)]


def _together(seeds: Mapping[str, Sequence[Report]], requested: Sequence[str] | None) -> list[str]:
    """The metrics that are one number for all users together: shown without tests."""
    shared = _shared_metrics(seeds, requested)
    return [m for m in shared if m not in _per_user(seeds, shared)]


def _row(name: str, reports: Sequence[Report], values: Mapping[str, Values], together: Sequence[str]) -> Row:
    means = {metric: [float(r.metrics[metric]) for r in reports] for metric in (*values, *together)}
    stored = reports[0].intervals if len(reports) == 1 else {}  # the same figures as the run itself shows
    by_user = {metric: v.mean(axis=0) for metric, v in values.items()}
    by_seed = {metric: np.array([mean(each) for each in v]) for metric, v in values.items()}
    around = {m: stored[m] for m in values} if all(m in stored for m in values) else intervals(by_user, seeds=by_seed)
    return Row(
        name,
        {
            metric: float(values[metric].mean()) if _whole(values.get(metric)) else float(np.mean(each))
            for metric, each in means.items()
        },
        around | {metric: stored[metric] for metric in together if metric in stored},
        len(reports),
        {metric: float(np.std(m, ddof=1)) if len(m) > 1 else 0.0 for metric, m in means.items()},
    )


def _whole(values: Values | None) -> bool:
    """Whether every user has a value."""
    return values is not None and not np.isnan(values).any()


def _paired(
    metric: str, names: tuple[str, str], values: tuple[Values, Values], test: str, resamples: int, seed: int
) -> PairedTest:
    """One metric of two runs whose ``values`` are (S, M): a row per seed, a column per user."""
    defined = ~np.isnan(values[0]).any(axis=0) & ~np.isnan(values[1]).any(axis=0)
    first, second = values if defined.all() else (values[0][:, defined], values[1][:, defined])
    difference = first.mean(axis=0) - second.mean(axis=0)
    means = bootstrap_means(difference[:, None], resamples=resamples, seed=seed)[:, 0]
    means += seed_deviations([first.mean(axis=1), -second.mean(axis=1)], resamples=resamples, seed=seed)
    low, high = np.quantile(means, [0.025, 0.975])
    observed = float(difference.mean())
    p = bootstrap_p(means, observed) if test == "bootstrap" else _classical_p(difference, test)
    gain = -difference if lower_is_better(metric) else difference
    return PairedTest(
        metric, names[0], names[1], observed, (float(low), float(high)), p, p,
        int((gain > 0).sum()), int((gain < 0).sum()), int((gain == 0).sum()),
    )  # fmt: skip


def bootstrap_p(means: Values, observed: float) -> float:
    """Two-sided p-value: how often a resampled mean, shifted so that there is no difference, is as far from 0.

    Args:
        means: (R,) bootstrap means of the difference.
        observed: the difference.

    Returns:
        ``(1 + count) / (1 + R)``: never 0 (Davison & Hinkley 1997, 4.2).
    """
    extreme = np.abs(means - observed) >= abs(observed) - 1e-15
    return float((1 + extreme.sum()) / (1 + len(means)))


def _classical_p(difference: Values, test: str) -> float:
    from scipy import stats

    if not difference.any():
        return 1.0
    if test == "wilcoxon":
        # Most users do not differ in hit or recall. Splitting their ranks between the signs ("zsplit") adds variance
        # that the data do not have: with 376 of 399 users equal it rejected 0 % of true nulls instead of 5 %. Pratt
        # ranks the zeros too but tests the others' signs alone, at the level (tests/evaluate/test_compare.py).
        return float(stats.wilcoxon(difference, zero_method="pratt").pvalue)
    if np.ptp(difference) == 0:
        return 0.0  # every user differs by the same amount: no variance to test against
    return float(stats.ttest_1samp(difference, 0.0).pvalue)


def holm(p: Sequence[float]) -> list[float]:
    """P-values after Holm's step-down correction (Holm 1979), in the given order."""
    order = np.argsort(p, kind="stable")
    scaled = np.asarray(p)[order] * np.arange(len(p), 0, -1)
    out = np.empty(len(p))
    out[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return [float(value) for value in out]
