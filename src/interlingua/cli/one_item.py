"""``interlingua similar`` and ``interlingua why-not``: ask a finished run about one item."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from interlingua.cli.options import AsJson, Device, RunPath, Trust
from interlingua.cli.recommend import (
    Diversity,
    Exclude,
    Filter,
    History,
    Items,
    K,
    NewShare,
    Repeat,
    Rerank,
    Text,
    TextWeight,
    User,
    Where,
    conditions_of,
    ids,
)


def similar(
    run: RunPath,
    item: Annotated[str | None, typer.Option("--item", help="Item id: the items most like it.")] = None,
    user: Annotated[str | None, typer.Option("--user", help="External id: the users most like this one.")] = None,
    k: K = 10,
    exclude: Exclude = "",
    items: Items = None,
    filters: Filter = None,
    where: Where = None,
    space: Annotated[
        str | None, typer.Option("--space", help="Compare items by vectors (the model's), texts, or events.")
    ] = None,
    device: Device = "auto",
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """The items most like one item, or the users most like one user."""
    from interlingua.errors import ConfigError
    from interlingua.recommender import load

    listed, hidden, conditions = (
        ids(items, "--items"),
        ids(exclude, "--exclude") or [],
        conditions_of(filters or [], where),
    )
    if (item is None) == (user is None):
        raise ConfigError("give either --item or --user")
    if user is not None and (hidden or conditions or listed is not None or space is not None):
        raise ConfigError("--items, --exclude, --filter, --where and --space are about items, and go with --item")
    recommender = load(run, device, trust=trust)
    if user is not None:
        users = recommender.similar_users(user, k)
        lines = [f"{each.user_id}  {each.score:.3f}" for each in users]
        found = [each._asdict() for each in users]
    else:
        near = recommender.similar_items(str(item), k, items=listed, exclude=hidden, filters=conditions, space=space)
        lines = [f"{each.title}  [{each.item_id}]  {each.score:.3f}" for each in near]
        found = [each._asdict() for each in near]
    print(json.dumps(found) if as_json else "\n".join(f"{place:>3}. {line}" for place, line in enumerate(lines, 1)))


def why_not(
    run: RunPath,
    item: Annotated[str, typer.Option("--item", help="Item id.")],
    user: User = None,
    history: History = None,
    k: K = 10,
    rerank: Rerank = True,
    exclude: Exclude = "",
    items: Items = None,
    filters: Filter = None,
    where: Where = None,
    diversity: Diversity = 0.0,
    repeat: Repeat = False,
    new_share: NewShare = 0.0,
    text: Text = None,
    text_weight: TextWeight = 0.5,
    device: Device = "auto",
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Say why an item is not among the best k: what keeps it out, its places, what speaks for it, what would do."""
    from interlingua.recommender import load

    history_ids, hidden = ids(history, "--history"), ids(exclude, "--exclude") or []
    found = load(run, device, trust=trust).why_not(
        item, user, history_ids, k, rerank=rerank, items=ids(items, "--items"), exclude=hidden,
        filters=conditions_of(filters or [], where), diversity=diversity, repeat=repeat, new_share=new_share, text=text,
        text_weight=text_weight,
    )  # fmt: skip
    if as_json:
        print(json.dumps(found.facts()))
        return
    print(f"{found.title or item}  [{found.item_id}]")
    for line in [*found.sentences, *(f"note: {note}" for note in found.notes)]:
        print(f"  {line}")


COMMANDS = {"similar": similar, "why-not": why_not}
