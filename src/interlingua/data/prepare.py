"""From a source to a prepared dataset: read, check, filter, split; one card says what happened to every row."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field, field_validator

from interlingua.config import C, Config, build
from interlingua.core import Domain
from interlingua.data.catalogue import Catalogue
from interlingua.data.clean import CleanConfig, align_texts, clean_events, clean_texts
from interlingua.data.filter import FilterConfig, keep_mask
from interlingua.data.interactions import Interactions
from interlingua.data.prepared import Prepared, fingerprint, id_array, is_prepared, load, save
from interlingua.data.raw import Log, Raw, TimeKind
from interlingua.data.source import here, read
from interlingua.data.splitting import Parts, SplitConfig, divide
from interlingua.errors import ConfigError, DataError, shown

__all__ = [
    "DataConfig",
    "FilterConfig",
    "Prepared",
    "SplitConfig",
    "load",
    "prepare",
    "prepare_config",
    "prepare_raw",
    "save",
]


class DataConfig(Config):
    """The section [data] of a recipe."""

    name: str = "movielens-small"
    """a dataset's name (``interlingua data list``), a file or a folder"""
    filter: FilterConfig = FilterConfig()
    """which events are kept"""
    split: SplitConfig = SplitConfig()
    """how events are divided: a name, or a table with a name and options"""
    clean: CleanConfig = CleanConfig()
    """what happens to rows that cannot be used"""
    columns: dict[str, str] = Field(default_factory=dict)
    """role -> column of the source, e.g. ``{user_id = "reader", item_id = "isbn"}``; the rest is guessed and shown"""
    domain: dict[str, str] = Field(default_factory=dict)
    """words for prompts: noun, verb, past; what is not given comes from the source"""
    options: dict[str, Any] = Field(default_factory=dict)
    """the reader's own options, e.g. ``{num_users = 1000}`` for ``planted``"""
    reader: str | None = None
    """the reader's name (``interlingua data list``); None: the one that recognises the source"""
    max_users: int | None = Field(None, ge=1)
    """a random sample of so many users, drawn before filtering"""
    as_prepared: bool = False
    """``name`` is a prepared folder that is used as it is; ``split`` and ``filter`` say how it was made"""

    @field_validator("split", mode="before")
    @classmethod
    def _split_name(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value

    @field_validator("domain")
    @classmethod
    def _domain_words(cls, value: dict[str, str]) -> dict[str, str]:
        if extra := set(value) - {"noun", "verb", "past"}:
            raise ValueError(f"unknown words {sorted(extra)}; known: noun, verb, past")
        return value


def prepare(
    source: Any,
    *,
    filter: FilterConfig | Mapping[str, Any] | None = None,  # the recipe's own word
    split: SplitConfig | Mapping[str, Any] | str | None = None,
    seed: int = 0,
    columns: Mapping[str, str] | None = None,
    clean: CleanConfig | Mapping[str, Any] | None = None,
    domain: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
    reader: str | None = None,
    max_users: int | None = None,
    quiet: bool = False,
) -> Prepared:
    """Reads a source, checks, filters and splits it.

    Args:
        source: a dataset's name, a file, a folder, a frame (pandas, Polars, Arrow) of events, a mapping with the
            frames ``interactions``, ``items`` and ``users`` (the last two optional), or columns as arrays. A prepared
            folder without further arguments is used as it is.
        filter: see :class:`FilterConfig`; as a mapping, ``{"min_user": 5}``, it is checked like a recipe's.
        split: see :class:`SplitConfig`; a name (``"global-time"``) or a mapping will do.
        seed: of random splits, samples and generated worlds.
        columns: role -> column of the source.
        clean: see :class:`CleanConfig`; a mapping will do.
        domain: words for prompts that replace the source's.
        options: the reader's own options.
        reader: name of the reader; None: the one that recognises the source.
        max_users: sample so many users before filtering.
        quiet: record steps and decisions without printing them.

    Raises:
        DataError: the source cannot be found, read, or used with this split.
        ConfigError: unknown or impossible options.
    """
    log = Log(quiet)
    filter = _options(FilterConfig, filter, "filter")
    clean = _options(CleanConfig, clean, "clean")
    split = _options(SplitConfig, {"name": split} if isinstance(split, str) else split, "split")
    if not any((filter, split, clean, columns, domain, options, reader, max_users)) and _is_prepared(source):
        log.note(f"{source} is a prepared dataset; it is used as it is")
        return load(_folder(source))
    raw = read(source, columns=columns or {}, options=options or {}, reader=reader, seed=seed, log=log)
    return prepare_raw(
        raw, filter=filter, split=split, seed=seed, clean=clean, domain=domain, max_users=max_users, log=log
    )


def _options(model: type[C], given: C | Mapping[str, Any] | None, name: str) -> C | None:
    """Options as an object of their class, whether they came as one or as a mapping."""
    if given is None or isinstance(given, model):
        return given
    if not isinstance(given, Mapping):
        raise ConfigError(f"{name} is {shown(given)}; give a {model.__name__} or a mapping of its options")
    return build(model, given, name)


def prepare_raw(
    raw: Raw,
    *,
    filter: FilterConfig | None = None,
    split: SplitConfig | None = None,
    seed: int = 0,
    clean: CleanConfig | None = None,
    domain: Mapping[str, str] | None = None,
    max_users: int | None = None,
    log: Log,
) -> Prepared:
    """:func:`prepare` for rows that a reader has found."""
    filter, split, clean = filter or FilterConfig(), split or SplitConfig(), clean or CleanConfig()
    events, kind = clean_events(raw, clean, log)
    texts = clean_texts(raw.items, "item_id", "item", clean, log, raw.items_where or raw.where)
    has_user_texts = raw.users is not None and raw.users.width > 1
    user_texts = None
    if has_user_texts:
        user_texts = clean_texts(raw.users, "user_id", "user", clean, log, raw.users_where or raw.where)
    raw.events = pl.DataFrame()  # ten million rows of strings need not wait for the end
    interactions, given = _encode(events, kind)
    del events
    interactions, given = _sampled(interactions, given, max_users, seed, log)
    mask = keep_mask(interactions.users, interactions.items, interactions.ratings, filter, log)
    extra = texts["item_id"] if filter.items_without_events == "keep" or raw.keep_items else None
    interactions, given = _compact(interactions, given, mask, extra)
    if not len(interactions):
        raise DataError(
            f"{raw.where or raw.name}: no events are left after filtering with {filter!r}; lower the thresholds"
        )
    catalogue = _catalogue(interactions, texts, user_texts, raw, domain or {}, log)
    parts, divided = divide(interactions, given, split, kind, seed, log)
    card = {
        "name": raw.name,
        "domain": vars(catalogue.domain),
        "time": {"kind": kind, "first": int(interactions.times.min()), "last": int(interactions.times.max())},
        "licence": raw.licence,
        "url": raw.url,
        "columns": dict(raw.columns),
        "filter": filter.model_dump(),
        "split": split.model_dump()
        | {"protocol": divided.protocol, "seed": seed, "valid_in_test_history": divided.valid_in_test_history},
        "clean": clean.model_dump(),
        "counts": {
            "users": interactions.num_users,
            "items": interactions.num_items,
            "events": len(interactions),
            "train": len(divided.train),
            "valid": len(divided.valid.items),
            "test": len(divided.test.items),
        },
        "steps": log.steps,
        "decisions": log.decisions,
        "warnings": log.warnings,
    }
    card["fingerprint"] = fingerprint(interactions, catalogue, parts, divided.protocol)
    return Prepared(interactions, catalogue, divided, card, parts, raw.path)


def prepare_config(config: DataConfig, seed: int, source: Any = None) -> Prepared:
    """:func:`prepare` with a recipe's section; ``source`` replaces ``config.name``.

    A prepared folder is used as it is where the section says so, or nothing but its name; else it is a source like any
    other.
    """
    source = config.name if source is None else source
    if config.as_prepared or (config.model_fields_set <= {"name"} and _is_prepared(source)):
        return prepare(_folder(source))
    return prepare(
        source,
        filter=config.filter,
        split=config.split,
        seed=seed,
        columns=config.columns,
        clean=config.clean,
        domain=config.domain,
        options=config.options,
        reader=config.reader,
        max_users=config.max_users,
    )


def _is_prepared(source: Any) -> bool:
    return is_prepared(_folder(source)) if isinstance(source, str | Path) else False


def _folder(source: Any) -> Any:
    """Where a named source lies, else what was given."""
    return here(str(source)) or source if isinstance(source, str | Path) else source


def _encode(events: pl.DataFrame, kind: TimeKind) -> tuple[Interactions, Parts | None]:
    """Events as rows of sorted ids, in the order (user, time)."""
    rows, ids = {}, {}
    for column in ("user_id", "item_id"):
        names = events[column].unique().sort()
        codes = events[column].cast(pl.Enum(names)).to_physical()
        rows[column], ids[column] = codes.cast(pl.Int32).to_numpy(), id_array(names)
    times = events["timestamp"].to_numpy()
    order = _order(rows["user_id"], times)
    ratings = events["rating"].to_numpy()[order] if "rating" in events.columns else None
    given = events["part"].to_numpy()[order] if "part" in events.columns else None
    users, items = rows["user_id"][order], rows["item_id"][order]
    return Interactions(ids["user_id"], ids["item_id"], users, items, times[order], ratings), given


def _order(users: npt.NDArray[np.int32], times: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Stable order by (user, time): one sort of one key where both fit into 63 bits, else two."""
    if not len(users):
        return np.zeros(0, np.int64)
    first, last = int(times.min()), int(times.max())
    span = last - first + 1
    if (int(users.max()) + 1) * span < 2**63:
        return np.argsort(users.astype(np.int64) * span + (times - first), kind="stable")
    return np.lexsort((times, users))


def _sampled(
    interactions: Interactions, given: Parts | None, max_users: int | None, seed: int, log: Log
) -> tuple[Interactions, Parts | None]:
    if max_users is None or max_users >= interactions.num_users:
        return interactions, given
    chosen = np.zeros(interactions.num_users, bool)
    chosen[np.random.default_rng(seed).permutation(interactions.num_users)[:max_users]] = True
    keep = chosen[interactions.users]
    log.step(f"sample of {max_users:,} users (seed {seed})", len(interactions), int(keep.sum()))
    return _compact(interactions, given, keep, None)


def _compact(
    interactions: Interactions, given: Parts | None, mask: npt.NDArray[np.bool_], extra: pl.Series | None
) -> tuple[Interactions, Parts | None]:
    """Only the events in ``mask``, with rows for the users and items that remain (and the items in ``extra``)."""
    kept = interactions.only(mask)
    has_user = np.bincount(kept.users, minlength=interactions.num_users) > 0
    has_item = np.bincount(kept.items, minlength=interactions.num_items) > 0
    user_row, item_row = np.cumsum(has_user) - 1, np.cumsum(has_item) - 1
    item_ids = interactions.item_ids[has_item]
    items = item_row[kept.items].astype(np.int32)
    if extra is not None:
        everything = pl.concat([pl.Series(item_ids.tolist(), dtype=pl.String), extra]).unique().sort()
        position = everything.cast(pl.Enum(everything)).to_physical()
        row_of = dict(zip(everything.to_list(), position.to_list(), strict=True))
        items = np.array([row_of[str(i)] for i in item_ids], np.int32)[items]
        item_ids = id_array(everything)
    users = user_row[kept.users].astype(np.int32)
    out = Interactions(interactions.user_ids[has_user], item_ids, users, items, kept.times, kept.ratings)
    return out, None if given is None else given[mask]


def _catalogue(
    interactions: Interactions,
    texts: pl.DataFrame,
    user_texts: pl.DataFrame | None,
    raw: Raw,
    domain: Mapping[str, str],
    log: Log,
) -> Catalogue:
    ids = interactions.item_ids.tolist()
    items = align_texts(texts, "item_id", ids)
    known = texts["item_id"].is_in(ids)
    log.decide(
        "catalogue items without an event, left out", int((~known).sum()), 'filter.items_without_events = "keep"'
    )
    untitled = int(items["title"].null_count())
    has_any = items.select(pl.any_horizontal(pl.col(c).is_not_null() for c in ("title", "description", "categories")))
    log.decide('items without a title, shown as "untitled item ID"', untitled, "columns.title, or titles in the source")
    log.decide(
        "items without any text, kept", len(ids) - int(has_any.to_series().sum()), "filter on texts in the source"
    )
    users = None
    if user_texts is not None:
        users = align_texts(user_texts, "user_id", interactions.user_ids.tolist())
    words = {key: domain.get(key, value) for key, value in vars(raw.domain).items()}
    return Catalogue(items, users, Domain(**words))
