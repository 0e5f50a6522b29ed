"""Words of earlier versions, in recipes and ``--set``: read, with one line that says today's word.

A table of a file or of the command line is translated before tables are joined; what hangs on several options (which
ranker was meant) afterwards. Functions whose arguments were renamed still take the former name.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from interlingua.errors import ConfigError
from interlingua.progress import say

P = ParamSpec("P")
R = TypeVar("R")

SECTIONS = {"llm": "ranker"}
"""old section -> today's"""
OPTIONS: dict[tuple[str, str], tuple[str, dict[Any, Any]]] = {
    ("backbone", "long"): ("long_histories", {"truncate": "last", "window": "windows"}),
    ("backbone", "equal"): ("batch_by", {"rows": "sequences", "targets": "events"}),
    ("ranker", "equal"): ("batch_by", {"rows": "sequences", "targets": "events"}),
    ("ranker", "residual"): ("fuse_scores", {}),
    ("ranker", "share"): ("fraction", {}),
    ("ranker", "denoise"): ("filter", {}),
    ("evaluate", "retrieve_by"): ("candidate_source", {}),
}
"""(section, old option) -> today's option, and its values where they were called otherwise"""
PROMPTS_ONLY = ("template", "scoring", "num_candidates", "beams", "length_normalisation", "all_positions", "lm_weight",
                "max_title_tokens", "answers_per_prompt")  # fmt: skip
"""options of the ranker ``soft-prompt`` that mean nothing where a history is read without words"""


def translated(values: Mapping[str, Any], where: str, quiet: bool = False) -> dict[str, Any]:
    """One table of sections with today's sections and options.

    Raises:
        ConfigError: an old word beside the new one.
    """
    out: dict[str, Any] = {}
    for section, table in values.items():
        name = SECTIONS.get(section, section)
        if name != section:
            _say(f"{where}: the section [{section}] is called [{name}] now", quiet)
            if name in values:
                raise ConfigError(f"{where} has both [{section}] and [{name}], which is the same: keep [{name}]")
        out[name] = _options(name, table, where, quiet) if isinstance(table, Mapping) else table
    return out


def _options(section: str, table: Mapping[str, Any], where: str, quiet: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        name, values = OPTIONS.get((section, key), (key, {}))
        if name != key:
            _say(f"{where}: {section}.{key} is called {section}.{name} now", quiet)
            if name in table:
                raise ConfigError(f"{where} has both {section}.{key} and {section}.{name}: keep {section}.{name}")
            value = values.get(value, value) if isinstance(value, str) else value
        found[name] = value
    return found


def parted(values: Mapping[str, Any], where: str, quiet: bool = False) -> dict[str, Any]:
    """The ranker ``soft-prompt`` had two methods in it: without words it is ``sequence-head`` now."""
    table = values.get("ranker")
    if isinstance(table, Mapping) and table.get("name") == "sequence-head":
        ours = {"template": "sequence", "scoring": "head"}  # of a recipe that extends ours
        same = {key: value for key, value in table.items() if key not in ours or value != ours[key]}
        return {**values, "ranker": same}
    if not isinstance(table, Mapping) or table.get("name") != "soft-prompt":
        return dict(values)
    if table.get("template") != "sequence" and table.get("lm_weights") != "none":
        return dict(values)
    _say(f"{where}: a history that is read without words is the ranker 'sequence-head' now", quiet)
    left = {key: value for key, value in table.items() if key not in PROMPTS_ONLY}
    return {**values, "ranker": {"head_weight": 0.0, **left, "name": "sequence-head"}}


def _say(text: str, quiet: bool) -> None:
    if not quiet:
        say(f"warning: {text}")


def renamed(**names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: the function also takes keyword arguments by their former names (former=today's), with a warning."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def with_old_names(*args: P.args, **kwargs: P.kwargs) -> R:
            for old, new in names.items():
                if old in kwargs:
                    where = f"{function.__name__}()"
                    if new in kwargs:
                        raise TypeError(f"{where} got both {old}= and {new}=, which is the same: keep {new}=")
                    warnings.warn(f"{where}: {old}= is called {new}= now", FutureWarning, stacklevel=2)
                    kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return with_old_names

    return decorate
