"""MovieLens in its own layouts: ml-latest-small, 25M, 32M (csv), 1M, 10M (``::``); titles, genres, tags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from interlingua.config import Config, build
from interlingua.data.datasets import GROUPLENS, MOVIE
from interlingua.data.files.guard import refuse_unused, require_columns
from interlingua.data.files.opening import read_table
from interlingua.data.raw import Log, Source, SourceTables

DAT_COLUMNS = {
    "ratings": ["userId", "movieId", "rating", "timestamp"],
    "movies": ["movieId", "title", "genres"],
    "users": ["userId", "gender", "age", "occupation", "zipcode"],
}
NEEDED = {
    "ratings": ("userId", "movieId"),
    "movies": ("movieId", "title", "genres"),
    "tags": ("movieId", "tag"),
    "users": ("userId",),
}
"""required columns of a file"""
NO_GENRES = "(no genres listed)"
MAX_TAGS = 10
"""number of the most frequent tags of a movie that are kept"""


class MovielensConfig(Config):
    """Options of the reader ``movielens``."""

    tags: bool = True
    """keep the most frequent free tags in a separate column ``tags``; users write them after watching, held-out
    events included, so the default texts do not include them"""
    encoding: str | None = None
    """of the files, e.g. ``latin-1``; None: UTF-8, else Latin-1 (the ``.dat`` files of 1M are)"""


class Movielens(Source):
    """Reads a MovieLens folder: ratings, titles, genres, tags; users if there are any."""

    @staticmethod
    def matches(path: Path) -> bool:
        """A folder with ratings and movies as csv or dat."""
        return any((path / f"ratings.{end}").is_file() and (path / f"movies.{end}").is_file() for end in ("csv", "dat"))

    def read(
        self, path: Path, *, columns: dict[str, str], options: dict[str, Any], seed: int, log: Log
    ) -> SourceTables:
        """See :func:`interlingua.data.source.read`."""
        refuse_unused("movielens", "columns", columns, "options.tags; the reader table reads any names of one file")
        config = build(MovielensConfig, options, "[data].options")
        dat = (path / "ratings.dat").is_file()
        ratings = self._table(path, "ratings", dat, config, log)
        items = self._movies(self._table(path, "movies", dat, config, log))
        if not dat and config.tags and (path / "tags.csv").is_file():
            items = items.join(self._tags(self._table(path, "tags", dat, config, log)), on="item_id", how="left")
        users = None
        if dat and (path / "users.dat").is_file():
            users = self._table(path, "users", dat, config, log).rename({"userId": "user_id"})
        names = {"userId": "user_id", "movieId": "item_id"}
        return SourceTables(
            ratings.rename(names),
            items,
            users,
            name=path.name,
            domain=MOVIE,
            licence=GROUPLENS,
            url="https://grouplens.org/datasets/movielens/",
            time_unit="s",
            where=str(path / f"ratings.{'dat' if dat else 'csv'}"),
            items_where=str(path / f"movies.{'dat' if dat else 'csv'}"),
            users_where=str(path / "users.dat"),
            columns={role: column for column, role in names.items()} | {"rating": "rating", "timestamp": "timestamp"},
        )

    @staticmethod
    def _table(path: Path, name: str, dat: bool, config: MovielensConfig, log: Log) -> pl.DataFrame:
        file = path / f"{name}.{'dat' if dat else 'csv'}"
        if dat:
            table = read_table(
                file, log, separator="::", header=DAT_COLUMNS[name], quote=None, encoding=config.encoding
            )
        else:
            table = read_table(file, log, encoding=config.encoding)
        see = "rename it as MovieLens has it, or give the file of ratings alone with columns.* (reader table)"
        require_columns(table, NEEDED[name], str(file), see)
        return table

    @staticmethod
    def _movies(movies: pl.DataFrame) -> pl.DataFrame:
        genres = pl.col("genres").replace(NO_GENRES, None).str.replace_all("|", ", ", literal=True)
        return movies.select(pl.col("movieId").alias("item_id"), "title", genres.alias("categories"))

    @staticmethod
    def _tags(tags: pl.DataFrame) -> pl.DataFrame:
        """(item_id, tags): a movie's most frequent tags, ties by alphabet, so that the text never varies."""
        counted = (
            tags.with_columns(pl.col("tag").str.to_lowercase().str.strip_chars())
            .group_by("movieId", "tag")
            .len()
            .sort("movieId", "len", "tag", descending=[False, True, False])
        )
        return (
            counted.group_by("movieId", maintain_order=True)
            .agg(pl.col("tag").head(MAX_TAGS).str.join(", ").alias("tags"))
            .rename({"movieId": "item_id"})
        )
