"""Reports of finished runs on disk, named and grouped by recipe and seed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from interlingua.errors import ArtifactError, ConfigError, unknown
from interlingua.evaluate.compare import Comparison, compare
from interlingua.evaluate.naming import labels
from interlingua.evaluate.result import USERS_FILE, Report, at_slice, load_report
from interlingua.storage import artifact

PROTOCOLS = "protocols"
"""folder of a run that holds one report folder per protocol"""


METHOD_OPTIONS = ("retrieve", "candidate_source")
"""options of [evaluate] that change a ranking, not how it is measured"""


@dataclass(frozen=True)
class Run:
    """A finished evaluation on disk."""

    name: str
    """the recipe's name, or the folder's if there is no card"""
    recipe: str
    """resolved recipe as text: equal recipes with different seeds are one row"""
    seed: int | None
    key: str
    """start of the content key, or the folder's name"""
    reports: dict[str, Report]
    """protocol name -> report"""
    data: dict[str, Any] = field(default_factory=dict)
    """the recipe's [data] options; empty if there is no card"""
    resolved: dict[str, Any] = field(default_factory=dict)
    """the method: every option of the recipe except those of measuring"""
    path: Path = Path()
    seconds: float | None = None
    """all its stages together"""
    parameters: int | None = None
    """trained ones"""


def load_run(path: Path | str) -> Run:
    """Opens the folder of a run, or of one report.

    Raises:
        ArtifactError: the folder holds no evaluation, or files were changed.
    """
    path = Path(path)
    if (path / USERS_FILE).is_file():
        report = load_report(path)
        return Run(path.name, str(path), None, path.name, {_short(report): report}, path=path)
    card: dict[str, Any] = artifact.load(path).card if (path / artifact.CARD).is_file() else {}
    reports = {p.parent.name: load_report(p.parent) for p in sorted(path.glob(f"{PROTOCOLS}/*/{USERS_FILE}"))}
    if not reports:
        kind = f", it is a {card['kind']} stage" if card else ""
        raise ArtifactError(
            f"{path} holds no evaluation{kind}; name the folder of a finished run (runs/evaluate-...): "
            "interlingua runs lists them"
        )
    stored = card.get("recipe")
    resolved = _method(stored) if isinstance(stored, dict) else {}
    seconds, parameters = _cost(path, card)
    return Run(
        str(card.get("name") or path.name),
        json.dumps(resolved, sort_keys=True, default=str) if resolved else str(stored or path),
        card.get("seed"),
        str(card.get("key", path.name))[:8],
        reports,
        dict(resolved.get("data") or {}),
        resolved,
        path,
        seconds,
        parameters,
    )


def _method(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe without the options of measuring; what is retrieved belongs to the method, so it stays."""
    own = {section: values for section, values in recipe.items() if section != "evaluate"}
    options = recipe.get("evaluate")
    method = {k: options[k] for k in METHOD_OPTIONS if k in options} if isinstance(options, dict) else {}
    return own | ({"evaluate": method} if method else {})


def _cost(path: Path, card: dict[str, Any]) -> tuple[float | None, int | None]:
    """Seconds of all stages, members of ``[fuse]`` included, and the parameters that were trained; None: no card."""
    if not card:
        return None, None
    cards, left = {path.name: card}, [card]
    while left:
        for folder in artifact.Artifact(path, left.pop()).parents.values():
            with suppress(ArtifactError):  # a parent that was deleted since costs what is not known
                if folder not in cards:
                    cards[folder] = artifact.load(path.parent / folder, verify=False).card
                    left.append(cards[folder])
    return (
        sum(float(each["seconds"]) for each in cards.values()),
        sum(int(each.get("parameters") or 0) for each in cards.values()),
    )


def load_runs(path: Path | str) -> list[Run]:
    """The run in a folder, or all runs in a folder of runs, oldest first.

    Raises:
        ArtifactError: the folder holds no evaluation.
    """
    path = Path(path)
    cards = sorted(path.glob(f"evaluate-*/{artifact.CARD}"), key=lambda card: card.stat().st_mtime)
    return [load_run(card.parent) for card in cards] if cards else [load_run(path)]


def _short(report: Report) -> str:
    return report.protocol.split(";")[0]


def grouped(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Label -> runs. Seeds of one recipe are together; different recipes with one name are labelled by what differs.

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
    first = [group[0] for group in by_recipe.values()]
    named = labels([run.name for run in first], [run.resolved for run in first], [run.key for run in first])
    return dict(zip(named, by_recipe.values(), strict=True))


def _agree(one: Run, other: Run) -> bool:
    """Whether both may be the same run: equal users and targets, and equal numbers under the protocols of both.

    Different numbers with one recipe and seed come from other files, templates, models or code: these are two methods.
    """
    if {r.population for r in one.reports.values()} != {r.population for r in other.reports.values()}:
        return False
    shared = [(one.reports[name], report) for name, report in other.reports.items() if name in one.reports]
    return all(a.protocol == b.protocol and a.metrics == b.metrics for a, b in shared)


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
    """One comparison per protocol that at least two methods have; its warnings name the methods that lack it.

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
