"""Several recipes on one dataset: one split and filter, the same protocols, then one leaderboard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from interlingua import registry
from interlingua.config import merge, parse_overrides, read_toml
from interlingua.data.memory import as_source
from interlingua.errors import ConfigError, InterlinguaError, shown, unknown
from interlingua.progress import say
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.leaderboard import Leaderboard, leaderboards
from interlingua.runs.members import with_members
from interlingua.runs.old_words import renamed, translated
from interlingua.runs.recipe import Recipe
from interlingua.runs.reports import METHOD_OPTIONS
from interlingua.runs.trust import of_recipe, refuse

SHARED = ("data", "evaluate")
"""sections that are the same for all"""


@dataclass
class Several:
    """The outcome of several recipes."""

    runs: dict[str, Path] = field(default_factory=dict)
    """recipe -> folder of its finished run"""
    failed: dict[str, str] = field(default_factory=dict)
    """recipe -> why it did not finish"""
    boards: list[Leaderboard] = field(default_factory=list)


def on_one_dataset(
    names: Sequence[str | Path], data: str, overrides: Sequence[str] = (), *, trust: bool = False
) -> list[Recipe]:
    """Recipes with the same data section and the same way of measuring.

    Each recipe's own ``[data]`` is replaced, and its ``[evaluate]`` keeps only what belongs to the method
    (``retrieve``, ``candidate_source``). An option in ``overrides`` reaches the recipes that have it.

    Args:
        names: shipped names or TOML files.
        data: a dataset's name, a file, a folder; a prepared folder brings its split and filter.
        overrides: ``section.key=value`` overrides.
        trust: of recipe files, see :func:`interlingua.runs.recipe.load`.

    Raises:
        ConfigError: every recipe that cannot be resolved, in one message.
    """
    parsed = translated(parse_overrides(overrides), "--set")
    recipes.agree_on_data(parsed, data, "--on")
    files = {str(name): read_toml(recipes.find(name), translated) for name in names}
    if len(files) < len(names):
        raise ConfigError(f"a recipe is named twice: {', '.join(map(str, names))}")
    own = {name: fitting(file, parsed) for name, file in files.items()}
    for part, key in ((s, k) for s in parsed if s not in SHARED for k in parsed[s]):
        _check_reached(part, key, files, own)
    section, notes = recipes.data_section({**parsed.get("data", {}), "name": data}, None, parsed.get("data"))
    found, problems = [], []
    for name, file in files.items():
        method = {key: value for key, value in (file.get("evaluate") or {}).items() if key in METHOD_OPTIONS}
        values = merge(file, own[name]) | {"data": section, "evaluate": method | dict(parsed.get("evaluate", {}))}
        try:
            values = with_members(values, recipes.find, lambda each: read_toml(each, translated), (recipes.find(name),))
            if not trust:
                refuse(name, of_recipe(values, parsed))
            found.append(replace(recipes.resolve(values, Path(name).stem, name), notes=notes))
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))
    return _told_apart(found, list(files))


def _check_reached(part: str, key: str, files: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Refuses an override that reaches none of the recipes; says which of them it does not reach."""
    without = [name for name, file in files.items() if not isinstance(file.get(part), Mapping)]
    reached = [name for name, table in own.items() if key in table.get(part, {})]
    if len(without) == len(files):
        raise ConfigError(
            f"--set {part}.{key}: none of {', '.join(files)} has a section [{part}]; run a recipe that has one, "
            f"or one recipe by itself with --set {part}.name=NAME"
        )
    if not reached:
        rest = [name for name in files if name not in without]
        raise ConfigError(
            f"--set {part}.{key}: [{part}] of {', '.join(rest)} has no option {key!r}"
            + (f", and {', '.join(without)} has no section [{part}]" if without else "")
        )
    left = [name for name in files if name not in reached]
    if left:
        why = f"no section [{part}]" if set(left) <= set(without) else "no such option"
        say(f"note: --set {part}.{key} changes {', '.join(reached)}; {', '.join(left)} has {why} and stays as it is")


def fitting(file: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The overrides that reach a recipe: options that its components know."""
    out: dict[str, Any] = {}
    for section, table in overrides.items():
        if section in SHARED or not isinstance(file.get(section), Mapping):
            continue
        if not isinstance(table, Mapping):
            raise ConfigError(f"--set {section}={shown(table)}: give an option of the section, {section}.key=value")
        name = table.get("name", file[section].get("name"))
        known = {"name", "frozen", *registry.find(section, name, f"[{section}].name").Config.model_fields}
        out[section] = {key: value for key, value in table.items() if key in known}
    return out


def _told_apart(found: Sequence[Recipe], names: Sequence[str]) -> list[Recipe]:
    """Recipes with one name from different folders keep enough of their paths to be distinguished."""
    short = [recipe.name for recipe in found]
    return [
        replace(recipe, name=name.removesuffix(".toml").replace("/", "-")) if short.count(recipe.name) > 1 else recipe
        for recipe, name in zip(found, names, strict=True)
    ]


@renamed(sets="overrides")
def run_several(
    names: Sequence[str | Path],
    data: Any,
    *,
    out: Path | str = "runs",
    seed: int = 7,
    device: str = "auto",
    overrides: Sequence[str] = (),
    metrics: Sequence[str] = (),
    trust: bool = False,
) -> Several:
    """Runs several recipes on one dataset, one after the other; what is finished is reused.

    A recipe that fails does not stop the others: it is in :attr:`Several.failed`.

    Args:
        names: shipped names or TOML files.
        data: what :func:`interlingua.runs.stages.run` takes.
        out: the runs folder.
        seed: of every run.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        overrides: ``section.key=value`` overrides, for the recipes that have the option.
        metrics: of the leaderboards, see :func:`interlingua.runs.leaderboard.leaderboards`.
        trust: of recipe files, see :func:`interlingua.runs.recipe.load`.

    Raises:
        ConfigError: a recipe, option or metric that cannot be used, before anything runs.
    """
    source = as_source(data, Path(out) / "frames")
    resolved = on_one_dataset(names, source, overrides, trust=trust)
    _check(resolved, metrics)
    made = Several()
    for place, recipe in enumerate(resolved, 1):
        say(f"{recipe.name} ({place} of {len(resolved)})")
        try:
            made.runs[recipe.name] = stages.run(recipe, out=out, seed=seed, device=device).path
        except InterlinguaError as error:
            say(f"{recipe.name} failed: {error}")
            made.failed[recipe.name] = str(error)
    if made.runs:
        made.boards = leaderboards(list(made.runs.values()), metrics=metrics)
    return made


def _check(resolved: Sequence[Recipe], metrics: Sequence[str]) -> None:
    """Refuses metrics that no protocol of the recipes measures; otherwise this would be noticed only after hours."""
    from interlingua.evaluate.rules import measured_under

    options = resolved[0].evaluate
    measured = {name for protocol in options.protocols for name in measured_under(protocol, options.metrics)[0]}
    for metric in metrics:
        if metric not in measured:
            raise ConfigError(unknown("metric", metric, measured, "the runs' protocols"))
