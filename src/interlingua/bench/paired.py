"""Tests of a table: paired over users and seeds, and over seeds alone; one family of Holm's correction for a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from interlingua.evaluate.compare import compare, holm
from interlingua.evaluate.result import Report, at_slice, load_report

Cell = tuple[str, str, str | None]
"""metric, protocol, slice"""


def name_of(cell: Cell) -> str:
    """``hit@1 sampled-20 cold items``."""
    metric, protocol, piece = cell
    return f"{metric} {protocol}" + (f" {piece}" if piece else "")


def one_test(names: tuple[str, str], ours: Sequence[Report], theirs: Sequence[Report], metric: str) -> dict[str, Any]:
    """The difference of two methods in one metric, over users and, where there are several, training seeds."""
    reports = {names[0]: list(ours), names[1]: list(theirs)}
    test = compare(reports, metrics=[metric], reference=names[1]).tests[0]
    return {
        "method": names[0], "against": names[1], "difference": round(test.difference, 5),
        "interval": [round(value, 5) for value in test.interval], "p": test.p,
    }  # fmt: skip


def corrected(tests: Sequence[Mapping[str, Any]], p: str = "p", name: str = "p_holm") -> list[dict[str, Any]]:
    """The tests with Holm's correction for all of them, as ``name``; those without a p-value stay as they are."""
    values = iter(holm([test[p] for test in tests if test[p] is not None]))
    return [{**test, name: next(values)} if test[p] is not None else dict(test) for test in tests]


def paired(
    folders: Mapping[str, Sequence[Path]], cells: Sequence[Cell], pairs: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    """Paired tests of the given pairs of methods in every cell, as one family of Holm's correction.

    Args:
        folders: method -> its runs, one for each seed, with ``protocols/NAME`` in each.
        cells: what is tested.
        pairs: (method, against); pairs of which one is missing are left out.
    """
    out: list[dict[str, Any]] = []
    for cell in cells:
        for names in pairs:
            reports = [_reports(folders.get(method, ()), cell) for method in names]
            if not all(reports) or len(reports[0]) != len(reports[1]):
                continue
            out.append({"metric": name_of(cell)} | one_test(names, reports[0], reports[1], cell[0]))
    return corrected(out)


def _reports(folders: Sequence[Path], cell: Cell) -> list[Report]:
    _, protocol, piece = cell
    places = [folder / "protocols" / protocol for folder in folders]
    if not places or not all(place.is_dir() for place in places):
        return []
    loaded = [load_report(place) for place in places]
    if piece is None:
        return loaded
    return [at_slice(one, piece) for one in loaded] if all(piece in one.slices for one in loaded) else []


def over_seeds(
    rows: Sequence[Mapping[str, Any]], cells: Sequence[Cell], pairs: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    """The same questions with training seeds as the unit: differences of the seeds' means, and a paired t-test.

    Two or three seeds show only large differences; what they show is no luck of one seed.

    Args:
        rows: ``method``, ``seed`` and a value for each cell's name.
        cells: what is tested.
        pairs: (method, against).
    """
    out: list[dict[str, Any]] = []
    for cell in cells:
        name = name_of(cell)
        for first, second in pairs:
            ours, theirs = ({row["seed"]: row[name] for row in rows if row["method"] == m and name in row}
                            for m in (first, second))  # fmt: skip
            seeds = sorted(ours.keys() & theirs.keys())
            if seeds:
                differences = [ours[seed] - theirs[seed] for seed in seeds]
                out.append({"metric": name, "method": first, "against": second} | seed_test(differences))
    return corrected(out, "p over seeds")


def seed_test(differences: Sequence[float]) -> dict[str, Any]:
    """Differences of two methods, one for each training seed, and a t-test; no p-value where they do not vary."""
    values = np.array(differences)
    spread = float(values.std(ddof=1)) if len(values) > 1 else 0.0
    return {
        "seeds": len(values), "difference": round(float(values.mean()), 5),
        "by seed": " ".join(f"{value:+.4f}" for value in values),
        "p over seeds": float(stats.ttest_1samp(values, 0.0).pvalue) if spread else None,
    }  # fmt: skip
