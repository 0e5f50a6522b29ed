"""Metrics by name: ``ndcg@10`` -> the metric and its cut-off. Checks and measures several of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache

import numpy as np

from interlingua import registry
from interlingua.errors import ConfigError, unknown
from interlingua.evaluate.accuracy import Ranks, Values
from interlingua.evaluate.judged import ItemFacts, Judged, Metric

REMEDY = {
    "categories": "give the items a column categories (columns.categories), or leave the metric out",
    "vectors": "add a [text] section, whose vectors of items are used, or leave the metric out",
}
"""fact of items -> what to do if it is missing"""


@cache
def parse(name: str) -> tuple[Metric, int]:
    """``"ndcg@10"`` as its metric and cut-off; ``"auc"`` has none, which is 0.

    Raises:
        ConfigError: the form is wrong, the metric unknown, or the cut-off below 1.
    """
    found = re.fullmatch(r"([a-z][a-z0-9-]*)(?:@(\d+))?", name)
    if found is None or (found[2] is not None and int(found[2]) < 1):
        raise ConfigError(f"metric {name!r} is not of the form name@k with k >= 1, e.g. ndcg@10")
    known = registry.names("metric")
    if found[1] not in known:
        raise ConfigError(unknown("metric", found[1], known, f"{name!r}", "interlingua list metrics"))
    metric: Metric = registry.find("metric", found[1])()
    if metric.cut and found[2] is None:
        raise ConfigError(f"metric {name!r} is not of the form name@k with k >= 1, e.g. {name}@10")
    if not metric.cut and found[2] is not None:
        raise ConfigError(f"metric {name!r}: {found[1]} reads no list, so it has no cut-off; write {found[1]!r}")
    return metric, int(found[2] or 0)


def lower_is_better(name: str) -> bool:
    """Whether a smaller value is better; False for a metric that is not installed."""
    try:
        return parse(name)[0].better == "lower"
    except ConfigError:
        return False


def best(name: str, values: Iterable[float]) -> float:
    """The best of some values of a metric; NaN if all are NaN."""
    known = [value for value in values if not np.isnan(value)]
    if not known:
        return float("nan")
    return min(known) if lower_is_better(name) else max(known)


def reads(name: str) -> str:
    """``ranks``, ``lists``, ``labels`` or ``answers``; empty for a metric that is not installed."""
    try:
        return parse(name)[0].reads
    except ConfigError:
        return ""


def check_facts(names: Sequence[str], facts: ItemFacts) -> None:
    """Raises: ConfigError: a metric needs what is not known of the items."""
    present = {"categories": facts.categories is not None, "vectors": facts.vectors is not None}
    for name in names:
        for fact in sorted(parse(name)[0].needs):
            if not present[fact]:
                raise ConfigError(f"metric {name!r} needs {fact} of items, and there are none: {REMEDY[fact]}")


def compute(ranks: Ranks, names: Sequence[str]) -> dict[str, Values]:
    """(M,) values of each metric that reads only ranks; other metrics are left out."""
    return measure(Judged(ranks), [name for name in names if reads(name) == "ranks"])[0]


def measure(judged: Judged, names: Sequence[str]) -> tuple[dict[str, Values], dict[str, float]]:
    """(M,) values of each metric, and one number for those that have no value per user."""
    per_user: dict[str, Values] = {}
    together: dict[str, float] = {}
    for name in names:
        metric, k = parse(name)
        found = metric.measure(judged, k)
        if isinstance(found, np.ndarray):
            per_user[name] = found
        else:
            together[name] = float(found)
    return per_user, together


def notes_of(judged: Judged, per_user: Mapping[str, Values], together: Mapping[str, float]) -> dict[str, str]:
    """Notes for readers of each number; an undefined number always has one."""
    everything: dict[str, Values | float] = {**per_user, **together}
    out = {}
    for name, found in everything.items():
        said = parse(name)[0].note(judged, found)
        if not said and bool(np.isnan(np.asarray(found)).all()):
            said = f"not defined for any of {np.size(found):,} users" if name in per_user else "not defined here"
        if said:
            out[name] = said
    return out


def mean(values: Values) -> float:
    """The mean over the users for whom a metric is defined; NaN if there are none."""
    if np.isnan(values).any():
        values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")
