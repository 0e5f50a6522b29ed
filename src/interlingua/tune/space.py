"""A search space: options of a recipe, each with a range or with the values it may have, from a TOML file.

    [backbone]
    l2 = { low = 1.0, high = 10000.0, log = true }
    embedding_dim = [32, 64, 128]
    [backbone.fit]
    epochs = { low = 4, high = 32, step = 4 }

A list is of choices. A range of whole numbers gives whole numbers; ``log`` draws evenly over orders of magnitude.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interlingua.errors import ConfigError, shown, unknown

FOLDER = Path(__file__).parent / "spaces"
FIXED = {
    "data": "other data or another split would be another question; give them with --data and --set",
    "evaluate": "trials that are measured differently cannot be compared; see --protocol and --metric",
}
"""sections that no space may change, and why"""


@dataclass(frozen=True)
class Range:
    """Numbers from ``low`` to ``high``, both included."""

    low: float
    high: float
    log: bool = False
    step: float | None = None

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are drawn."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def ends(self) -> tuple[float, float]:
        """The values that a check tries."""
        return self.low, self.high


@dataclass(frozen=True)
class Choices:
    """The values that an option may have."""

    values: tuple[Any, ...]

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that a check tries: all."""
        return self.values


Space = dict[str, Range | Choices]
"""option (``backbone.l2``) -> what it may be"""


def shipped_spaces() -> list[str]:
    """Names of the recipes for which a space ships."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_space(place: str | Path) -> Space:
    """A space from a TOML file, or the one that ships for a recipe of this name.

    Raises:
        ConfigError: no such file, no TOML, an empty space, or an entry that is neither range nor choices.
    """
    path = Path(place)
    if path.suffix != ".toml":
        if str(place) not in shipped_spaces():
            raise ConfigError(unknown("search space", str(place), shipped_spaces()) + "; or give --space FILE.toml")
        path = FOLDER / f"{place}.toml"
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"the search space {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the search space {path} is not valid TOML: {error}") from None
    space = dict(_entries(values, (), str(path)))
    if not space:
        raise ConfigError(f"the search space {path} names no option; see interlingua tune --help")
    return space


def _entries(table: Mapping[str, Any], above: tuple[str, ...], where: str) -> Iterator[tuple[str, Range | Choices]]:
    for key, value in table.items():
        name = ".".join((*above, key))
        if not above and key in FIXED:
            raise ConfigError(f"{where}: [{key}] cannot be searched: {FIXED[key]}")
        if isinstance(value, list):
            yield name, _choices(value, f"{where}: {name}")
        elif isinstance(value, Mapping) and {"low", "high"} & value.keys():
            yield name, _range(value, f"{where}: {name}")
        elif isinstance(value, Mapping):
            yield from _entries(value, (*above, key), where)
        else:
            raise ConfigError(
                f"{where}: {name} is {shown(value)}; give a range {{ low = ..., high = ... }} or a list of values (a "
                f"fixed value belongs to --set {name}={value})"
            )


def _choices(values: Sequence[Any], what: str) -> Choices:
    if not values or not all(isinstance(value, bool | int | float | str) for value in values):
        raise ConfigError(f"{what} is {shown(values)}; a list has one or more numbers, texts or yes/no values")
    if len({json.dumps(value) for value in values}) < len(values):
        raise ConfigError(f"{what} has a value twice: {shown(values)}")
    return Choices(tuple(values))


def _range(given: Mapping[str, Any], what: str) -> Range:
    known = ("low", "high", "log", "step")
    if strange := [key for key in given if key not in known]:
        raise ConfigError(f"{what}: {unknown('key', strange[0], known)}")
    if missing := [key for key in ("low", "high") if key not in given]:
        raise ConfigError(f"{what} has no {missing[0]!r}")
    numbers = [given[key] for key in ("low", "high", "step") if key in given]
    if any(isinstance(number, bool) or not isinstance(number, int | float) for number in numbers):
        raise ConfigError(f"{what}: low, high and step are numbers, not {shown(dict(given))}")
    low, high, step, log = given["low"], given["high"], given.get("step"), given.get("log", False)
    if not isinstance(log, bool):
        raise ConfigError(f"{what}: log is true or false, not {shown(log)}")
    if not low < high or not abs(high - low) < float("inf"):
        raise ConfigError(f"{what}: low = {low} is not below high = {high}")
    if log and (low <= 0 or step is not None):
        raise ConfigError(f"{what}: log = true needs low above 0, and no step")
    if step is not None and not 0 < step <= high - low:
        raise ConfigError(f"{what}: step = {step} is not between 0 and high - low")
    if isinstance(low, int) and isinstance(high, int) and isinstance(step, float):
        raise ConfigError(f"{what}: a range of whole numbers has a whole step; or write low = {low}.0")
    return Range(low, high, log, step)


def written(value: Any) -> str:
    """A value as TOML, as it stands behind ``--set section.key=``."""
    return json.dumps(value) if isinstance(value, bool | str) else repr(value)


def overrides_of(values: Mapping[str, Any]) -> list[str]:
    """``section.key=value`` of every option of a trial."""
    return [f"{name}={written(value)}" for name, value in values.items()]
