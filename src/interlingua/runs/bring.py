"""``interlingua.align``: vectors of another system and the texts of a catalogue become a run, in one call.

The vectors are the backbone ``pretrained``; an aligner maps texts into their space, so that items without a vector are
reached too. With events, how vectors are compared and which aligner is used is measured on the validation part.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from interlingua import registry
from interlingua.contracts.batch import FloatArray
from interlingua.data.anonymous import without_events
from interlingua.data.files.frames import to_polars
from interlingua.data.memory import as_source
from interlingua.data.prepare import prepare
from interlingua.data.prepared import Dataset
from interlingua.errors import ConfigError, DataError, shown, unknown
from interlingua.lm.encoder_here import missing
from interlingua.progress import say
from interlingua.runs.bring_checks import WORDS, check_catalogue, check_events, check_vectors, table_of
from interlingua.runs.recipe import resolve
from interlingua.runs.session import Session
from interlingua.runs.stages import run
from interlingua.storage.artifact import content_key, disk, file_hash
from interlingua.vectors.brought import has_users, read_brought
from interlingua.vectors.id_files import id_name

CANDIDATES = ("ridge", "autoencoder")
"""aligners of given vectors that are tried, and then the vectors alone; of equals the first"""
ALONE = "none"
"""the method that leaves texts out"""
ENCODER = "all-minilm-l6-v2"
KEEP = {"min_user": 0, "min_item": 0, "items_without_events": "keep"}
METRIC = "ndcg@10"


def align(
    items: Any,
    users: Any = None,
    catalogue: Any = None,
    interactions: Any = None,
    method: str = "auto",
    *,
    item_ids: Any = None,
    user_ids: Any = None,
    similarity: str = "auto",
    text: str | Mapping[str, Any] = "auto",
    out: Path | str = "runs",
    seed: int = 7,
    device: str = "auto",
) -> Session:
    """Vectors of another system and the texts of a catalogue as a run.

    Says dimensions, dot product or cosine, how many items have texts, and which have no vector.

    Args:
        items: item vectors: a file (``.npy``, ``.npz``, ``.parquet``, ``.safetensors``), an array or tensor,
            ``(array, ids)``, a mapping id -> vector, a frame with a column of ids, or a model of implicit or RecTools.
        users: user vectors in the same forms; None: a user is the mean of the history's vectors (a model has its own).
        catalogue: frame with ``item_id`` and texts, or a file of one (parquet, csv, json lines): items without a vector
            are then reached by them.
        interactions: frame of events, or a file of one, or None: histories come with each question only. With events,
            what is measured best on the validation part is taken, also the vectors alone; without, the dot product and
            ridge regression.
        method: an aligner (``interlingua list align``), ``none``, or ``auto``.
        item_ids: ids of the rows of ``items``, a list or a file: needed by a bare array, tensor, ``.npy`` or model.
            None: those that come with the vectors, or the catalogue's, where it has as many rows.
        user_ids: ids of the rows of ``users``, in the same way.
        similarity: ``dot``, ``cosine`` or ``auto``.
        text: a text source or its options; ``auto``: a sentence encoder where one is on this machine, else LSA.
        out: the runs folder.
        seed: every random number follows from it.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.

    Returns:
        The finished run.

    Raises:
        ConfigError: an unknown method, similarity or option, or a method without texts.
        DataError: vectors that cannot be read, or have no ids.
    """
    out = Path(out)
    catalogue, interactions = table_of(catalogue, "catalogue"), table_of(interactions, "interactions")
    sides = {"items": _named(items, "items", item_ids, catalogue)}
    users = items if users is None and has_users(items) else users
    if users is not None:
        sides["users"] = _named(users, "users", user_ids, None)
    methods = _methods(method, catalogue is not None)
    if text != "auto" and not any(methods):
        why = "method='none' leaves texts out" if method == ALONE else "there is no catalogue, so there are no texts"
        raise ConfigError(f"text={shown(text)} would not be read: {why}; leave text out, or the other")
    check_vectors(sides)
    check_catalogue(catalogue, sides, aligns=any(methods))
    check_events(interactions, sides)
    data = _data(sides, catalogue, interactions, out / "frames")
    base: dict[str, Any] = {
        "data": data,
        "backbone": {"name": "pretrained"} | {side: str(_store(*sides[side], side, out / "frames")) for side in sides},
    }
    kinds = _kinds(similarity, interactions is not None)
    if any(methods):
        base["text"] = _text(text)
    measure = {"protocols": ["full"], "part": "valid"}
    for name in methods:  # what cannot be joined is refused before anything is trained
        _recipe(base, kinds[0], name, measure)
    options: dict[str, Any] = {"out": out, "seed": seed, "device": device}
    if interactions is None:
        final = _recipe(base, kinds[0], methods[0], {"protocols": []})
    else:
        scores = {}
        for kind in kinds:
            scores[kind] = _score(run(_recipe(base, kind, None, measure), **options))
        kind = _best("similarity", scores)
        alone = {ALONE: scores[kind]}  # measured already
        tried = {
            name: _score(run(_recipe(base, kind, name, measure), **options)) for name in methods if name is not None
        }
        chosen = _best("alignment", tried | (alone if None in methods else {})) if tried else ALONE
        final = _recipe(base, kind, None if chosen == ALONE else chosen, {})
    session = run(final, **options)
    _tell(session, sides)
    return session


def _named(source: Any, side: str, ids: Any, catalogue: Any) -> tuple[FloatArray, list[str]]:
    """Vectors with ids. Vectors without ids take those of the catalogue, if it has as many rows."""
    vectors, names = read_brought(source, side, ids)
    if names is None and catalogue is not None and side == "items":
        frame = to_polars(catalogue, "catalogue")
        column = id_name(frame.columns, side)
        if column is not None and frame.height == len(vectors):
            say(f"items: no ids were given; the {len(vectors):,} rows are taken to be those of the catalogue, in order")
            names = [str(each) for each in frame[column]]
    if names is None:
        raise DataError(f"{side}: {shown(source)} has no ids; give one per row: {side[:-1]}_ids=LIST_OR_FILE")
    return vectors, names


def _data(
    sides: Mapping[str, tuple[FloatArray, list[str]]], catalogue: Any, interactions: Any, folder: Path
) -> dict[str, Any]:
    """The section [data]: events and texts; or texts and users, where there are no events."""
    texts = pl.DataFrame({"item_id": sides["items"][1]}) if catalogue is None else catalogue
    if interactions is not None:
        tables = {"interactions": interactions} | ({} if catalogue is None else {"items": catalogue})
        return {"name": as_source(tables, folder), "filter": KEEP}
    stand_in = pl.DataFrame({"user_id": ["nobody"], "item_id": [sides["items"][1][0]], "timestamp": [0]})
    made: Dataset = prepare({"interactions": stand_in, "items": texts}, filter=KEEP, quiet=True)
    people = sides["users"][1] if "users" in sides else []
    return {"name": as_source(without_events(made, people), folder), "as_prepared": True}


def _store(vectors: FloatArray, ids: list[str], side: str, folder: Path) -> Path:
    """A parquet file that is named by a hash of its content: equal vectors share one file."""
    kind = pl.Array(pl.Float32, vectors.shape[1])
    with disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            path = Path(work) / f"{side}.parquet"
            pl.DataFrame({"id": ids, "vector": pl.Series(vectors, dtype=kind)}).write_parquet(path)
            final = folder / f"{side}-{content_key({side: file_hash(path)})[:12]}.parquet"
            path.replace(final)
    return final


def _methods(method: str, has_texts: bool) -> list[str | None]:
    if method not in ("auto", ALONE) and method not in registry.names("align"):
        raise ConfigError(unknown("method", method, ["auto", *registry.names("align")]))
    if method == ALONE:
        return [None]
    if not has_texts:
        if method != "auto":
            raise ConfigError(f"method={method!r} aligns texts: give a catalogue with titles or descriptions")
        say("no catalogue, so no texts: the vectors are served as they are")
        return [None]
    return [*CANDIDATES, None] if method == "auto" else [method]


def _kinds(similarity: str, measured: bool) -> list[str]:
    if similarity not in ("auto", "dot", "cosine"):
        raise ConfigError(unknown("similarity", similarity, ["auto", "dot", "cosine"]))
    return [similarity] if similarity != "auto" else ["dot", "cosine"] if measured else ["dot"]


def _text(text: str | Mapping[str, Any]) -> dict[str, Any]:
    """The section [text]; auto: a sentence encoder where one is on this machine, else LSA."""
    if not isinstance(text, str):
        return dict(text)
    if text == "auto":
        text = "lsa" if missing(ENCODER) else "sbert"
        if text == "sbert":
            say(
                f"texts are read by the sentence encoder {ENCODER} (text='sbert'): minutes for thousands of items on a "
                "CPU, the first time; text='lsa' takes seconds"
            )
    return {"name": text}


def _recipe(base: Mapping[str, Any], kind: str, method: str | None, evaluate: Mapping[str, Any]) -> Any:
    values = {section: dict(table) for section, table in base.items()}
    values["backbone"]["similarity"] = kind
    values["evaluate"] = dict(evaluate)
    if method is None:
        values.pop("text", None)
    else:
        values["align"] = {"name": method, "frozen": ["backbone"]}
        values["evaluate"]["candidate_source"] = "aligned"
    return resolve(values, "brought-vectors", "interlingua.align")


def _score(session: Session) -> float:
    return session.metrics["full"].get(METRIC, 0.0)


def _best(what: str, scores: Mapping[Any, float]) -> Any:
    """The first of the highest; said where there was a choice, and where others are as high."""
    best = max(scores, key=lambda name: scores[name])
    if len(scores) > 1:
        listed = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
        level = [name for name, value in scores.items() if value == scores[best] and name != best]
        tie = f"; level with {' and '.join(level)}, and {best} comes first" if level else ""
        say(f"{what}: {best}, by {METRIC} on the validation part ({listed}){tie}")
    return best


def _tell(session: Session, sides: Mapping[str, tuple[FloatArray, list[str]]]) -> None:
    """Says the dimensions, dot product or cosine, the coverage of texts, and the orphans."""
    data, (vectors, ids) = session.data, sides["items"]
    assert session.recipe.backbone is not None
    known = np.isin(data.split.train.item_ids, np.array(ids))
    texts = data.catalogue.items.select(pl.any_horizontal(pl.col(name).is_not_null() for name in WORDS)).to_series()
    aligned = None if session.recipe.align is None else session.recipe.align.name
    orphans = int((~known).sum())
    reached = int((~known & texts.to_numpy()).sum()) if aligned else 0
    kind = session.recipe.backbone.config.similarity
    lines = {
        "vectors": f"{len(ids):,} items of width {vectors.shape[1]}, compared by {kind}",
        "texts": f"{int(texts.sum()):,} of {len(known):,} items have one; aligned by {aligned or 'nothing'}",
        "orphans": f"{orphans:,} items without a vector ({reached:,} reached by their texts), "
        f"{len(ids) - int(known.sum()):,} vectors of items that are not in the data",
    }
    if "users" in sides:
        known = np.isin(np.array(sides["users"][1]), data.split.train.user_ids)
        lines["users"] = (
            f"{int(known.sum()):,} of {len(known):,} vectors are of known users; others: means of histories"
        )
    say("\n".join(["interlingua.align:", *(f"  {word + ':':<9}{line}" for word, line in lines.items())]))
