"""User and item vectors of a finished run, for indexes and other systems: their dot product is the run's score.

Files (``format``):

- ``safetensors``: ``vectors.safetensors`` (tensors ``users``, ``items``) and ``ids.parquet`` (side, row, id);
- ``npy``: ``users.npy``, ``items.npy``, and ``user_ids.json``, ``item_ids.json`` with one id per row;
- ``parquet``: ``users.parquet``, ``items.parquet`` (id, vector).

A backbone's item bias becomes a last column of the items; users have 1 there.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from interlingua.contracts.scorer import Towers
from interlingua.data.anonymous import has_users
from interlingua.data.interactions import Interactions
from interlingua.data.queries import IntArray, Queries
from interlingua.errors import ConfigError
from interlingua.retrieval.alike import user_blocks
from interlingua.retrieval.ann import Ann, AnnConfig
from interlingua.retrieval.best import by_products
from interlingua.retrieval.topk import recall
from interlingua.runs.scorers import retriever_of, scorer_of
from interlingua.runs.session import Session
from interlingua.storage import artifact
from interlingua.storage.artifact import Artifact
from interlingua.vectors.tables import save_tables

Format = Literal["safetensors", "npy", "parquet"]
Events = Literal["all", "train"]
USER_BLOCK = 2048
"""users whose vectors are made at once"""
CHECKED_USERS = 1000
"""number of users for whom an index is measured"""
K = 10
"""number of results by which an index is measured"""


@dataclass(frozen=True)
class RunTowers(Towers):
    """The vectors by which a run scores; a bias is part of them."""

    source: str = ""
    """which stage they come from"""
    biased: bool = False
    """whether the last column is the items' bias"""


def towers(session: Session) -> RunTowers:
    """The vectors by which a run scores.

    Raises:
        ConfigError: the run does not score by a dot product of vectors; the message says why.
    """
    scorer = scorer_of(session)
    where = str(session.done["evaluate"].path)
    if "rank" in session.done and not session.ranker.ranks_catalogue:
        name = session.done["rank"].card["name"]
        raise ConfigError(
            f"{where} has no vectors to write: its ranker {name!r} orders what another stage retrieved, so its score "
            "is no dot product; write those of a run without [ranker] on the same backbone, which retrieves for it"
        )
    stage = "rank" if "rank" in session.done else retriever_of(session)[0]
    stage = "align" if stage == "train" and "train" not in session.done else stage
    found = scorer.towers()
    if found is None:
        raise ConfigError(_why_none(session, stage, where))
    folded = found.folded()
    return RunTowers(folded.users, folded.items, None, found.exact, stage, biased=found.bias is not None)


def _why_none(session: Session, stage: str, where: str) -> str:
    """Why a score is no dot product of vectors."""
    part = session.recipe.ranker if stage == "rank" else session.recipe.fuse or session.recipe.backbone
    problem = f"{where} has no vectors to write: {'' if part is None else part.name!r} scores by"
    if part is not None and part is session.recipe.backbone and {"items", "users"} <= part.cls.makes(part.config):
        return (
            f"{problem} another function than one dot product of a user's and an item's vector, so an index over its "
            "vectors would rank differently; choose a run whose backbone scores by a dot product"
        )
    what = "more than two vectors" if stage == "rank" else "neighbours, counts or words"
    what = what if session.recipe.fuse is None else "the joined scores of its members"
    return (
        f"{problem} {what}, not by their dot product; choose a run whose backbone has vectors (sequence models, "
        "factorisation, graphs)"
    )


