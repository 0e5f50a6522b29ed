"""Amazon reviews of 2014, 2018 and 2023 with their metadata: json or jsonl, plain or gzipped.

2014: ``reviewerID asin overall unixReviewTime``, metadata as Python literals with nested categories. 2018: the same
names, strict JSON. 2023: ``user_id parent_asin rating timestamp`` in milliseconds, ``main_category``. Their csv files
of ratings alone are read as tables (reader ``table``).
"""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

import polars as pl

from interlingua.config import Config, build
from interlingua.data.datasets import AMAZON, BOOK, GAME, MOVIE, PRODUCT
from interlingua.data.files.guard import refuse_unused
from interlingua.data.files.opening import lines, read_json_lines
from interlingua.data.raw import Log, Source, SourceTables
from interlingua.errors import DataError

ENDINGS = (".json", ".jsonl", ".json.gz", ".jsonl.gz")
MAX_DESCRIPTION = 2_000
"""number of characters of a description that are kept"""
TAG = re.compile(r"<[^>]+>")
BY_WORD = {"book": BOOK, "kindle": BOOK, "game": GAME, "movie": MOVIE}
"""words of a file name that reveal the kind of item; any other item is a product"""


class AmazonConfig(Config):
    """Options of the reader ``amazon``."""

    meta: str | None = None
    """metadata file; None: the file beside the reviews that begins with ``meta`` and holds their name"""


class Amazon(Source):
    """Reads a reviews file, or a folder that holds one, and the metadata beside it."""

    @staticmethod
    def matches(path: Path) -> bool:
        """A json file whose first line has the fields of a review, or a folder with one."""
        if path.is_dir():
            return any(_is_review(file) for file in _json_files(path))
        return path.is_file() and path.name.endswith(ENDINGS) and _is_review(path)

    def read(
        self, path: Path, *, columns: dict[str, str], options: dict[str, Any], seed: int, log: Log
    ) -> SourceTables:
        """See :func:`interlingua.data.source.read`."""
        refuse_unused("amazon", "columns", columns, 'options.meta; the reader table reads any names (reader = "table")')
        config = build(AmazonConfig, options, "[data].options")
        reviews = path
        if path.is_dir():
            found = [file for file in _json_files(path) if _is_review(file)]
            if len(found) != 1:
                raise DataError(
                    f"{path} holds {len(found)} review files ({', '.join(f.name for f in found)}); give one"
                )
            reviews = found[0]
        events = read_json_lines(reviews, _review, ["user_id", "item_id", "rating", "timestamp"], log)
        meta = Path(config.meta).expanduser() if config.meta else _meta_of(reviews)
        items = None
        if meta is None:
            log.warn(f"no metadata (meta_*.json) beside {reviews}: the items have no texts; set options.meta")
        else:
            log.note(f"metadata: {meta}")
            names = ["item_id", "title", "description", "categories", "brand"]
            items = read_json_lines(meta, _item, names, log, literal=True)
            bought = events["item_id"].drop_nulls().unique()
            # the metadata of a whole category is many times the items of a 5-core; the count is shown
            before = items.height
            items = items.filter(pl.col("item_id").is_in(bought.implode()))
            log.step("metadata of reviewed items", before, items.height)
        word = next((w for w in BY_WORD if w in reviews.name.lower()), "")
        return SourceTables(
            events,
            items,
            name=reviews.name.split(".")[0],
            domain=BY_WORD.get(word, PRODUCT),
            licence=AMAZON,
            url="https://amazon-reviews-2023.github.io/",
            where=str(reviews),
            items_where=str(meta or ""),
            columns={
                "user_id": "reviewerID / user_id",
                "item_id": "asin / parent_asin",
                "timestamp": "unixReviewTime / timestamp",
            },
        )


def _json_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.name.endswith(ENDINGS))


def _is_review(path: Path) -> bool:
    import json

    try:
        first = json.loads(next(lines(path)))
    except (DataError, StopIteration, ValueError, UnicodeDecodeError):
        return False
    return isinstance(first, dict) and ("reviewerID" in first or {"user_id", "asin"} <= set(first))


def _meta_of(reviews: Path) -> Path | None:
    stem = re.sub(r"^(reviews_)", "", reviews.name.split(".")[0])
    stem = re.sub(r"(_5|_10)$", "", stem)
    found = [p for p in _json_files(reviews.parent) if p.name.startswith("meta")]
    named = [p for p in found if stem.lower() in p.name.lower()]
    if len(named) == 1:
        return named[0]
    return found[0] if len(found) == 1 else None


def _review(record: dict[str, Any]) -> tuple[Any, ...]:
    item = record.get("parent_asin") or record.get("asin")
    user = record.get("reviewerID") or record.get("user_id")
    time = record.get("unixReviewTime", record.get("timestamp", record.get("sort_timestamp")))
    return tuple(map(_one, (user, item, record.get("overall", record.get("rating")), time)))


def _one(value: Any) -> Any:
    """A value, or None if it is a list or an object: such a line counts as one without it."""
    return None if isinstance(value, list | tuple | dict) else value


def _item(record: dict[str, Any]) -> tuple[Any, ...]:
    categories = record.get("category") or record.get("categories") or record.get("main_category") or []
    return (
        _one(record.get("parent_asin") or record.get("asin")),
        _plain(record.get("title")),
        _plain(record.get("description"))[:MAX_DESCRIPTION],
        ", ".join(_leaves(categories)),
        _plain(record.get("brand") or record.get("store")),
    )


def _plain(value: Any) -> str:
    """Text without markup and entities, lists joined."""
    if isinstance(value, list | tuple):
        value = " ".join(str(v) for v in value if v)
    return html.unescape(TAG.sub(" ", str(value))).strip() if value else ""


def _leaves(value: Any) -> list[str]:
    """All names of a nested list, each once, in order."""
    found: dict[str, None] = {}

    def walk(inner: Any) -> None:
        if isinstance(inner, list | tuple):
            for one in inner:
                walk(one)
        elif inner:
            found[_plain(inner)] = None

    walk(value)
    return [name for name in found if name]
