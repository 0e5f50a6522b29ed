"""A recipe of recipes: ``[fuse]`` joins members that share its data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from interlingua.errors import ConfigError, shown
from interlingua.progress import say

OWN = ("data", "evaluate")
"""sections that the members share with the recipe that joins them"""
OF_MEMBERS = ("backbone", "text", "texts", "align", "ranker")


def with_members(values: Mapping[str, Any], read: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
    """The recipe with its members' files read in: each member is a table with a ``name``.

    The data and the evaluation of a file are those of the recipe that joins; of a file of one's own that is said.
    """
    table = values.get("fuse")
    if not isinstance(table, Mapping) or not isinstance(table.get("members"), list):
        return dict(values)

    def member(each: str) -> dict[str, Any]:
        found = read(each)
        own = [f"[{section}]" for section in OWN if found.pop(section, None)]
        if own and each.endswith(".toml"):
            say(f"note: [fuse] member {each}: its {' and '.join(own)} is not read; members share the joint one")
        return {"name": each, **found}

    members = [member(each) if isinstance(each, str) else each for each in table["members"]]
    return {**values, "fuse": {**table, "members": members}}


def members_of(
    values: Mapping[str, Any], where: str, resolve: Callable[[dict[str, Any], str, str], Any]
) -> tuple[dict[str, Any], list[Any], list[str]]:
    """The options of ``[fuse]`` itself, its resolved members, and what is wrong.

    Args:
        values: section -> options.
        where: for errors.
        resolve: (sections, name, where) -> recipe.
    """
    refused = [section for section in OF_MEMBERS if values.get(section)]
    problems = [f"{where} has [fuse] and [{each}]: that is a section of a member" for each in refused]
    table = dict(values["fuse"])
    given = table.pop("members", None)
    if not isinstance(given, list) or len(given) < 2:
        example = "members = ['itemknn', 'textknn']"
        got = "no members" if given is None else f"{len(given)}" if isinstance(given, list) else shown(given)
        return table, [], [*problems, f"{where} [fuse] joins two or more members, e.g. {example}; got {got}"]
    members = []
    for number, each in enumerate(given, 1):
        at = f"{where} [fuse] member {number}"
        if not isinstance(each, Mapping):
            problems.append(f"{at} is {shown(each)}: give a recipe's name, a path, or a table of its sections")
            continue
        problems += [
            f"{at} has its own [{section}], and members share that of the recipe that joins them: set it there"
            for section in OWN
            if each.get(section)
        ]
        own = {section: each[section] for section in each if section not in (*OWN, "name")}
        try:
            shared = {"data": values.get("data", {}), "evaluate": _retrieved(values.get("evaluate"))}
            members.append(resolve({**own, **shared}, str(each.get("name", f"member-{number}")), at))
        except ConfigError as error:
            problems.append(str(error))
        except RecursionError:
            raise ConfigError(f"{where} [fuse] has itself among its members, or among theirs") from None
    problems += _twice(members, where)
    weights = table.get("weights")
    if isinstance(weights, list) and not problems and len(weights) != len(members):
        problems.append(f"{where} [fuse].weights has {len(weights)} numbers for {len(members)} members")
    return table, members, problems


def _retrieved(measured: Any) -> dict[str, int]:
    """Of the measurement only how many items a member's ranker orders, which decides what the member scores."""
    count = measured.get("retrieve") if isinstance(measured, Mapping) else None
    return {"retrieve": count} if isinstance(count, int) and count > 0 else {}


def _twice(members: Sequence[Any], where: str) -> list[str]:
    """Members that are the same recipe: it would only weigh twice."""
    resolved = [each.resolved() for each in members]
    found = [(resolved.index(each) + 1, number) for number, each in enumerate(resolved, 1)]
    return [
        f"{where} [fuse] member {number} ({members[number - 1].name}) is the same as member {first}: name it once"
        for first, number in found
        if first != number
    ]


def stored_member(name: str, resolved: Mapping[str, Any]) -> dict[str, Any]:
    """A member as a table: its sections, and its name."""
    return {"name": name, **{section: table for section, table in resolved.items() if section not in OWN}}
