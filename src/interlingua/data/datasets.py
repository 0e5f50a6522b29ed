"""Datasets that are known by name: their words in prompts, licence and origin.

One entry adds one. A package adds one by an entry point in the group ``interlingua.dataset`` that names a
:class:`NamedDataset`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points

from interlingua.data.domain import Domain
from interlingua.errors import ConfigError, shown

MOVIE = Domain("movie", "watch", "watched")
PRODUCT = Domain("product", "buy", "bought")
GAME = Domain("game", "play", "played")
BOOK = Domain("book", "read", "read")
PLACE = Domain("place", "visit", "visited")

GROUPLENS = "GroupLens terms: research use, no redistribution under other terms, no commercial use without permission"
AMAZON = "no licence stated; the publishers ask for citation and research use"
ACADEMIC = "no licence stated by the source; research use"
PARQUET = "interactions.parquet (user_id, item_id, timestamp, rating[, split]) and items.parquet (item_id, title, ...)"


@dataclass(frozen=True)
class Download:
    """One archive on the internet."""

    url: str
    sha256: str | None
    """None: the publisher gives none and we have not seen the file; the computed sum is printed and stored"""
    size_bytes: int | None = None


@dataclass(frozen=True)
class NamedDataset:
    """A named dataset."""

    name: str
    reader: str | None
    """name of the component that reads it; None: the one that recognises the folder"""
    domain: Domain
    licence: str
    url: str
    """page or file where it can be found"""
    layout: str = PARQUET
    """the files that the folder must hold"""
    download: Download | None = None
    folders: tuple[str, ...] = ()
    """other names that the folder may have"""
    generated: bool = False
    about: str = ""
    """one line for the listing"""


def _movielens(name: str, archive: str, sha256: str | None, size_bytes: int | None, about: str) -> NamedDataset:
    url = f"https://files.grouplens.org/datasets/movielens/{archive}.zip"
    layout = "ratings.dat, movies.dat, users.dat" if archive == "ml-1m" else "ratings.csv, movies.csv, tags.csv"
    download = Download(url, sha256, size_bytes)
    return NamedDataset(
        name,
        "movielens",
        MOVIE,
        GROUPLENS,
        url,
        layout,
        download,
        (archive,) if archive != "ml-1m" else (),
        about=about,
    )


_ALL = (
    NamedDataset(
        "planted",
        "planted",
        Domain("book", "read", "read"),
        "generated, no rights reserved",
        "",
        generated=True,
        about="a generated world: users with tastes, items with texts that reveal them, cold items",
    ),
    _movielens(
        "movielens-small",
        "ml-latest-small",
        "696d65a3dfceac7c45750ad32df2c259311949efec81f0f144fdfb91ebc9e436",
        978_202,
        "610 users, 9,742 movies, 100,836 ratings; titles, genres, tags; times in seconds",
    ),
    _movielens(
        "movielens-1m",
        "ml-1m",
        "a6898adb50b9ca05aa231689da44c217cb524e7ebd39d264c56e2832f2c54e20",
        5_917_549,
        "6,040 users, 3,883 movies, 1,000,209 ratings; titles, genres",
    ),
    _movielens(
        "movielens-25m",
        "ml-25m",
        "8b21cfb7eb1706b4ec0aac894368d90acf26ebdfb6aced3ebd4ad5bd1eb9c6aa",
        261_978_986,
        "162,541 users, 62,423 movies, 25,000,095 ratings; genres, tags",
    ),
    _movielens("movielens-32m", "ml-32m", None, None, "200,948 users, 87,585 movies, 32,000,204 ratings; genres, tags"),
    NamedDataset(
        "ml-1m",
        "parquet-folder",
        MOVIE,
        GROUPLENS,
        "https://grouplens.org/datasets/movielens/1m/",
        about="SASRec's ML-1M: 6,040 users, 3,416 movies, 999,611 events in order; titles, genres, plots for 90 %",
    ),
    NamedDataset(
        "amazon-beauty-2014",
        "parquet-folder",
        PRODUCT,
        AMAZON,
        "https://jmcauley.ucsd.edu/data/amazon/",
        about="5-core Beauty of SASRec and P5: 22,363 users, 12,101 products, 198,502 events in order; titles, brands",
    ),
    NamedDataset(
        "amazon-games-2018",
        "parquet-folder",
        GAME,
        AMAZON,
        "https://nijianmo.github.io/amazon/",
        about="5-core Video Games: 50,546 users, 16,859 games, 452,989 events in order; titles",
    ),
    NamedDataset(
        "rlmrec-amazon",
        "rlmrec",
        BOOK,
        ACADEMIC,
        "https://github.com/HKUDS/RLMRec",
        about="RLMRec's Amazon-book with its given 3:1:1 split: 11,000 users, 9,332 books; no texts, no times",
    ),
    NamedDataset(
        "xrec-yelp-profiles",
        "rlmrec",
        PLACE,
        ACADEMIC,
        "https://github.com/HKUDS/XRec",
        about="2,228 users, 2,473 places with LLM-written profiles (which may have seen held-out reviews), given split",
    ),
)
KNOWN: dict[str, NamedDataset] = {dataset.name: dataset for dataset in _ALL}
"""Named datasets of this repository, by name"""


@cache
def named() -> dict[str, NamedDataset]:
    """All named datasets, plug-ins included.

    Raises:
        ConfigError: an entry point that names something else, or a dataset with another name or with a taken name.
    """
    found = dict(KNOWN)
    for point in entry_points(group="interlingua.dataset"):
        dataset = point.load()
        if not isinstance(dataset, NamedDataset):
            raise ConfigError(
                f"the entry point interlingua.dataset {point.name!r} ({point.value}) names {shown(dataset)}, which is "
                "no interlingua.data.datasets.NamedDataset"
            )
        if dataset.name != point.name or point.name in found:
            said = "is taken already" if point.name in found else f"names a dataset called {dataset.name!r}"
            raise ConfigError(f"the entry point interlingua.dataset {point.name!r} ({point.value}) {said}; rename it")
        found[point.name] = dataset
    return found
