"""The all-round ratio: a method's value in its worst slice, relative to the best simple method of that slice.

A recommender that is good on average may be poor on new items, or for people of whom little is known. The ratio of a
method is the smallest, over slices and metrics, of its value divided by the best value among the simple methods there.
1.00 means that no simple method is better for any kind of item or user.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from interlingua.errors import ConfigError
from interlingua.evaluate.accuracy import Values
from interlingua.evaluate.named import compute
from interlingua.evaluate.result import Report

ALL = "all"
SLICES = (
    ALL, "warm items", "middle items", "cold items", "unseen items",
    "history 0", "history 1-2", "history 3-5", "history 6-10", "history >10",
)  # fmt: skip
METRICS = ("ndcg@10", "recall@10", "recall@100")
LEAST_TARGETS = 50
"""least number of targets of a slice that counts"""
RESAMPLES = 1000

Cell = tuple[str, str]
"""(slice, metric)"""


@dataclass(frozen=True)
class Standing:
    """One method."""

    ratio: float
    """the all-round ratio"""
    interval: tuple[float, float]
    """95 % interval over users and training seeds; each resample chooses the best simple method again"""
    worst: Cell
    against: str
    """the simple method that is best there"""
    values: dict[Cell, float]
    ratios: dict[Cell, float]


@dataclass(frozen=True)
class AllRound:
    """Every method of one protocol."""

    protocol: str
    methods: dict[str, Standing]
    targets: dict[str, int]
    """slice -> its targets, of slices that count"""
    best: dict[Cell, str]
    """the best simple method"""


def all_round(
    reports: Mapping[str, Sequence[Report]],
    simple: Collection[str],
    *,
    metrics: Sequence[str] = METRICS,
    least: int = LEAST_TARGETS,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> AllRound:
    """The standing of every method.

    A cell in which every simple method has 0 is left out.

    Args:
        reports: method -> its reports, one for each training seed; ranks deep enough for the metrics.
        simple: which of them are the simple ones.
        metrics: ``name@k`` of accuracy.
        least: least number of targets of a slice that counts.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        ConfigError: no simple method or none with a hit, reports of different protocols or users, or too few targets.
    """
    known = [name for name in reports if name in simple]
    if not known:
        names = f"none of {', '.join(reports)}" if reports else "no method was measured: none"
        raise ConfigError(f"{names} is a simple method, so there is nothing to compare with")
    first = next(iter(reports.values()))[0]
    for name, each in reports.items():
        for report in each:
            if (report.protocol, report.population) != (first.protocol, first.population):
                raise ConfigError(f"{name} was measured under another protocol or on other users than the first method")
    targets = {ALL: first.n_targets} | {name: int(mask.sum()) for name, mask in first.masks.items()}
    targets = {name: targets[name] for name in SLICES if targets.get(name, 0) >= least}
    if not targets:
        raise ConfigError(f"{first.n_targets} targets are fewer than the {least} that a slice needs to count")
    drawn = _drawn_users(first.n_users, resamples, seed)
    means: dict[str, dict[Cell, Values]] = {}
    for number, (name, each) in enumerate(reports.items()):
        generator = np.random.default_rng([seed, number])
        means[name] = _resampled([_cells(report, targets, metrics) for report in each], drawn, generator)
    cells = [cell for cell in next(iter(means.values())) if max(means[name][cell][0] for name in known) > 0]
    if not cells:
        raise ConfigError(
            f"every simple method ({', '.join(known)}) has 0 everywhere, so there is nothing to divide by; measure on "
            "more users, or with a metric of longer lists"
        )
    best = {cell: max(known, key=lambda name: float(means[name][cell][0])) for cell in cells}
    top = {cell: np.max([means[name][cell] for name in known], axis=0) for cell in cells}
    found = {name: _standing(means[name], top, best) for name in reports}
    return AllRound(first.protocol, found, targets, best)


def _standing(means: Mapping[Cell, Values], top: Mapping[Cell, Values], best: Mapping[Cell, str]) -> Standing:
    ratios = {cell: means[cell] / np.maximum(top[cell], 1e-12) for cell in best}
    smallest = np.min(list(ratios.values()), axis=0)
    low, high = np.quantile(smallest[1:], [0.025, 0.975]) if len(smallest) > 1 else (np.nan, np.nan)
    worst = min(ratios, key=lambda cell: float(ratios[cell][0]))
    return Standing(
        float(smallest[0]), (float(low), float(high)), worst, best[worst],
        {cell: float(means[cell][0]) for cell in best}, {cell: float(ratios[cell][0]) for cell in best},
    )  # fmt: skip


def _drawn_users(users: int, resamples: int, seed: int) -> npt.NDArray[np.float32]:
    """(1 + R, M) how often each user is drawn; the first row has every user once."""
    drawn = np.random.default_rng(seed).multinomial(users, np.full(users, 1 / users), size=resamples)
    return np.concatenate([np.ones((1, users)), drawn]).astype(np.float32)


def _cells(
    report: Report, targets: Mapping[str, int], metrics: Sequence[str]
) -> dict[Cell, tuple[npt.NDArray[np.int64], Values]]:
    """(slice, metric) -> rows of its users in the report, and their values."""
    if report.ranks is None:
        raise ConfigError("the all-round ratio needs the ranks of targets: evaluate again, under the protocol full")
    found: dict[Cell, tuple[npt.NDArray[np.int64], Values]] = {}
    for name in targets:
        ranks, indices = (
            (report.ranks, np.arange(report.n_users)) if name == ALL else report.ranks.keep(report.masks[name])
        )
        for metric, values in compute(ranks, list(metrics)).items():
            found[name, metric] = indices, values
    return found


def _resampled(
    seeds: Sequence[Mapping[Cell, tuple[npt.NDArray[np.int64], Values]]],
    drawn: npt.NDArray[np.float32],
    generator: np.random.Generator,
) -> dict[Cell, Values]:
    """(slice, metric) -> (1 + R,) means over the drawn users and seeds; the first is the mean itself."""
    resamples = len(drawn) - 1
    chosen = generator.integers(len(seeds), size=(resamples, len(seeds)))
    out = {}
    for cell in seeds[0]:
        by_seed = []
        for each in seeds:
            indices, values = each[cell]
            weights = drawn[:, indices]
            by_seed.append((weights @ values) / np.maximum(weights.sum(axis=1), 1))
        table = np.stack(by_seed, axis=1)  # (1 + R, seeds)
        out[cell] = np.concatenate([table[:1].mean(axis=1), np.take_along_axis(table[1:], chosen, axis=1).mean(axis=1)])
    return out
