"""Members of ``[fuse]`` that may be left out: where data, machine or budget do not allow them.

The choice is made on the prepared data, before anything is trained; the run stores the recipe that is left, so that its
keys and its reuse are those of a recipe that never had the others. What a budget allows is estimated once and written
down beside the runs: the same command makes the same run again, also after an interruption.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import replace

from interlingua.data.prepared import Dataset
from interlingua.errors import ConfigError, InterlinguaError, first_line
from interlingua.progress import duration, say
from interlingua.runs.named_texts import textless
from interlingua.runs.planner import seconds_of_member
from interlingua.runs.preflight import check
from interlingua.runs.recipe import Recipe
from interlingua.runs.section import Section
from interlingua.runs.session import Session
from interlingua.storage import durable
from interlingua.storage.artifact import content_key

FOLDER = "chosen-members"
"""beside the runs: what budgets allowed"""


def with_possible_members(
    session: Session, data: Callable[[], Dataset], budget_s: float | None = None, *, keep: bool = True
) -> Session:
    """The session without the optional members that cannot be made, or not in time.

    Args:
        session: of a recipe with ``[fuse]``; another one is returned as it is.
        data: the prepared dataset, made when it is needed.
        budget_s: seconds for the training of all members together; None: as long as it takes. Members are taken in
            their order while the estimates fit; those that must be there count first.
        keep: write down what a budget allows.

    Raises:
        ConfigError: a budget for a recipe without optional members, or fewer than two members are left.
    """
    recipe = session.recipe
    if not recipe.optional:
        if budget_s is not None:
            raise ConfigError(
                f"a budget leaves out members of [fuse] that are optional, and {recipe.name!r} has none; leave the "
                "budget out, or mark members: { name = 'sasrec', optional = true }"
            )
        return session
    left_out, prepared = dict[str, str](), data()
    for member in session.members:
        if member.recipe.name in recipe.optional and (why := _why_not(member, prepared)):
            left_out[member.recipe.name] = why
    if budget_s is not None:
        possible = [each for each in session.members if each.recipe.name not in left_out]
        left_out |= _kept_choice(session, possible, prepared, budget_s, keep)
    for name, why in left_out.items():
        say(f"note: {recipe.name} goes on without the member {name!r}: {why}")
    members = tuple(each for each in recipe.members if each.name not in left_out)
    if len(members) < 2:
        reasons = "; ".join(f"{name}: {why}" for name, why in left_out.items())
        raise ConfigError(f"[fuse] joins two or more members, and {len(members)} can be made here ({reasons})")
    if not left_out:
        return session
    chosen = replace(recipe, members=members, optional=recipe.optional - left_out.keys())
    made = Session(chosen, session.root, session.seed, session.device)
    made.done |= {kind: done for kind, done in session.done.items() if kind == "prepare"}
    return made


def _why_not(member: Session, data: Dataset) -> str:
    """Why the member cannot be made with these data on this machine; empty if it can."""
    try:
        check([member])
    except InterlinguaError as error:
        return first_line(error)
    backbone = member.recipe.backbone
    if backbone is not None and "times" in backbone.cls.needs(backbone.config) and not data.has_times:
        return "it needs events with times, and the data have none (or one and the same for all)"
    lines = textless(_texts(member.recipe), data.catalogue)
    return lines[0] if lines else ""


def _texts(recipe: Recipe) -> Iterator[tuple[str, Section]]:
    own = {} if recipe.text is None else {"[text]": recipe.text}
    yield from (own | {f"[texts.{name}]": part for name, part in recipe.texts.items()}).items()


def _kept_choice(
    session: Session, members: list[Session], data: Dataset, budget_s: float, keep: bool
) -> dict[str, str]:
    """:func:`_too_slow`, as it was found the first time: estimates differ from call to call, and shrink with each stage
    that is finished.
    """
    keys = {each.recipe.name: [stage.key for stage in each.plan.values()] for each in members}
    parts = {"members": keys, "optional": sorted(session.recipe.optional), "budget": budget_s}
    file = session.root / FOLDER / f"{content_key(parts)[:16]}.json"
    if file.is_file():
        found: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
        return found
    found = _too_slow(members, session.recipe.optional, data, budget_s)
    if keep:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary = file.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        durable.replace(temporary, file)
    return found


def _too_slow(members: list[Session], optional: frozenset[str], data: Dataset, budget_s: float) -> dict[str, str]:
    """Members for which the budget does not suffice, by the estimates; one without an estimate counts as nothing."""
    takes = {each.recipe.name: seconds_of_member(each, data) for each in members}
    left = budget_s - sum(seconds for name, seconds in takes.items() if name not in optional)
    out = {}
    for name, seconds in takes.items():
        if name not in optional:
            continue
        if seconds > left:
            out[name] = f"it would take about {duration(seconds)}, and {duration(max(left, 0))} of the budget are left"
        else:
            left -= seconds
    return out
