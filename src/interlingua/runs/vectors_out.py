"""Vectors of a finished run into a vector database, which then ranks as the run does: by dot products.

Two tables: ``NAME_items`` (ids, vectors, and the catalogue's columns as payload) and ``NAME_users``. Both carry a
description: which run and stage, how a score is made, and what makes the vector of somebody new.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from interlingua import __version__
from interlingua.contracts.batch import FloatArray
from interlingua.data.anonymous import has_users
from interlingua.data.catalogue import Catalogue
from interlingua.data.queries import IntArray
from interlingua.errors import ConfigError, DataError, first_line, shown
from interlingua.progress import say
from interlingua.retrieval.alike import user_blocks
from interlingua.retrieval.best import by_products
from interlingua.runs.export import USER_BLOCK, K, RunTowers, towers
from interlingua.runs.session import Session
from interlingua.vectors.places import VectorStore, check_table, place_of

CHECKED_USERS = 200
"""users for whom the database is asked, to compare with the exact search"""
NAME = "interlingua"
"""default first part of the tables' names"""


@dataclass(frozen=True)
class VectorsOut:
    """What was written."""

    items_table: str
    """address of the items, as ``[backbone] items`` of ``pretrained`` takes it"""
    users_table: str | None
    """address of the users; None: the run has none"""
    items: int
    users: int
    width: int
    recall: float
    """mean share of our exact best 10 among the database's best 10"""
    checked_users: int


def embed_to(session: Session, address: str, *, events: str = "all") -> VectorsOut:
    """Writes item and user vectors into a database and asks it.

    Args:
        session: from :func:`interlingua.runs.opening.open_session`.
        address: ``qdrant:PATH_OR_URL``, ``postgresql://HOST/DATABASE`` or ``lancedb:PATH``; ``#NAME`` behind it is the
            first part of the tables' names.
        events: user vectors from ``all`` events on record (as ``recommend`` answers) or from the ``train`` part.

    Raises:
        ConfigError: the run has no vectors, an address of another kind, or unknown ``events``.
        DataError: the database does not answer, or refuses.
    """
    place = place_of(address)
    if place is None:
        raise ConfigError(f"--to {shown(address)}: give qdrant:PATH_OR_URL, postgresql://HOST/DATABASE or lancedb:PATH")
    if events not in ("all", "train"):
        raise ConfigError(f"unknown events {events!r}: use all, train")
    name = place.table or NAME
    check_table(f"{name}_items")
    made, data = towers(session), session.data
    queries = (data.on_record if events == "all" else data.split.train).queries(np.arange(data.split.train.num_users))
    store, items = place.open(), made.items.float().cpu()
    users = torch.cat([*user_blocks(made.users, queries, USER_BLOCK), items.new_zeros(0, items.shape[1])]).float().cpu()
    keep = has_users(data)
    sides = [("items", items.numpy(), data.split.train.item_ids.tolist(), _payload(data.catalogue))]
    if keep:
        sides.append(("users", users.numpy(), data.split.train.user_ids.tolist(), [{} for _ in range(len(users))]))
    base = str(place).split("#")[0]
    try:
        for side, vectors, ids, payload in sides:
            about = _about(session, made, side, f"{name}_users" if keep else None, events)
            store.write(f"{name}_{side}", list(map(str, ids)), vectors, payload, about)
            say(f"{base}#{name}_{side}: {len(ids):,} vectors of width {vectors.shape[1]}")
        checked, recall = _recall(store, f"{name}_items", users, made, [str(one) for one in sides[0][2]])
    except (ConfigError, DataError):
        raise
    except Exception as error:  # three clients with errors of their own
        raise DataError(f"writing the vectors to {base}: {first_line(error)}") from error
    finally:
        store.close()
    where = [f"{base}#{name}_items", f"{base}#{name}_users" if keep else None]
    return VectorsOut(str(where[0]), where[1], len(items), len(users) if keep else 0, items.shape[1], recall, checked)


def _payload(catalogue: Catalogue) -> list[dict[str, Any]]:
    """What is known of each item: the catalogue's columns that have a value."""
    columns = [name for name in catalogue.items.columns if name != "item_id"]
    entries = catalogue.items.select(columns).to_dicts() if columns else [{} for _ in range(len(catalogue))]
    return [{name: _plain(value) for name, value in one.items() if value is not None} for one in entries]


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool) else str(value)


def _about(session: Session, made: RunTowers, side: str, users: str | None, events: str) -> Mapping[str, Any]:
    """The description of a table: enough to make a query without asking us."""
    recipe, run = session.recipe, session.done["evaluate"]
    parts = {"backbone": recipe.backbone, "text": recipe.text, "align": recipe.align, "ranker": recipe.ranker}
    encoder: dict[str, Any] = {
        name: {"name": part.name, "options": part.config.model_dump(mode="json")}
        for name, part in parts.items() if part is not None
    }  # fmt: skip
    encoder["known_user"] = f"the vector of that id in {users}" if users else "not written: a model without users"
    encoder["history"] = "interlingua: Recommender.recommend(history=...) makes the vector of a history"
    if made.biased:
        encoder["last_column"] = "items hold a bias there, users 1"
    return {
        "written_by": f"interlingua {__version__}", "run": run.key[:12], "recipe": str(run.card["name"]),
        "stage": made.source, "side": side, "similarity": "dot", "width": int(made.items.shape[1]), "events": events,
        "query_encoder": encoder,
    }  # fmt: skip


def _recall(
    store: VectorStore, table: str, users: torch.Tensor, made: RunTowers, ids: list[str]
) -> tuple[int, float]:  # fmt: skip
    """(users asked, mean share of the exact best K that the database gives)."""
    indices: IntArray = np.unique(np.linspace(0, max(len(users) - 1, 0), CHECKED_USERS).astype(np.int64))[: len(users)]
    some = users[torch.from_numpy(indices)]
    exact = by_products(some, made.items.float().cpu(), K).indices
    vectors: FloatArray = some.numpy()
    shares = []
    for query, best in zip(vectors, exact, strict=True):
        expected = {ids[row] for row in best if row >= 0}
        shares.append(len(expected & set(store.search(table, query, K))) / max(len(expected), 1))
    return len(indices), float(np.mean(shares)) if shares else float("nan")
