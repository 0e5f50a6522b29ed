"""The data of a run together with a store's items and events, as one folder from which a recipe trains anew.

The run's source is read again, as its recipe says, and cleaned; nothing is filtered here: who was left out for too few
events may have enough now. A run that was trained from such a folder is traced back to its first source, so that what
a store has forgotten since is in no later training. What the source itself holds stays its owner's.

- Events of the store come after those of the source; one that the source has too (same user, item and second) counts
  once. A value is a rating where the source has ratings, or a label where it has labels; an event without one was
  liked, as in the service.
- An event is trained on once its item exists: the source has it (in its catalogue, or in an event), or the store. It
  stays in the store until then. A source without texts of items cannot tell: there every id is an item.
- A value off the scale of the source's (:mod:`interlingua.data.scale`) is a mistake: the event is left out.
- Items of the store are added, or replace the source's line of the same id as far as they say something. Deleted ones
  are gone, with their events. Unavailable ones stay: they are known, and the service lets none of them out.
- With ``split = "given"`` new events are training events.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from interlingua.config import build
from interlingua.data.clean import clean_events, clean_texts
from interlingua.data.prepare import DataConfig
from interlingua.data.raw import Log, SourceTables
from interlingua.data.scale import scale_of
from interlingua.data.source import read
from interlingua.errors import DataError, InterlinguaError
from interlingua.runs.new_items import CLEARED, lines_of
from interlingua.runs.stores import line_of
from interlingua.storage import durable
from interlingua.storage.artifact import content_key, disk, file_hash
from interlingua.storage.exact_files import read_parquet
from interlingua.storage.staging import staging

if TYPE_CHECKING:
    from interlingua.data.catalogue import Catalogue
    from interlingua.store import Item, Store

META = "meta.json"
LINEAGE = "refreshed"
"""entry of ``meta.json``: the first source's [data] and the newest event"""
AT_ONCE = 100_000
"""events of a store that are read together"""
SCHEMA = {
    "user_id": pl.String, "item_id": pl.String, "time": pl.Float64, "value": pl.Float64, "number": pl.Int64,
}  # fmt: skip
"""of events of a store"""


@dataclass(frozen=True)
class TrainingData:
    """Tables of events and texts, and what they were made of."""

    tables: dict[str, pl.DataFrame]
    """``interactions``, ``items``, and ``users`` if the source has texts of users"""
    meta: dict[str, Any]
    config: DataConfig
    """the recipe's [data] for the folder; its name is still the source's"""
    counts: dict[str, int] = field(default_factory=dict)
    """``events`` of the source; ``store_events`` beside them, and those of them since the former training
    (``new_events``); ``new_items`` (or changed ones), ``deleted_items`` since it; left out: ``waiting_events`` (their
    items do not exist) and ``strange_values``; ``newest``: number of the newest event that is in the data"""
    waiting: tuple[str, ...] = ()
    """items that do not exist, of ``waiting_events``"""

    def written(self, folder: Path) -> DataConfig:
        """Writes the tables below ``folder``, all or none; returns the recipe's [data] that reads them."""
        with disk(folder), staging(folder, "refresh") as temporary:
            for name, table in self.tables.items():
                table.write_parquet(temporary / f"{name}.parquet")
            (temporary / META).write_text(json.dumps(self.meta, indent=1, ensure_ascii=False), encoding="utf-8")
            key = content_key({path.name: file_hash(path) for path in sorted(temporary.iterdir())})
            final = folder / f"refresh-{key[:12]}"
            if not final.exists():
                durable.replace(temporary, final)
        return self.config.model_copy(update={"name": str(final.resolve())})


def lineage(config: DataConfig) -> dict[str, Any]:
    """What a refreshed [data] was made of: ``data`` of the first source, ``events``; empty for any other."""
    path = Path(config.name) / META
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get(LINEAGE)
    except (OSError, ValueError, AttributeError):
        return {}
    return found or {}


def first_source(config: DataConfig) -> DataConfig:
    """The [data] of the first source behind a refreshed one; any other is returned as it is."""
    found = lineage(config)
    return build(DataConfig, found["data"], f"{Path(config.name) / META} {LINEAGE}.data") if found else config


