"""From a source to a prepared dataset: read, check, filter, split; one card records every change of the rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import polars as pl
from pydantic import Field, field_validator

from interlingua.config import C, Config, build
from interlingua.data.catalogue import Catalogue
from interlingua.data.clean import CleanConfig, align_texts, clean_events, clean_texts
from interlingua.data.domain import Domain
from interlingua.data.encode import compact, encode, sampled
from interlingua.data.filter import FilterConfig, keep_mask
from interlingua.data.interactions import Interactions
from interlingua.data.label import LabelConfig, label_events
from interlingua.data.meeting import check_meeting, warn_of_forms
from interlingua.data.positions import what_times
from interlingua.data.prepared import Dataset, fingerprint, is_prepared, load, save
from interlingua.data.raw import Log, SourceTables
from interlingua.data.source import here, read
from interlingua.data.split import Split
from interlingua.data.splitting import SplitConfig, divide
from interlingua.errors import ConfigError, DataError, shown
from interlingua.progress import say

__all__ = [
    "DataConfig",
    "Dataset",
    "FilterConfig",
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
    """treatment of rows that cannot be used"""
    columns: dict[str, str] = Field(default_factory=dict)
    """role -> column of the source, e.g. ``{user_id = "reader", item_id = "isbn"}``; the rest is guessed and shown;
    ``time_format``: format of the times, as for ``strptime``, or ``unix``, ``unix-ms``"""
    domain: dict[str, str] = Field(default_factory=dict)
    """words for prompts: noun, verb, past; missing ones come from the source"""
    options: dict[str, Any] = Field(default_factory=dict)
    """the reader's own options, e.g. ``{num_users = 1000}`` for ``planted``"""
    reader: str | None = None
    """the reader's name (``interlingua data list``); None: the one that recognises the source"""
    max_users: int | None = Field(None, ge=1)
    """a random sample of this number of users, drawn before filtering"""
    label: LabelConfig | None = None
    """which events a user liked, e.g. ``{at_least = 4}``; None: all of them"""
    texts: Literal["own", "shuffled"] = "own"
    """``shuffled``: a control: the items' texts, titles too, are dealt out at random among them. What reads texts must
    lose by it, what reads ids alone must not"""
    as_prepared: bool = False
    """``name`` is a prepared folder that is used unchanged; ``split`` and ``filter`` say how it was made"""

    def is_read(self, name: str) -> bool:
        """The usual ``texts`` are not stored: keys of stages are those of versions without the option."""
        return super().is_read(name) and (name != "texts" or self.texts != "own")

    def makes(self) -> frozenset[str]:
        """Words (see :mod:`interlingua.contracts.component`) that the data make; a prepared folder may have labels."""
        labelled = self.label is not None or "label" in self.columns or self.as_prepared or _is_prepared(self.name)
        return frozenset({"order", "times"} | ({"labels"} if labelled else set()))

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
    label: LabelConfig | Mapping[str, Any] | None = None,
    texts: Literal["own", "shuffled"] = "own",
    quiet: bool = False,
) -> Dataset:
    """Reads a source, checks, filters and splits it.

    Args:
        source: a dataset's name, a file, a folder, a frame (pandas, Polars, Arrow) of events, a mapping with the
            frames ``interactions``, ``items`` and ``users`` (the last two optional), or columns as arrays. A prepared
            folder without further arguments is used unchanged.
        filter: see :class:`FilterConfig`; as a mapping, ``{"min_user": 5}``, it is checked like a recipe's.
        split: see :class:`SplitConfig`; a name (``"global-time"``) or a mapping will do.
        seed: of random splits, samples and generated worlds.
        columns: role -> column of the source.
        clean: see :class:`CleanConfig`; a mapping will do.
        domain: words for prompts that replace the source's.
        options: the reader's own options.
        reader: name of the reader; None: the one that recognises the source.
        max_users: sample this number of users before filtering.
        label: see :class:`LabelConfig`; a mapping will do. ``columns`` that name a label request it, too.
        texts: ``shuffled``: the items' texts are dealt out at random among them, as a control.
        quiet: record steps and decisions without printing them.

    Raises:
        DataError: the source cannot be found, read, or used with this split.
        ConfigError: unknown or impossible options.
    """
    log = Log(quiet)
    filter = _options(FilterConfig, filter, "filter")
    clean = _options(CleanConfig, clean, "clean")
    label = _options(LabelConfig, label, "label")
    if label is None and "label" in (columns or {}):
        label = LabelConfig()
    split = _options(SplitConfig, {"name": split} if isinstance(split, str) else split, "split")
    plain = texts == "own" and not any((filter, split, clean, columns, domain, options, reader, max_users, label))
    if plain and _is_prepared(source):
        log.note(f"{source} is a prepared dataset; it is used as it is")
        return load(_folder(source))
    raw = read(source, columns=columns or {}, options=options or {}, reader=reader, seed=seed, log=log)
    return prepare_raw(
        raw, filter=filter, split=split, seed=seed, clean=clean, domain=domain, max_users=max_users, label=label,
        texts=texts, log=log,
    )  # fmt: skip


