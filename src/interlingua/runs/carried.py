"""What a run carries over to the items of another dataset, and what not, in words: its texts decide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from interlingua.data.catalogue import Catalogue
from interlingua.data.prepared import Dataset
from interlingua.errors import shown
from interlingua.runs.grown import Grown
from interlingua.runs.session import Session
from interlingua.vectors.fields import TextConfig, has_text

NAMED = 3
"""items that a note names"""


def notes_of(found: Grown, other: Dataset, prefix: str) -> tuple[str, ...]:
    """Notes on a run over the other dataset's items, which stand behind its own as ``prefix`` and their ids."""
    parts = found.grown_members if found.recipe.fuse is not None else [found]
    notes = [*dict.fromkeys(_carried_by(part) for part in parts), *_left_behind(found.base, parts)]
    return (*notes, *_columns(found.base, other), *_without_texts(found, other, prefix))


def _carried_by(part: Grown) -> str:
    name = "" if part.recipe.backbone is None else part.recipe.backbone.name
    if not part.places:
        return f"{name}: nothing is carried over, equal scores"
    if part.base.backbone.extended(part.added) is not None:
        said = "item vectors from texts, and user vectors by the backbone over inputs from texts"
    else:
        said = "item vectors from texts; the user's vector is the mean of the history's"
    ranker = part.recipe.ranker
    return f"{name}: {said}" + (f"; the ranker {ranker.name} reads titles and these vectors" if ranker else "")


def _left_behind(base: Session, parts: Sequence[Grown]) -> list[str]:
    """What was learned by ids: nothing of it says anything of other users and items."""
    backbones, what = [part.base.backbone for part in parts if part.base.recipe.backbone is not None], []
    if any("user_table" in each.makes(each.config) for each in backbones):
        what.append(f"the vectors of its own {base.data.split.train.num_users:,} users")
    if not all(each.needs_text for each in backbones):
        what.append(f"what events say of its own {len(base.data.catalogue):,} items (ID vectors, popularity)")
    return [f"not carried over: {' and '.join(what)}"] if what else []


def _configs(session: Session) -> Iterator[TextConfig]:
    """The options of every text that is made of columns, of the members too."""
    for member in session.members:
        yield from _configs(member)
    own = [] if session.recipe.text is None else [session.recipe.text]
    yield from (part.config for part in (*own, *session.recipe.texts.values()) if part.config.reads_fields)


def _columns(base: Session, other: Dataset) -> list[str]:
    """A note on columns that the run reads, and that the other dataset does not have or has no values in."""
    own, theirs = base.data.catalogue, other.catalogue
    fields = dict.fromkeys(own.column(field) or field for config in _configs(base) for field in config.fields)
    gone = [field for field in fields if _filled(own, field) and not _filled(theirs, theirs.column(field) or field)]
    name = other.card["name"]
    return [f"the run reads {', '.join(gone)} of its own items, and no item of {name} has any"] if gone else []


def _filled(catalogue: Catalogue, column: str) -> bool:
    return column in catalogue.items.columns and catalogue.items[column].null_count() < len(catalogue)


def _without_texts(found: Grown, other: Dataset, prefix: str) -> list[str]:
    """Notes that name and count items without a text, and those whose texts say nothing to the run."""
    ids, known, lines = other.catalogue.items["item_id"], found.base.data.catalogue, found.new
    catalogue = Catalogue(lines, None, known.domain, known.names)
    configs = list(_configs(found.base))
    has_texts = np.logical_or.reduce([has_text(catalogue, config) for config in configs]) if configs else None
    bare = [] if has_texts is None else ids.filter(pl.Series(~has_texts)).to_list()
    silent = [item.removeprefix(prefix) for item in found.silent]
    fields = ", ".join(dict.fromkeys(field for config in configs for field in config.fields))
    rest = [item for item in silent if item not in set(bare)]
    said = ((bare, f"have no text ({fields})"), (rest, "have texts that say nothing to the run"))
    return [
        f"{len(names):,} of the {len(ids):,} items of {other.card['name']} {what}: {_some(names)}; nothing is carried "
        "over to them"
        for names, what in said
        if names
    ]


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(shown, names[:NAMED])) + (", ..." if len(names) > NAMED else "")