def training_data(
    config: DataConfig,
    seed: int,
    store: Store,
    catalogue: Catalogue,
    *,
    former: DataConfig | None = None,
    since: int = 0,
) -> TrainingData:
    """See the module.

    Args:
        config: the run's [data].
        seed: the run's.
        store: items and events.
        catalogue: the run's, whose columns the store's items are read by.
        former: [data] of the former training: items that it does not have are new; None: ``config``.
        since: newest event of the former training: later ones are new.

    Raises:
        DataError: the source is not here any more, or cannot be read.
    """
    first = first_source(config)
    log = Log(quiet=True)
    try:
        raw = read(
            first.name, columns=first.columns, options=first.options, reader=first.reader, seed=seed, log=log
        )  # fmt: skip
    except InterlinguaError as error:
        raise DataError(f"{error}\nthe data of the run are read again; name where they are now with --data") from None
    texts = clean_texts(raw.items, "item_id", "item", first.clean, log, raw.items_where or raw.where)
    users = None
    if raw.users is not None and raw.users.width > 1:
        users = clean_texts(raw.users, "user_id", "user", first.clean, log, raw.users_where or raw.where)
    own, kind = clean_events(raw, first.clean, log)
    own = _own(own, first)
    changed = store.changed_items()
    gone = [item.item_id for item in changed if item.deleted]
    events, strange = _events(store, own, first, kind)
    known = _existing(raw, texts, own, changed)
    waiting = events.head(0) if known is None else events.join(known, on="item_id", how="anti")
    events = events.join(waiting, on="number", how="anti")
    joined = _joined(own, events, kind).filter(~pl.col("item_id").is_in(gone))
    of_store = joined.filter(pl.col("number") > 0)["number"]
    tables = {"interactions": joined.select(own.columns), "items": _items(texts, changed, catalogue)}
    tables |= {} if users is None else {"users": users}
    unit, newest = {"seconds": "s"}.get(kind, "order"), int(events["number"].max() or 0)  # type: ignore[arg-type]
    meta = {
        "name": raw.name, "domain": vars(raw.domain), "licence": raw.licence, "url": raw.url,
        "item_names": log.item_names, "timestamp_kind": unit,
        LINEAGE: {"data": first.model_dump(mode="json"), "events": newest},
    }  # fmt: skip
    new, deleted = _different(tables["items"], _former_items(former or config, texts))
    counts = {
        "events": own.height, "store_events": len(of_store), "new_events": int((of_store > since).sum()),
        "new_items": new, "deleted_items": deleted, "waiting_events": waiting.height, "strange_values": strange,
        "newest": newest,
    }  # fmt: skip
    names = waiting["item_id"].unique(maintain_order=True).to_list()
    return TrainingData(tables, meta, _config(config, raw, log, unit), counts, tuple(names))


def _existing(source: SourceTables, texts: pl.DataFrame, own: pl.DataFrame, changed: list[Item]) -> pl.DataFrame | None:
    """``item_id`` of the items that exist, deleted ones too; None: nothing tells, and every id is an item."""
    if source.items is None:
        return None
    known = [texts["item_id"], own["item_id"], pl.Series("item_id", [item.item_id for item in changed], pl.String)]
    return pl.concat(known).unique().to_frame()


def _former_items(former: DataConfig, texts: pl.DataFrame) -> pl.DataFrame:
    """The lines of items of the former training's data."""
    path = Path(former.name) / "items.parquet"
    return read_parquet(path) if lineage(former) and path.is_file() else texts


def _different(items: pl.DataFrame, former: pl.DataFrame) -> tuple[int, int]:
    """How many lines are new or say something else than before, and how many are gone."""
    further = [column for column in items.columns if column not in former.columns]
    former = former.with_columns(pl.lit(None, pl.String).alias(column) for column in further)
    new = items.join(former, on=items.columns, how="anti", nulls_equal=True)
    return new.height, former.join(items, on="item_id", how="anti").height


def _config(config: DataConfig, raw: SourceTables, log: Log, unit: str) -> DataConfig:
    """The run's rules for tables that have the roles' own names."""
    clean = config.clean.model_copy(update={"time_unit": unit})
    columns = {"label": "label"} if "label" in config.columns else {}
    changed: dict[str, Any] = {"columns": columns, "options": {}, "reader": "parquet_folder", "as_prepared": False}
    return DataConfig(**{**dict(config), **changed, "clean": clean, "name": raw.name})


