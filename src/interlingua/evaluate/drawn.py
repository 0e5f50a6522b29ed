"""The one draw of candidates that all methods rank: as a table, so that others can rank the same ones."""

from __future__ import annotations

import numpy as np
import polars as pl

from interlingua.data.split import Part, Split
from interlingua.errors import ConfigError
from interlingua.evaluate.candidates import user_keys
from interlingua.evaluate.judging import draw, masked_for
from interlingua.evaluate.protocol import population
from interlingua.evaluate.ranking import distinct
from interlingua.evaluate.rules import Protocol, parse_protocol


def drawn(
    split: Split, part: Part = "test", *, protocol: str | Protocol, seed: int = 0, max_users: int | None = None
) -> pl.DataFrame:
    """One line for each user: ``user_id``, ``targets`` and ``candidates`` (item ids, targets among them).

    The same users and candidates as :func:`interlingua.evaluate.protocol.evaluate` ranks with the same arguments.

    Raises:
        ConfigError: the protocol ranks the whole catalogue.
    """
    chosen = parse_protocol(protocol)
    if chosen.candidates is None:
        raise ConfigError(f"the protocol {chosen.name!r} ranks the whole catalogue, so no candidates are drawn")
    targets, queries, _ = population(split, part, max_users, seed, chosen)
    ids = split.train.user_ids[targets.users]
    masked = distinct(masked_for(chosen, split, targets, queries))
    found = draw(split, targets, masked, chosen, user_keys(ids, seed, "negatives"))
    items = split.train.item_ids.astype(str)
    listed = [items[row[real]].tolist() for row, real in zip(found.items, found.real, strict=True)]
    own = [items[targets.of_row(b)].tolist() for b in range(len(targets))]
    return pl.DataFrame({"user_id": np.asarray(ids).astype(str), "targets": own, "candidates": listed})
