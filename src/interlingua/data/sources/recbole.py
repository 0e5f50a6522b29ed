"""RecBole's atomic files: ``name.inter``, ``name.item``, ``name.user``; tab separated, with typed headers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from interlingua.config import Config, build
from interlingua.data.files.columns import EVENT_ROLES, ITEM_ROLES, USER_ROLES, Roles, check_texts, rename
from interlingua.data.files.opening import check_file, read_table
from interlingua.data.raw import Log, Source, SourceTables
from interlingua.errors import DataError


class RecboleConfig(Config):
    """Options of the reader ``recbole``."""

    encoding: str | None = None
    """of the files, e.g. ``latin-1``; None: UTF-8, else Latin-1"""


class Recbole(Source):
    """Reads a folder of atomic files, or one ``.inter`` file with its siblings.

    Columns are named ``field:type`` with the types token, token_seq, float, float_seq. A file of a benchmark split
    (``name.train.inter``, ``name.valid.inter``, ``name.test.inter``) gives the parts.
    """

    @staticmethod
    def matches(path: Path) -> bool:
        """An ``.inter`` file, or a folder that holds one."""
        return (path.suffix == ".inter" and path.is_file()) or (path.is_dir() and any(path.glob("*.inter")))

    def read(
        self, path: Path, *, columns: dict[str, str], options: dict[str, Any], seed: int, log: Log
    ) -> SourceTables:
        """See :func:`interlingua.data.source.read`."""
        config = build(RecboleConfig, options, "[data].options")
        files = sorted(path.glob("*.inter")) if path.is_dir() else [path]
        if not files:
            raise DataError(f"{path} holds no .inter file")
        parts = {p: f for f in files for p in ("train", "valid", "test") if f.stem.endswith(f".{p}")}
        if not parts and len(files) > 1:
            raise DataError(
                f"{path} holds {len(files)} .inter files ({', '.join(f.name for f in files[:4])}); give the path of one"
            )
        given = self._plain(columns)
        if parts:
            tables = [self._table(f, config, log).with_columns(pl.lit(p).alias("part")) for p, f in parts.items()]
            events = pl.concat(tables, how="diagonal")
            stem = files[0].stem.rsplit(".", 1)[0]
        else:
            events, stem = self._table(files[0], config, log), files[0].stem
        events, used = rename(events, EVENT_ROLES, given, str(files[0]), log)
        texts = {}
        read: dict[str, tuple[Roles, list[str]]] = {str(files[0]): (EVENT_ROLES, events.columns)}
        for ending, roles in (("item", ITEM_ROLES), ("user", USER_ROLES)):
            file = files[0].with_name(f"{stem}.{ending}")
            if file.is_file():
                table = self._table(file, config, log)
                read[str(file)] = roles, table.columns
                own = {r: c for r, c in given.items() if c in table.columns}
                texts[ending] = rename(table, roles, own, str(file), log)[0]
        check_texts(given, read)
        items = texts.get("item")
        if items is not None:
            items = items.with_columns(
                pl.col(c).str.replace_all(" ", ", ", literal=True) for c in items.columns if c == "categories"
            )
        return SourceTables(
            events,
            items,
            texts.get("user"),
            name=stem,
            where=str(files[0]),
            items_where=str(files[0].with_name(f"{stem}.item")),
            users_where=str(files[0].with_name(f"{stem}.user")),
            columns=used,
        )

    @staticmethod
    def _plain(columns: dict[str, str]) -> dict[str, str]:
        return {role: column.split(":")[0] for role, column in columns.items()}

    @staticmethod
    def _table(path: Path, config: RecboleConfig, log: Log) -> pl.DataFrame:
        """The table with the types removed from its column names; the header must have them."""
        check_file(path)
        frame = read_table(path, log, separator="\t", quote=None, encoding=config.encoding)
        if not all(":" in name for name in frame.columns):
            raise DataError(
                f"{path}: an atomic file's header reads user_id:token, item_id:token, ...; got {frame.columns}; "
                'for a plain table use reader = "table"'
            )
        return frame.rename({name: name.split(":")[0] for name in frame.columns})
