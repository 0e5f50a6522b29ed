"""A recipe of recipes: ``[fuse]`` joins members that share its data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from interlingua.errors import ConfigError, shown
from interlingua.progress import say

OWN = ("data", "evaluate")
"""sections that the members share with the recipe that joins them"""
OF_MEMBERS = ("backbone", "text", "texts", "align", "ranker")


def with_members(
    values: Mapping[str, Any], find: Callable[[str], Path], read: Callable[[Path], dict[str, Any]],
    inside: tuple[Path, ...] = (),
) -> dict[str, Any]:  # fmt: skip
    """The recipe with its members' files read in, and theirs: each member is a table with a ``name``.

    The data and the evaluation of a file are those of the recipe that joins; of a file of one's own that is said.

    A member ``{ name = NAME, optional = true }`` is the recipe of that name, and may be left out.

    Args:
        values: section -> options.
        find: a member's name or path -> its file.
        read: a file -> its sections.
        inside: the files that are being read, outermost first.

    Raises:
        ConfigError: a recipe is among its own members, or among theirs.
    """
    table = values.get("fuse")
    if not isinstance(table, Mapping) or not isinstance(table.get("members"), list):
        return dict(values)

    def member(each: str) -> dict[str, Any]:
        path = find(each)
        around = [file.resolve() for file in inside]
        if path.resolve() in around:
            circle = [*inside[around.index(path.resolve()) :], path]
            raise ConfigError(
                f"{circle[0]} [fuse] has itself among its members, or among theirs: {' -> '.join(map(str, circle))}; "
                "leave it out"
            )
        found = with_members(read(path), find, read, (*inside, path))
        own = [f"[{section}]" for section in OWN if found.pop(section, None)]
        if own and each.endswith(".toml"):
            say(f"note: [fuse] member {each}: its {' and '.join(own)} is not read; members share the joint one")
        return {"name": each, **found}

    def read_in(each: Any) -> Any:
        """A member by its name alone, or one that may be left out: its file; a table of sections is itself."""
        if isinstance(each, str):
            return member(each)
        if isinstance(each, Mapping) and set(each) == {"name", "optional"} and isinstance(each["name"], str):
            return {**member(each["name"]), "optional": each["optional"]}
        return each

    members = [read_in(each) for each in table["members"]]
    return {**values, "fuse": {**table, "members": members}}


def members_of(
    values: Mapping[str, Any], where: str, resolve: Callable[[dict[str, Any], str, str], Any], stored: bool = False
) -> tuple[dict[str, Any], list[Any], list[str]]:
    """The options of ``[fuse]`` itself, its resolved members, and what is wrong.

    Args:
        values: section -> options.
        where: for errors.
        resolve: (sections, name, where) -> recipe.
        stored: of a run that was made: its members may share a name.
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
        if not isinstance(each.get("optional", False), bool):
            problems.append(f"{at}.optional is true or false, got {shown(each['optional'])}")
        own = {section: each[section] for section in each if section not in (*OWN, "name", "optional")}
        try:
            shared = {"data": values.get("data", {}), "evaluate": _retrieved(values.get("evaluate"))}
            members.append(resolve({**own, **shared}, str(each.get("name", f"member-{number}")), at))
        except ConfigError as error:
            problems.append(str(error))
    problems += _twice(members, where, stored)
    weights = table.get("weights")
    if isinstance(weights, list) and not problems and len(weights) != len(members):
        problems.append(f"{where} [fuse].weights has {len(weights)} numbers for {len(members)} members")
    return table, members, problems


def optional_of(members: Sequence[Mapping[str, Any]]) -> frozenset[str]:
    """Names of the members that may be left out."""
    return frozenset(
        str(each.get("name", f"member-{number}")) for number, each in enumerate(members, 1) if each.get("optional")
    )


def _retrieved(measured: Any) -> dict[str, int]:
    """The one option of measuring that changes a member's scores: how many items its ranker orders."""
    count = measured.get("retrieve") if isinstance(measured, Mapping) else None
    return {"retrieve": count} if isinstance(count, int) and count > 0 else {}


def _twice(members: Sequence[Any], where: str, stored: bool) -> list[str]:
    """Members that are the same recipe, which would only weigh twice, or that share a name, by which they are shown."""
    resolved, names = [each.resolved() for each in members], [each.name for each in members]
    problems = []
    for number, (own, name) in enumerate(zip(resolved, names, strict=True), 1):
        same, called = resolved.index(own) + 1, names.index(name) + 1
        if same != number:
            problems.append(f"{where} [fuse] member {number} ({name}) is the same as member {same}: name it once")
        elif called != number and not stored:
            problems.append(
                f"{where} [fuse] members {called} and {number} are both called {name!r}: give one another name, e.g. "
                f"{{ name = '{name}-2', ... }}"
            )
    return problems


def stored_member(name: str, resolved: Mapping[str, Any]) -> dict[str, Any]:
    """A member as a table: its sections, and its name."""
    return {"name": name, **{section: table for section, table in resolved.items() if section not in OWN}}


def of_a_member(section: str, options: Mapping[str, Any], where: str) -> str:
    """Where an option is set that the recipe itself has not, as its members do."""
    option = next(iter(options))
    return (
        f"--set {section}.{option}: {where} joins members ([fuse]), and that is an option of one of them; "
        f"set it in that member's own .toml file, or write the member as a table: --set 'fuse.members=[\"pop\", "
        f'{{name="mine", {section}={{name="...", {option}=...}}}}]\''
    )