def embed(
    session: Session,
    folder: Path | None = None,
    format: str = "safetensors",
    *,
    events: str = "all",
    index: str | None = None,
    ann: AnnConfig | None = None,
) -> Artifact:
    """Writes the vectors of a finished run into a folder with a card.

    Args:
        session: from :func:`interlingua.runs.opening.open_session`.
        folder: where they go; default: ``vectors-RECIPE-KEY`` next to the run.
        format: see the module's text.
        events: user vectors from ``all`` events on record (as ``recommend`` answers) or from the ``train`` part.
        index: ``usearch`` also writes an approximate index of the items, and measures its recall.
        ann: options of the index.

    Raises:
        ConfigError: the run has no vectors, an unknown option, or a folder that holds something else.
    """
    _check(format, events, index, folder)
    if not has_users(session.data):
        raise ConfigError(
            "this model was saved without its users, so it has no vectors of theirs; its items' lie in the folder "
            "itself (train-*/vectors.safetensors, ids.parquet), or save it with events=True"
        )
    made = towers(session)
    train = session.data.split.train
    queries = (session.data.on_record if events == "all" else train).queries(np.arange(train.num_users))
    users = torch.cat(list(user_blocks(made.users, queries, USER_BLOCK)))
    run = session.done["evaluate"]
    options = {"format": format, "events": events, "index": index, "ann": (ann or AnnConfig()).model_dump()}
    key = artifact.content_key({"kind": "vectors", "run": run.key, "options": options})
    name = str(run.card["name"])
    root = run.path.parent if folder is None else folder.parent
    fields: dict[str, Any] = {"seed": session.seed, "config": options, "run": run.path.name, "source": made.source}
    fields |= {"shapes": {"users": list(users.shape), "items": list(made.items.shape)}, "bias_column": made.biased}
    with artifact.writing(
        root,
        "vectors",
        name,
        key,
        parents={stage: session.done[stage] for stage in run.parents},
        fields=fields,
        final=folder,
    ) as temporary:
        WRITERS[format](temporary, users, made.items, train)
        if index is not None:
            fields["index"] = _index(temporary, users, made.items, queries, ann or AnnConfig())
    return artifact.load(folder or root / artifact.folder_name("vectors", name, key))


def _index(folder: Path, users: Tensor, items: Tensor, queries: Queries, config: AnnConfig) -> dict[str, Any]:
    """Builds and writes an index; returns how it compares with the exact search."""
    started = time.perf_counter()
    built = Ann.build(items, config)
    seconds = time.perf_counter() - started
    built.save(folder)
    indices: IntArray = np.unique(np.linspace(0, max(len(users) - 1, 0), CHECKED_USERS).astype(np.int64))[: len(users)]
    some, seen = users[torch.from_numpy(indices)], queries.take(indices)
    times = []
    results = []
    for search in (lambda: by_products(some, items, K, seen=seen), lambda: built.search(some, K, seen=seen)):
        started = time.perf_counter()
        results.append(search())
        times.append((time.perf_counter() - started) / max(len(indices), 1))
    exact, found = results
    return {
        "library": "usearch", "file": "items.usearch", "build_s": round(seconds, 3), "users": len(indices),
        f"recall@{K}": round(recall(found.indices, exact.indices), 5), "exact_ms_per_user": round(1000 * times[0], 4),
        "index_ms_per_user": round(1000 * times[1], 4),
    }  # fmt: skip


def _safetensors(folder: Path, users: Tensor, items: Tensor, known: Interactions) -> None:
    save_tables(folder, {"users": users, "items": items}, known)


def _npy(folder: Path, users: Tensor, items: Tensor, known: Interactions) -> None:
    for side, vectors, ids in (("user", users, known.user_ids), ("item", items, known.item_ids)):
        np.save(folder / f"{side}s.npy", vectors.numpy())
        text = json.dumps([str(each) for each in ids], ensure_ascii=False)
        (folder / f"{side}_ids.json").write_text(text, encoding="utf-8")


def _parquet(folder: Path, users: Tensor, items: Tensor, known: Interactions) -> None:
    import polars as pl

    for side, vectors, ids in (("users", users, known.user_ids), ("items", items, known.item_ids)):
        kind = pl.Array(pl.Float32, vectors.shape[1])
        frame = pl.DataFrame({"id": [str(each) for each in ids], "vector": pl.Series(vectors.numpy(), dtype=kind)})
        frame.write_parquet(folder / f"{side}.parquet")


WRITERS: dict[str, Callable[[Path, Tensor, Tensor, Interactions], None]] = {
    "safetensors": _safetensors, "npy": _npy, "parquet": _parquet,
}  # fmt: skip


def _check(format: str, events: str, index: str | None, folder: Path | None) -> None:
    if format not in get_args(Format):
        raise ConfigError(f"unknown format {format!r}: use {', '.join(get_args(Format))}")
    if events not in get_args(Events):
        raise ConfigError(f"unknown events {events!r}: use {', '.join(get_args(Events))}")
    if index not in (None, "usearch"):
        raise ConfigError(f"unknown index {index!r}: use usearch")
    if folder is None or not folder.exists():
        return
    ours = folder.is_dir() and (not any(folder.iterdir()) or _holds_vectors(folder))
    if not ours:
        raise ConfigError(f"{folder} holds something else than vectors; name a new folder with --out")


def _holds_vectors(folder: Path) -> bool:
    return (folder / artifact.CARD).is_file() and artifact.load(folder, verify=False).kind == "vectors"
