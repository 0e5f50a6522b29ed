"""What somebody else's recipe or stored run may use only with ``--trust``: code, servers, secrets.

``docs/security.md`` says what a stranger's files can do; tests/test_security.py tries.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from interlingua.errors import ConfigError
from interlingua.storage.contents import hub_folder, hub_name_and_commit
from interlingua.vectors.places import place_of

KEY_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*_API_KEY")
"""environment variables that exist to be sent to a server"""
TABLES = ("items", "users")
"""options that may name a table of a vector database"""
LOCAL = ("localhost", "127.0.0.1", "::1", "0.0.0.0")
NAMED = {"backbone": "name", "text": "name", "align": "name", "ranker": "name", "fuse": "name", "data": "reader"}
"""section -> option that names a class"""


def refuse(where: str, demands: list[str]) -> None:
    """Raises one error that lists everything that requires trust.

    Raises:
        ConfigError: there are demands.
    """
    if demands:
        listed = "; ".join(demands)
        raise ConfigError(
            f"{where} is not trusted: it {listed}. Nothing of it was done. If you know who made it and have read it, "
            "say so with --trust (in Python: trust=True)"
        )


def of_recipe(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> list[str]:
    """What a recipe's file demands. Options from the command line are the user's own and need no trust.

    Args:
        values: sections as they will be resolved.
        overrides: of the user, in the same form.
    """
    found = [f"imports {name!r} ([{section}])" for section, name in _code(values, overrides)]
    for path, value in _options(values, overrides):
        if path[-1] == "base_url" and urlsplit(str(value)).hostname not in LOCAL:
            found.append(f"sends texts and a key to {value!r} ({'.'.join(path)})")
        elif path[-1] == "key_variable" and not KEY_VARIABLE.fullmatch(str(value)):
            found.append(f"sends the environment variable {value!r} ({'.'.join(path)}; without asking: *_API_KEY)")
        elif path[-1] in TABLES and _is_remote(value):
            found.append(f"reads vectors from the server {value!r} ({'.'.join(path)})")
    return found


def _is_remote(value: Any) -> bool:
    place = place_of(value) if isinstance(value, str) else None
    return place is not None and place.is_remote


def of_run(values: Mapping[str, Any]) -> list[str]:
    """What a stored run demands: imports, and any server or environment variable."""
    found = [f"imports {name!r} ([{section}])" for section, name in _code(values, {})]
    words = {"base_url": "speaks to the server", "key_variable": "reads the environment variable"}
    remote = [(path, value) for path, value in _options(values, {}) if path[-1] in TABLES and _is_remote(value)]
    found += [f"reads vectors from the server {value!r} ({'.'.join(path)})" for path, value in remote]
    return found + [f"{words[p[-1]]} {v!r} ({'.'.join(p)})" for p, v in _options(values, {}) if p[-1] in words]


def of_models(identities: Iterable[str]) -> list[str]:
    """What a stored run would have to fetch: models of the hub that are not complete on this machine.

    Args:
        identities: of its models, see :func:`interlingua.storage.contents.model_identity`.
    """
    found = [hub_name_and_commit(identity) for identity in identities]
    gone = [(name, commit) for name, commit in filter(None, found) if hub_folder(name, commit) is None]
    return [f"downloads the model {name!r}, commit {commit[:12]}, from the hub" for name, commit in gone]


def _members(values: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The recipes that ``[fuse]`` joins, as tables."""
    table = values.get("fuse")
    given = table.get("members") if isinstance(table, Mapping) else None
    return [each for each in given if isinstance(each, Mapping)] if isinstance(given, list) else []


def _code(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for member in _members(values):
        yield from _code(member, {})
    texts = values.get("texts")
    for name, table in texts.items() if isinstance(texts, Mapping) else ():
        yield from (("texts." + str(name), found) for _, found in _code({"text": table}, {}))
    for section, option in NAMED.items():
        table, own = values.get(section), overrides.get(section)
        name = table.get(option) if isinstance(table, Mapping) else None
        if isinstance(name, str) and ":" in name and not (isinstance(own, Mapping) and option in own):
            yield section, name


def _options(
    values: Mapping[str, Any], overrides: Mapping[str, Any], before: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(path, value) of every option that has a value and was not set by the user; members' tables are files' own."""
    for key, value in values.items():
        own = overrides.get(key) if isinstance(overrides, Mapping) else None
        tables = [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []
        for number, table in enumerate(tables, 1):
            yield from _options(table, {}, (*before, str(key), str(table.get("name", number))))
        if isinstance(value, Mapping):
            yield from _options(value, own if isinstance(own, Mapping) else {}, (*before, str(key)))
        elif value is not None and (not isinstance(overrides, Mapping) or key not in overrides):
            yield (*before, str(key)), value
