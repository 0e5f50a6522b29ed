"""What a comparison has to run: one job for each row, setting of the data and seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from interlingua.bench.spec import RowOptions, Spec, TableOptions
from interlingua.config import merge, parse_overrides, read_toml
from interlingua.data.prepared import is_prepared
from interlingua.data.source import here
from interlingua.errors import ConfigError, DataError
from interlingua.progress import say
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.old_words import translated
from interlingua.runs.recipe import Recipe
from interlingua.runs.reports import METHOD_OPTIONS
from interlingua.runs.session import Session
from interlingua.runs.several import fitting

FILTER = "data.filter={ min_user = 5, min_item = 5 }"
"""the same for every method, as the shipped recipes have it; overrides may say otherwise"""


@dataclass(frozen=True)
class Request:
    """What is asked of a comparison."""

    data: str
    """a dataset's name, file or folder"""
    out: Path = Path("runs")
    seeds: tuple[int, ...] = (7,)
    """of training; the first also draws and divides the data, which are the same for all"""
    overrides: tuple[str, ...] = ()
    """``section.key=value``: [data] for all, other sections for the rows that have the option"""
    max_users: int | None = None
    """a random subset of the users is measured"""
    target: str | None = None
    """the other dataset, for tables across domains"""
    device: str = "auto"

    def section(self, *names: str) -> list[str]:
        """The overrides of some sections."""
        return [each for each in self.overrides if set(parse_overrides([each])) <= set(names)]


@dataclass(frozen=True)
class Job:
    """One row under one setting with one seed."""

    row: str
    setting: str
    seed: int
    protocols: tuple[str, ...] = field(default=(), compare=False)
    across: tuple[str, ...] = field(default=(), compare=False)
    """protocols under which it is asked about the other dataset"""

    def __str__(self) -> str:
        return f"{self.row}, {self.setting}, seed {self.seed}"


def jobs_of(tables: Mapping[str, TableOptions], seeds: Sequence[int]) -> list[Job]:
    """The jobs of some tables: all rows with the first seed, then with the next; each job once.

    What a row is tested against is run too, whether it stands in the table or not.
    """
    protocols: dict[tuple[str, str], dict[str, None]] = {}
    across: dict[tuple[str, str], dict[str, None]] = {}
    for table in tables.values():
        tested = [] if table.against is None or table.against in table.rows else [table.against]
        for column in table.columns:
            for row in (*tested, *table.rows):
                place = row, column.setting
                own, other = protocols.setdefault(place, {}), across.setdefault(place, {})
                (other if column.across else own)[column.protocol] = None
                if column.than is not None:
                    own[column.than] = None
    return [
        Job(row, setting, seed, tuple(protocols[row, setting]), tuple(across[row, setting]))
        for seed in seeds
        for row, setting in protocols
    ]


def missing(row: RowOptions) -> str:
    """Why a row cannot be made here; empty: it can."""
    known = recipes.shipped()
    gone = [name for name in (row.recipe, row.backbone) if name is not None and name not in known]
    return f"there is no recipe {gone[0]!r} (yet)" if gone else ""


def prepared(spec: Spec, setting: str, request: Request) -> Path:
    """The folder of the data under a setting, made once for all rows and seeds.

    Raises:
        DataError: the data cannot be divided so.
    """
    own, options = request.section("data"), spec.setting(setting)
    ready = is_prepared(here(request.data) or request.data)
    plain = [] if ready else [FILTER]
    try:
        return _prepared([*plain, *own, *options.overrides], request)
    except DataError as error:
        if not options.otherwise:
            raise
        made = _prepared([*plain, *own, *options.overrides, *options.otherwise], request)
        say(f"{setting}: {str(error).splitlines()[0]}; so {', '.join(options.otherwise)}")
        return made


def _prepared(overrides: Sequence[str], request: Request) -> Path:
    recipe = recipes.load({"data": {"name": request.data}, "backbone": {"name": "pop"}}, overrides, request.data)
    session = Session(recipe, request.out, request.seeds[0], request.device)
    return stages.prepare(session).path / "dataset"


def recipe_of(spec: Spec, job: Job, data: Path, request: Request, protocols: Sequence[str]) -> Recipe:
    """The resolved recipe of a job on prepared data.

    Raises:
        ConfigError: it cannot be resolved.
    """
    row = spec.methods[job.row]
    values: dict[str, Any] = read_toml(recipes.find(row.recipe), translated)
    if row.backbone is not None:
        values["backbone"] = read_toml(recipes.find(row.backbone), translated)["backbone"]
    values = merge(values, translated(parse_overrides(row.overrides), "the comparison"))
    own = translated(
        parse_overrides([s for s in request.overrides if s not in request.section("data", "evaluate")]), "--set"
    )
    values = merge(values, fitting(values, own))
    method = {key: value for key, value in (values.get("evaluate") or {}).items() if key in METHOD_OPTIONS}
    shared = dict(parse_overrides(request.section("evaluate")).get("evaluate", {}))
    users = {} if request.max_users is None else {"max_users": request.max_users}
    values["evaluate"] = {**method, **shared, **users, "protocols": list(protocols)}
    values["data"] = {"name": str(data)}
    found = recipes.load(values, (), str(data), trust=True)  # of recipes that ship
    return replace(found, name=slug(row.recipe), notes=())


def slug(recipe: str) -> str:
    """A recipe's name in a folder's."""
    return recipe.replace("/", "-")


def seeds_of(count: int, first: int = 7) -> tuple[int, ...]:
    """``count`` training seeds.

    Raises:
        ConfigError: fewer than one.
    """
    if count < 1:
        raise ConfigError(f"--seeds is at least 1, got {count}")
    return tuple(range(first, first + count))
