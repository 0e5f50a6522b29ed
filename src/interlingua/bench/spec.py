"""A comparison as data: rows, scenarios, tables and the papers' own numbers, one TOML file in ``bench/specs/`` each."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from interlingua.config import Config, build
from interlingua.errors import ConfigError, unknown

WHOLE = "whole"
"""the setting in which everything is trained on everything"""
Measure = Literal["metric", "changed", "training seconds", "milliseconds a user"]


class RowOptions(Config):
    """One method."""

    recipe: str
    """a recipe's name"""
    overrides: list[str] = []
    """``section.key=value``"""
    backbone: str | None = None
    """a recipe whose [backbone] takes the place of the recipe's own"""
    of: str | None = None
    """another row, whose trained ranker is only asked in another way; ``ask`` says how"""
    ask: dict[str, str] = Field(default_factory=dict)
    """options of the ranker that change nothing of what was learned, e.g. ``inference_latent = "text"``"""
    note: str = ""
    """what differs from the paper's row"""


class SettingOptions(Config):
    """How the data are divided."""

    overrides: list[str] = []
    """``data.key=value``"""
    otherwise: list[str] = []
    """further ones, where the data have nobody of that kind"""
    about: str = ""
    """in a line"""


class ColumnOptions(Config):
    """One column of a table."""

    name: str
    """its heading"""
    protocol: str = "sampled-20+expected"
    """a protocol's name"""
    metric: str = "hit@1"
    """``name@k``"""
    part: str | None = None
    """a slice; None: everybody"""
    setting: str = WHOLE
    """of the data"""
    measure: Measure = "metric"
    """``changed``: fraction of the users whose target has another rank than under ``protocol``, which ``than`` names;
    seconds: what the run took"""
    than: str | None = None
    """changed: the other protocol"""
    across: bool = False
    """the run is asked about another dataset, ``--target``"""
    tested: bool = True
    """whether differences to the row ``against`` are tested, or those to ``baseline``"""
    baseline: str | None = None
    """another column, in which the same row is tested against itself: what does it lose by shuffled histories?"""


class TableOptions(Config):
    """One table."""

    title: str
    """in a line"""
    rows: list[str]
    """names of rows, in their order"""
    columns: list[ColumnOptions]
    """in their order"""
    against: str | None = None
    """the row against which the others are tested"""
    paper: dict[str, dict[str, float]] = Field(default_factory=dict)
    """the paper's column -> row -> number"""
    reading: str = ""
    """how to read it"""


class Spec(Config):
    """One comparison."""

    about: str
    """in a line"""
    source: str
    """where the paper's numbers come from"""
    differs: str
    """what is different there: data, language model, protocol"""
    methods: dict[str, RowOptions]
    """row -> how it is made"""
    settings: dict[str, SettingOptions] = Field(default_factory=dict)
    """name -> how the data are divided; ``whole`` is there without a word"""
    tables: dict[str, TableOptions]
    """id -> table"""

    @model_validator(mode="after")
    def _whole(self) -> Spec:
        for number, table in self.tables.items():
            named = [*table.rows, *([table.against] if table.against else []), *_rows_of_paper(table)]
            for row in named:
                if row not in self.methods:
                    raise ValueError(f"table {number} names the row {row!r}, which is not among the methods")
            for column in table.columns:
                if column.setting != WHOLE and column.setting not in self.settings:
                    raise ValueError(f"table {number} names the setting {column.setting!r}, which is not there")
                if column.baseline not in {None, *(each.name for each in table.columns if each is not column)}:
                    raise ValueError(f"table {number} names the column {column.baseline!r}, which is not there")
        for name, options in self.methods.items():
            if options.of is not None and options.of not in self.methods:
                raise ValueError(f"the row {name!r} asks {options.of!r}, which is not among the methods")
        return self

    def chosen(self, tables: Sequence[str], methods: Sequence[str] = ()) -> dict[str, TableOptions]:
        """The tables that were asked for (none: all), with the rows that were.

        Raises:
            ConfigError: an unknown table or row.
        """
        for table in tables:
            if table not in self.tables:
                raise ConfigError(unknown("table", table, self.tables, "--tables"))
        for method in methods:
            if method not in self.methods:
                raise ConfigError(unknown("method", method, self.methods, "--methods"))
        found = {}
        for number in tables or self.tables:
            options = self.tables[number]
            mine = [row for row in options.rows if not methods or row in methods]
            if mine:
                found[number] = options.model_copy(update={"rows": mine})
        if not found:
            raise ConfigError(
                f"none of the tables {', '.join(tables or self.tables)} has a row of {', '.join(methods)}"
            )
        return found

    def setting(self, name: str) -> SettingOptions:
        """A setting by name."""
        return self.settings.get(name, SettingOptions(about="everything is trained on everything"))


def _rows_of_paper(table: TableOptions) -> list[str]:
    return [row for column in table.paper.values() for row in column]


def known() -> list[str]:
    """Names of the comparisons."""
    return sorted(path.name.removesuffix(".toml") for path in folder().iterdir() if path.name.endswith(".toml"))


def folder() -> Path:
    """Where they lie."""
    return Path(str(files("interlingua.bench"))) / "specs"


def load_spec(name: str) -> Spec:
    """A comparison by name, or a path to such a file.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    path = Path(name) if name.endswith(".toml") else folder() / f"{name}.toml"
    if not path.is_file():
        raise ConfigError(unknown("comparison", name, known()))
    try:
        values: Mapping[str, object] = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    return build(Spec, values, path.name)
