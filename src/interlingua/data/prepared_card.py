"""The options of a prepared folder, from its card, and a recipe's section [data] for such a folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from interlingua.config import merge
from interlingua.data.filter import FilterConfig
from interlingua.data.prepared import CARD, is_prepared
from interlingua.data.source import here
from interlingua.data.splitting import SplitConfig

HOLDS_STILL = ("duplicates", "items_without_events")
"""options of the filter that keep something: filtering a folder again must not drop it"""


def card_of(name: Any) -> dict[str, Any] | None:
    """The card of a prepared folder; None for any other source."""
    folder = here(name) if isinstance(name, str) else None
    if folder is None or not is_prepared(folder):
        return None
    card: dict[str, Any] = json.loads((folder / CARD).read_text(encoding="utf-8"))
    return card


def with_card(
    name: str, card: Mapping[str, Any], file: Mapping[str, Any], overrides: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """[data] for a prepared folder, and a line that explains the decision.

    Args:
        name: the folder, as the user wrote it.
        card: the folder's card.
        file: [data] of the recipe's file: used only for entries that ``overrides`` repeats.
        overrides: [data] of the command line, without the name.
    """
    split = SplitConfig.read_part({k: v for k, v in card["split"].items() if k in SplitConfig.model_fields})
    made = {k: v for k, v in card.get("filter", {}).items() if k in FilterConfig.model_fields}
    label = {"label": card["label"]} if card.get("label") else {}
    unused = sorted(k for k in file if k != "name" and k not in overrides)
    rest = f"; [data] {', '.join(unused)} of the recipe: not used (--set data.{unused[0]}=... is)" if unused else ""
    protocol = card["split"].get("protocol", split.get("name"))
    if not overrides:
        note = f"{name} is a prepared dataset: its own split ({protocol}) and filter are used{rest}"
        return {"name": name, "split": split, "filter": made, "as_prepared": True, **label}, (note,)
    again = {"split": split, "filter": {k: v for k, v in made.items() if k in HOLDS_STILL}, **label}
    note = (
        f"{name} is a prepared dataset, split as {protocol}: --set changes its {', '.join(sorted(overrides))}; split "
        "anew, by its own rule where that is not among them (a random one follows this command's --seed), and what its "
        f"filter left out stays out{rest}"
    )
    return {"name": name, **merge(again, _tables(overrides))}, (note,)


def _tables(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """``split = "ratio"`` as a table, to compare it with the card's."""
    return {k: {"name": v} if k == "split" and isinstance(v, str) else v for k, v in overrides.items()}