def _options(model: type[C], given: C | Mapping[str, Any] | None, name: str) -> C | None:
    """Options as an object of their class, from such an object or a mapping."""
    if given is None or isinstance(given, model):
        return given
    if not isinstance(given, Mapping):
        raise ConfigError(f"{name} is {shown(given)}; give a {model.__name__} or a mapping of its options")
    return build(model, given, name)


def prepare_raw(
    raw: SourceTables,
    *,
    filter: FilterConfig | None = None,
    split: SplitConfig | None = None,
    seed: int = 0,
    clean: CleanConfig | None = None,
    domain: Mapping[str, str] | None = None,
    max_users: int | None = None,
    label: LabelConfig | None = None,
    texts: Literal["own", "shuffled"] = "own",
    log: Log,
) -> Dataset:
    """:func:`prepare` for tables that a reader returned."""
    filter, split, clean = filter or FilterConfig(), split or SplitConfig(), clean or CleanConfig()
    ties = tie_rule(raw, clean)
    events, kind = clean_events(raw, clean, log)
    events = label_events(events, label, raw.where or raw.name, log)
    item_texts = clean_texts(raw.items, "item_id", "item", clean, log, raw.items_where or raw.where)
    user_texts = None
    if raw.users is not None and raw.users.width > 1:
        user_texts = clean_texts(raw.users, "user_id", "user", clean, log, raw.users_where or raw.where)
    _check_ids(events, item_texts, user_texts, raw, log)
    raw.events = pl.DataFrame()  # ten million rows of strings need not wait for the end
    interactions, given = encode(events, "hash" if ties == "hash" and raw.ties is None else "file", log)
    del events
    times = raw.times or what_times(interactions, kind, raw.time_unit, ties)
    if kind == "seconds" and times == "positions":
        log.warn("every user's times are 0, 1, 2, ...: they are taken for positions in the user's own history")
        kind = "order"
    interactions, given = sampled(interactions, given, max_users, seed, log)
    had, mask = interactions, keep_mask(interactions.users, interactions.items, interactions.ratings, filter, log)
    extra = item_texts["item_id"] if filter.items_without_events == "keep" or raw.keep_items else None
    interactions, given = compact(interactions, given, mask, extra)
    if not len(interactions):
        raise _nothing_left(raw.where or raw.name, len(mask), filter)
    catalogue = _catalogue(interactions, item_texts, user_texts, raw, domain or {}, had, log)
    if texts == "shuffled":
        catalogue = catalogue.with_shuffled_texts(seed, log)
    parts, divided = divide(interactions, given, split, kind, seed, log, ties, times)
    first, last = int(interactions.times.min()), int(interactions.times.max())
    card = {
        "name": raw.name,
        "domain": vars(catalogue.domain),
        "time": {"kind": kind, "times": times, "ties": ties, "first": first, "last": last},
        "licence": raw.licence,
        "url": raw.url,
        "columns": dict(raw.columns),
        "item_names": log.item_names,
        "reading": log.reading,
        "filter": filter.model_dump(),
        "split": split.model_dump() | _divided_how(divided, seed),
        "clean": clean.model_dump(),
        **({} if label is None else {"label": label.model_dump()}),
        "counts": _counts(interactions, divided),
        "steps": log.steps,
        "decisions": log.decisions,
        "warnings": log.warnings,
    }
    card["fingerprint"] = fingerprint(interactions, catalogue, parts, divided.protocol)
    return Dataset(interactions, catalogue, divided, card, parts, raw.path)


