"""Reports of finished runs on disk, named and grouped by recipe and seed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interlingua import artifact
from interlingua.errors import ArtifactError, ConfigError, unknown
from interlingua.evaluate.compare import Comparison, compare
from interlingua.evaluate.result import USERS_FILE, Report, at_slice, load_report

PROTOCOLS = "protocols"
"""folder of a run that holds one report folder per protocol"""


@dataclass(frozen=True)
class Run:
    """A finished evaluation on disk."""

    name: str
    """the recipe's name, or the folder's where there is no card"""
    recipe: str
    """resolved recipe as text: equal recipes with different seeds are one row"""
    seed: int | None
    key: str
    """start of the content key, or the folder's name"""
    reports: dict[str, Report]
    """protocol name -> report"""


def load_run(path: Path | str) -> Run:
    """Opens the folder of a run, or of one report.

    Raises:
        ArtifactError: nothing evaluated there, or files were changed.
    """
    path = Path(path)
    if (path / USERS_FILE).is_file():
        report = load_report(path)
        return Run(path.name, str(path), None, path.name, {_short(report): report})
    card: dict[str, Any] = artifact.load(path).card if (path / artifact.CARD).is_file() else {}
    reports = {p.parent.name: load_report(p.parent) for p in sorted(path.glob(f"{PROTOCOLS}/*/{USERS_FILE}"))}
    if not reports:
        kind = f", it is a {card['kind']} stage" if card else ""
        raise ArtifactError(
            f"{path} holds no evaluation{kind}; name the folder of a finished run (runs/evaluate-...): "
            "interlingua runs lists them"
        )
    recipe = json.dumps(card.get("recipe", str(path)), sort_keys=True, default=str)
    return Run(
        str(card.get("name") or path.name), recipe, card.get("seed"), str(card.get("key", path.name))[:8], reports
    )


def _short(report: Report) -> str:
    return report.protocol.split(";")[0]


def grouped(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Label -> runs: seeds of one recipe together; different recipes of one name are told apart by their keys."""
    by_recipe: dict[str, list[Run]] = {}
    for run in runs:
        group = by_recipe.setdefault(run.recipe, [])
        if any(other.key == run.key for other in group):
            raise ConfigError(f"the run {run.name} ({run.key}) was named twice; a run is not compared with itself")
        if group and (run.seed is None or any(other.seed == run.seed for other in group)):
            by_recipe[f"{run.recipe}\0{run.key}"] = [run]  # same recipe and seed on other data: let compare refuse it
        else:
            group.append(run)
    names = [group[0].name for group in by_recipe.values()]
    return {
        group[0].name if names.count(group[0].name) == 1 else f"{group[0].name} ({group[0].key})": group
        for group in by_recipe.values()
    }


def compare_runs(
    paths: Sequence[Path | str],
    *,
    protocol: str | None = None,
    metrics: Sequence[str] | None = None,
    test: str = "bootstrap",
    reference: str | None = None,
    part: str | None = None,
) -> list[Comparison]:
    """One comparison per protocol that all runs have.

    Args:
        paths: folders of runs.
        protocol: only this one, e.g. ``full``.
        metrics: see :func:`interlingua.evaluate.compare.compare`; without it, all.
        test: see there.
        reference: label of the run against which all others are tested.
        part: a slice's name, e.g. ``cold items``: only the targets in it.

    Raises:
        ConfigError: fewer than two rows, no protocol in common, or protocols that differ in a detail.
        ArtifactError: a folder holds no evaluation, or the users differ.
    """
    groups = grouped([load_run(path) for path in paths])
    if len(groups) < 2:
        raise ConfigError(
            f"a comparison needs at least two different methods; got {', '.join(groups) or 'none'} "
            "(several seeds of one recipe are one row)"
        )
    every = [run for group in groups.values() for run in group]
    shared = [name for name in every[0].reports if all(name in run.reports for run in every)]
    if not shared:
        lines = [f"  {run.name}: {r.protocol}" for run in every for r in run.reports.values()]
        raise ConfigError("the runs have no protocol in common:\n" + "\n".join(lines))
    if protocol is not None and protocol not in shared:
        raise ConfigError(unknown("protocol", protocol, shared, "the runs"))
    return [
        compare(
            {label: [_sliced(run.reports[name], part) for run in group] for label, group in groups.items()},
            metrics=metrics, test=test, reference=reference,
        )
        for name in ([protocol] if protocol else shared)
    ]  # fmt: skip


def _sliced(report: Report, part: str | None) -> Report:
    return report if part is None else at_slice(report, part)
