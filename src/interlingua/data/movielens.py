"""MovieLens in its own layouts: ml-latest-small, 25M, 32M (csv), 1M, 10M (``::``); titles, genres, tags."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import polars as pl

from interlingua.data.datasets import GROUPLENS, MOVIE
from interlingua.data.files import read_table
from interlingua.data.raw import Log, Raw
from interlingua.errors import DataError

DAT_COLUMNS = {
    "ratings": ["userId", "movieId", "rating", "timestamp"],
    "movies": ["movieId", "title", "genres"],
    "users": ["userId", "gender", "age", "occupation", "zipcode"],
}
NO_GENRES = "(no genres listed)"
MAX_TAGS = 10
"""Most frequent tags of a movie that are kept"""


class Movielens:
    """Reads a MovieLens folder. Option ``tags`` (default True): keep free tags in a column ``tags`` of their own.

    Tags are written by users after watching, held-out events included, so they are no part of the default texts.
    """

    kind: ClassVar[str] = "data"

    @staticmethod
    def matches(path: Path) -> bool:
        """A folder with ratings and movies as csv or dat."""
        return any((path / f"ratings.{end}").is_file() and (path / f"movies.{end}").is_file() for end in ("csv", "dat"))

    def read(self, path: Path, *, columns: dict[str, str], options: dict[str, Any], seed: int, log: Log) -> Raw:
        """See :func:`interlingua.data.source.read`."""
        if unknown := set(options) - {"tags"}:
            raise DataError(f"the reader movielens has no option {sorted(unknown)}; it has: tags")
        dat = (path / "ratings.dat").is_file()
        ratings = self._table(path, "ratings", dat, log)
        items = self._movies(self._table(path, "movies", dat, log))
        if not dat and options.get("tags", True) and (path / "tags.csv").is_file():
            items = items.join(self._tags(self._table(path, "tags", dat, log)), on="item_id", how="left")
        users = None
        if dat and (path / "users.dat").is_file():
            users = self._table(path, "users", dat, log).rename({"userId": "user_id"})
        names = {"userId": "user_id", "movieId": "item_id"}
        return Raw(
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
    def _table(path: Path, name: str, dat: bool, log: Log) -> pl.DataFrame:
        if dat:
            return read_table(path / f"{name}.dat", log, separator="::", header=DAT_COLUMNS[name], quotes=False)
        return read_table(path / f"{name}.csv", log)

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