def _check_ids(
    events: pl.DataFrame, items: pl.DataFrame, users: pl.DataFrame | None, raw: SourceTables, log: Log
) -> None:
    """Compares ids of the texts with the events, for texts in separate tables; says which are alike and stay apart."""
    here = raw.where or raw.name
    for what, texts in (("item", items), ("user", users)):
        own = [] if texts is None else [texts[f"{what}_id"]]
        warn_of_forms(pl.concat([events[f"{what}_id"], *own]), what, log)
    if raw.items is not None:
        check_meeting(events["item_id"], items["item_id"], "item", raw.items_where or here, here, log)
    if users is not None:
        check_meeting(events["user_id"], users["user_id"], "user", raw.users_where or here, here, log)


def _divided_how(split: Split, seed: int) -> dict[str, Any]:
    how = {"protocol": split.protocol, "seed": seed, "valid_in_test_history": split.valid_in_test_history}
    unseen = {} if split.shown is None else {"unseen": True}
    return how | {"notes": list(split.notes)} | unseen


def _counts(interactions: Interactions, split: Split) -> dict[str, int]:
    held = {"train": len(split.train), "valid": len(split.valid.items), "test": len(split.test.items)}
    return {
        "users": interactions.num_users,
        "items": interactions.num_items,
        "events": len(interactions),
        **held,
    }


def tie_rule(raw: SourceTables, clean: CleanConfig) -> str:
    """The order of events with equal times: ``hash``, ``file``, or ``rows`` if there are no times at all.

    The rows of a prepared dataset are already in their order: its own rule stays valid.
    """
    events = raw.events
    untimed = raw.time_unit == "none" and clean.time_unit == "auto"
    if untimed or "timestamp" not in events.columns or events["timestamp"].null_count() == events.height:
        return "rows"
    return raw.ties or clean.ties


def prepare_config(config: DataConfig, seed: int, source: Any = None) -> Dataset:
    """:func:`prepare` with a recipe's section; ``source`` replaces ``config.name``.

    A prepared folder is used unchanged if the section says so or has only its name; else it is a source like any other.
    """
    source = config.name if source is None else source
    if config.as_prepared or (config.model_fields_set <= {"name"} and _is_prepared(source)):
        made = prepare(_folder(source))
        for warning in made.card["warnings"]:
            say(f"warning: {source}, as it was prepared: {warning}")
        return made
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
        label=config.label,
        texts=config.texts,
    )


def _is_prepared(source: Any) -> bool:
    return is_prepared(_folder(source)) if isinstance(source, str | Path) else False


def _folder(source: Any) -> Any:
    """The path of a named source, else the given value."""
    return here(str(source)) or source if isinstance(source, str | Path) else source


def _nothing_left(where: str, had: int, config: FilterConfig) -> DataError:
    fields = FilterConfig.model_fields
    used = ", ".join(f"{name} = {value}" for name, value in config if value != fields[name].default)
    return DataError(
        f"{where}: of {had:,} events none is left after the filter ({used or 'its defaults'}); "
        "lower it, e.g. --set data.filter.min_user=1 --set data.filter.min_item=1"
    )


def _catalogue(
    interactions: Interactions,
    texts: pl.DataFrame,
    user_texts: pl.DataFrame | None,
    raw: SourceTables,
    domain: Mapping[str, str],
    had: Interactions,
    log: Log,
) -> Catalogue:
    """``had``: the events before the filter."""
    ids = interactions.item_ids.tolist()
    items = align_texts(texts, "item_id", ids)
    gone = texts.filter(~pl.col("item_id").is_in(ids))["item_id"]
    filtered = int(gone.is_in(had.item_ids[had.item_counts > 0].tolist()).sum())
    keep = 'filter.items_without_events = "keep"'
    log.decide("catalogue items without an event, left out", len(gone) - filtered, keep)
    log.decide(
        "catalogue items whose events the filter left out", filtered,
        f"filter.min_item, filter.min_user and what else [data.filter] has; {keep} keeps their rows",
    )  # fmt: skip
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
    return Catalogue(items, users, Domain(**words), log.item_names)
