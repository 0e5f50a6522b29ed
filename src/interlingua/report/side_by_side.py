"""Compares several methods on one dataset, and saved runs with them.

Every method shares the prepared data and, where it has one, the trained backbone; candidates of sampled protocols
depend on (seed, user) only, so all methods rank the same ones.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from interlingua.config import parse_overrides
from interlingua.errors import ConfigError, unknown
from interlingua.progress import say
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.old_words import translated
from interlingua.runs.opening import open_session
from interlingua.runs.session import Session


@dataclass(frozen=True)
class Method:
    """One row of the comparison."""

    label: str
    recipe: str
    overrides: tuple[str, ...] = ()
    note: str = ""
    sections: tuple[str, ...] = ()
    """sections that overrides may change (besides ``data`` and ``evaluate``, which change for all methods alike)"""

    def resolve(self, overrides: Sequence[str] = (), data: str | None = None) -> recipes.Recipe:
        """Its recipe with the overrides ``section.key=value`` that apply to it, and then the method's own overrides.

        Raises:
            ConfigError: an override names no section, or :func:`interlingua.runs.recipe.load` refuses it.
        """
        for section in translated(parse_overrides(overrides), "--set", quiet=True):
            if section not in recipes.SECTIONS:
                raise ConfigError(unknown("section", section, recipes.SECTIONS, "--set"))
        reached = ("data", "evaluate", *self.sections)
        return recipes.load(
            self.recipe, [*(s for s in overrides if re.split("[.=]", s)[0] in reached), *self.overrides], data
        )


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
    saved: bool = False
    """whether it is a run that was made before"""

    @property
    def run(self) -> Path:
        """Folder of the evaluate stage."""
        return self.session.done["evaluate"].path

    @property
    def key(self) -> str:
        """Key of the evaluate stage: two runs with one key are the same run."""
        return self.session.done["evaluate"].key

    @property
    def seconds(self) -> dict[str, float]:
        """Stage -> seconds when it was made."""
        return {kind: float(done.card["seconds"]) for kind, done in self.session.done.items()}

    def cell(self, protocol: str, part: str | None, metric: str) -> Cell | None:
        """One number, or None if the protocol or slice was not measured."""
        report = self.reports.get(protocol)
        if report is None:
            return None
        whole = report if part is None else report["slices"].get(part)
        if whole is None or whole["metrics"].get(metric) is None:
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
    overrides: Sequence[str] = (),
    device: str = "auto",
    extra_runs: Sequence[Path | str] = (),
    trust: bool = False,
) -> list[Result]:
    """Runs every method; finished stages are reused. Saved runs in ``extra_runs`` are added unchanged.

    Raises:
        ArtifactError: a folder of ``extra_runs`` is not a finished run.
        ConfigError: it was measured on other targets or by another protocol (raised after the first method).
    """
    saved = {one.key: one for one in (_saved(path, device, trust) for path in extra_runs)}
    results: list[Result] = []
    for place, method in enumerate(methods, 1):
        say(f"\n[{place}/{len(methods)}] {method.label}")
        session = stages.run(method.resolve(overrides, data), out=out, seed=seed, device=device)
        results.append(Result(method, session, _reports(session)))
        if place == 1:
            for one in saved.values():
                _check_comparable(one, results[0])
    for own in results:
        if saved.pop(own.key, None) is not None:
            say(f"{own.run} is the {own.method.label} of this comparison: it is not shown twice")
    return [*results, *_named_apart(list(saved.values()))]


def _reports(session: Session) -> dict[str, Any]:
    text = (session.done["evaluate"].path / "metrics.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def _saved(path: Path | str, device: str, trust: bool) -> Result:
    session = open_session(path, device, trust=trust)
    label = f"{session.recipe.name} (saved)"
    method = Method(label, session.recipe.name, note=f"trained before, seed {session.seed}")
    return Result(method, session, _reports(session), saved=True)


def _check_comparable(saved: Result, own: Result) -> None:
    """Checks that both have the same data by content (folders differ with the seed) and the same protocols."""
    theirs, ours = saved.session.data, own.session.data
    problem = ""
    if theirs.fingerprint != ours.fingerprint:
        problem = (
            f"its data ({theirs.card['name']}, {theirs.fingerprint[:12]}) are not the demo's ({ours.card['name']}, "
            f"{ours.fingerprint[:12]}); train it on the same data, filter and split (of a generated world: with the "
            "same seed), or name its data with --data"
        )
    for name, report in own.reports.items():
        found = saved.reports.get(name, {}).get("protocol", "not measured")
        if not problem and found != report["protocol"]:
            problem = (
                f"protocol {name} is {found!r} there and {report['protocol']!r} here; "
                "measure it anew with interlingua evaluate"
            )
    if problem:
        raise ConfigError(f"{saved.run} cannot stand beside the demo's runs: {problem}")


def _named_apart(saved: Sequence[Result]) -> list[Result]:
    labels = [one.method.label for one in saved]
    return [
        replace(one, method=replace(one.method, label=f"{one.method.label} {labels[:i].count(one.method.label) + 1}"))
        if labels.count(one.method.label) > 1
        else one
        for i, one in enumerate(saved)
    ]
