"""The parts of a prepared dataset as tables with external ids, which every form is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import polars as pl

from interlingua.data.prepared import Dataset
from interlingua.data.splitting import PARTS

NAMES = tuple(name for name in PARTS if name in ("train", "valid", "test"))


def part_tables(data: Dataset) -> Iterator[tuple[str, pl.DataFrame]]:
    """(``train``, ``valid`` or ``test``; its events), with ``user_id``, ``item_id``, ``timestamp`` and what is known.

    ``timestamp``: seconds since 1970, or the place in the user's history. ``rating`` and ``label`` (1: liked) only
    where the data have them. Events that the split leaves unused are in no part.
    """
    events = data.interactions
    columns = {
        "user_id": events.user_ids[events.users].astype(str), "item_id": events.item_ids[events.items].astype(str),
        "timestamp": events.times,
    }  # fmt: skip
    columns |= {} if events.ratings is None else {"rating": events.ratings}
    columns |= {} if events.labels is None else {"label": events.labels.astype(np.int8)}
    table = pl.DataFrame(columns)
    for name in NAMES:
        yield name, table.filter(pl.Series(data.parts == PARTS.index(name)))


def one_line(name: str, change: Callable[[pl.Expr], pl.Expr] = lambda each: each) -> pl.Expr:
    """A text column without tabs and ends of lines, which would end a cell; null: empty."""
    return change(pl.col(name).cast(pl.String).fill_null("").str.replace_all(r"[\t\r\n]+", " ")).alias(name)