def _own(events: pl.DataFrame, config: DataConfig) -> pl.DataFrame:
    """The source's events with times in one column, and no part that the split does not read."""
    if "fraction" in events.columns:
        events = events.with_columns(pl.col("timestamp") + pl.col("fraction")).drop("fraction")
    if config.split.name != "given":
        events = events.drop("part", strict=False)
    if "label" in events.columns:
        events = events.with_columns(pl.col("label").cast(pl.String))
    return events


def _events(store: Store, own: pl.DataFrame, config: DataConfig, kind: str) -> tuple[pl.DataFrame, int]:
    """Events of the store with the columns of the source's and their ``number``; how many have an impossible value."""
    ratings = own["rating"].to_numpy() if "rating" in own.columns else None
    labelled = config.label is not None or "label" in config.columns
    scale, newest, parts, strange = scale_of(ratings, labelled), 0, list[pl.DataFrame](), 0
    while (part := store.event_columns(since=newest, limit=AT_ONCE)).number:
        newest = part.number[-1]
        table = pl.DataFrame(part._asdict(), SCHEMA)
        fits = pl.Series([scale.fits(value) for value in part.value], dtype=pl.Boolean)
        strange += int((~fits).sum())
        if ratings is None and not labelled:  # no threshold of the data tells: 1 is a liking, 0 is none
            fits &= (table["value"] > 0).fill_null(True)
        parts.append(_frame(table.filter(fits), own, config, kind))
    return pl.concat(parts) if parts else _frame(pl.DataFrame(schema=SCHEMA), own, config, kind), strange


def _frame(table: pl.DataFrame, own: pl.DataFrame, config: DataConfig, kind: str) -> pl.DataFrame:
    """Events of the store with the columns of the source's, and their number."""
    table = table.rename({"time": "timestamp"})
    if kind != "seconds":  # positions: after everything that the source has
        last = int(own["timestamp"].cast(pl.Int64).to_numpy().max(initial=0))
        table = table.with_columns(timestamp=(pl.col("number") + last).cast(pl.Float64))
    at_least = None if config.label is None else config.label.at_least
    liked = pl.lit(max((each for each in (at_least, config.filter.min_rating) if each), default=None), pl.Float64)
    by_role = {
        "rating": pl.coalesce("value", liked).cast(own.schema.get("rating", pl.Float32)),
        "label": (pl.col("value").fill_null(1.0) >= 1).cast(pl.Int8).cast(pl.String),
        "part": pl.lit(0).cast(own.schema.get("part", pl.Int8)),  # train
    }
    table = table.with_columns(by_role[role].alias(role) for role in by_role if role in own.columns)
    return table.select(*own.columns, "number")


def _joined(own: pl.DataFrame, new: pl.DataFrame, kind: str) -> pl.DataFrame:
    """The source's events, then those of the store that it does not have; ``number`` is 0 for the source's."""
    own = own.with_columns(pl.lit(0, pl.Int64).alias("number"))
    if not new.height:
        return own
    own = own.with_columns(pl.col("timestamp").cast(pl.Float64))
    if kind == "seconds":
        second = pl.col("timestamp").floor().cast(pl.Int64).alias("_second")
        keys = ["user_id", "item_id", "_second"]
        new = new.with_columns(second).join(
            own.select("user_id", "item_id", second), on=keys, how="anti", maintain_order="left"
        )
    return pl.concat([own, new.select(*own.columns)])


def _items(texts: pl.DataFrame, changed: list[Item], catalogue: Catalogue) -> pl.DataFrame:
    """The source's lines, with the store's over and below them, without those of items that were deleted.

    Of an item that was added again nothing is left but what was said then.
    """
    lines, _, _ = lines_of([line_of(item) for item in changed if not item.deleted], catalogue)
    texts = texts.filter(~pl.col("item_id").is_in([each.item_id for each in changed if each.deleted or each.whole]))
    further = [column for column in lines.columns if column not in texts.columns]
    wide = texts.with_columns(pl.lit(None, pl.String).alias(column) for column in further)
    wide = wide.update(lines, on="item_id", how="left")
    new = lines.filter(~pl.col("item_id").is_in(texts["item_id"]))
    return pl.concat([wide, new], how="diagonal").with_columns(pl.col(pl.String).replace(CLEARED, None))
