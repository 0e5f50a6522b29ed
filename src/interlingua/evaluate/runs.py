"""Reports of finished runs on disk, named and grouped by recipe and seed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
    data: dict[str, Any] = field(default_factory=dict)
    """the recipe's [data] options; empty where there is no card"""


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
    resolved = card.get("recipe", str(path))
    if isinstance(resolved, dict):  # how it was measured is the protocol's matter, not the method's
        resolved = {section: values for section, values in resolved.items() if section != "evaluate"}
    recipe = json.dumps(resolved, sort_keys=True, default=str)
    return Run(
        str(card.get("name") or path.name),
        recipe,
        card.get("seed"),
        str(card.get("key", path.name))[:8],
        reports,
        dict(resolved.get("data") or {}) if isinstance(resolved, dict) else {},
    )


def load_runs(path: Path | str) -> list[Run]:
    """The run in a folder, or all runs in a folder of runs, oldest first.

    Raises:
        ArtifactError: nothing evaluated there.
    """
    path = Path(path)
    cards = sorted(path.glob(f"evaluate-*/{artifact.CARD}"), key=lambda card: card.stat().st_mtime)
    return [load_run(card.parent) for card in cards] if cards else [load_run(path)]


def _short(report: Report) -> str:
    return report.protocol.split(";")[0]


def grouped(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Label -> runs: seeds of one recipe together; different recipes of one name are told apart by their keys.

    A method that was measured twice (other protocols, the same seed) is one run with the reports of both.
    """
    by_recipe: dict[str, list[Run]] = {}
    for run in runs:
        group = by_recipe.setdefault(run.recipe, [])
        twin = next((other for other in group if other.seed == run.seed), None)
        if twin is None:
            group.append(run)
        elif twin.key == run.key:
            raise ConfigError(f"the run {run.name} ({run.key}) was named twice; a run is not compared with itself")
        elif _agree(twin, run):
            group[group.index(twin)] = replace(twin, reports={**twin.reports, **run.reports})
        else:
            by_recipe[f"{run.recipe}\0{run.key}"] = [run]
    names = [group[0].name for group in by_recipe.values()]
    return {
        group[0].name if names.count(group[0].name) == 1 else f"{group[0].name} ({group[0].key})": group
        for group in by_recipe.values()
    }


def _agree(one: Run, other: Run) -> bool:
    """Whether both were measured on the same users and targets, and protocols that both have are equal throughout."""
    if {r.population for r in one.reports.values()} != {r.population for r in other.reports.values()}:
        return False
    return all(one.reports[n].protocol == r.protocol for n, r in other.reports.items() if n in one.reports)


def compare_runs(
    paths: Sequence[Path | str],
    *,
    protocol: str | None = None,
    metrics: Sequence[str] | None = None,
    test: str = "bootstrap",
    reference: str | None = None,
    part: str | None = None,
    seed: int = 0,
) -> list[Comparison]:
    """One comparison per protocol that at least two methods have; which others lack it is said in its warnings.

    Args:
        paths: folders of runs, or folders that hold runs.
        protocol: only this one, e.g. ``full``.
        metrics: see :func:`interlingua.evaluate.compare.compare`; without it, all.
        test: see there.
        reference: label of the run against which all others are tested.
        part: a slice's name, e.g. ``cold items``: only the targets in it.
        seed: of the paired bootstrap.

    Raises:
        ConfigError: fewer than two rows, no protocol in common, or protocols that differ in a detail.
        ArtifactError: a folder holds no evaluation, or the users differ.
    """
    groups = grouped([run for path in paths for run in load_runs(path)])
    if len(groups) < 2:
        raise ConfigError(
            f"a comparison needs at least two different methods; got {', '.join(groups) or 'none'} "
            "(several seeds of one recipe are one row)"
        )
    have: dict[str, list[str]] = {}
    for label, group in groups.items():
        for name in group[0].reports:
            if all(name in run.reports for run in group):
                have.setdefault(name, []).append(label)
    shared = [name for name, labels in have.items() if len(labels) > 1]
    if not shared:
        lines = [f"  {label}: {r.protocol}" for label, group in groups.items() for r in group[0].reports.values()]
        raise ConfigError("the runs have no protocol in common:\n" + "\n".join(lines))
    if protocol is not None and protocol not in shared:
        raise ConfigError(unknown("protocol", protocol, shared, "the runs"))
    out = []
    for name in [protocol] if protocol else shared:
        rows = {label: [_sliced(run.reports[name], part) for run in groups[label]] for label in have[name]}
        data = {label: groups[label][0].data for label in rows}  # a row's seeds share one recipe
        found = compare(rows, metrics=metrics, test=test, reference=reference, data=data, seed=seed)
        missing = tuple(f"{label} has no {name} report and is left out" for label in groups if label not in rows)
        out.append(replace(found, warnings=(*found.warnings, *missing)))
    return out


def _sliced(report: Report, part: str | None) -> Report:
    return report if part is None else at_slice(report, part)
