"""A generated world: users with tastes, items whose texts match them, times, and items that appear only at the end.

Items belong to themes and are ordered as a series within their theme. A user likes a few themes, mostly reads
the next of a series, and sometimes something popular. Titles, categories and descriptions are ordinary words of the
item's theme. Cold items are only ever read last: under leave-one-out they have test events and no training event.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from interlingua.config import Config, build
from interlingua.data.domain import Domain
from interlingua.data.files.guard import refuse_unused
from interlingua.data.prepare import Dataset, SplitConfig, prepare_raw
from interlingua.data.raw import Log, Source, SourceTables
from interlingua.data.sources._planted_words import ADJECTIVES, NOUNS, THEMES

FIRST_DAY_S = 1_577_836_800
"""1 January 2020"""
DAY_S = 86_400
SPREAD_DAYS = 700


class PlantedConfig(Config):
    """Size and behaviour of the world."""

    num_users: int = Field(default=400, ge=1)
    """users"""
    num_items: int = Field(default=200, ge=4)
    """items, cold ones included"""
    num_themes: int | None = Field(default=None, ge=1, le=len(THEMES))
    """groups of items that are liked together, with a vocabulary each; None: one for every 12 items, at least 2"""
    themes_per_user: int = Field(default=2, ge=1)
    """how many themes a user likes"""
    history: int = Field(default=12, ge=3)
    """mean events of a user"""
    cold_share: float = Field(default=0.05, ge=0, lt=0.5)
    """fraction of the items that are cold"""
    cold_events: float = Field(default=0.2, ge=0, lt=1)
    """fraction of the users whose last event is a cold item"""
    noise: float = Field(default=0.1, ge=0, le=1)
    """fraction of the events on any item, by popularity"""
    series: float = Field(default=0.5, ge=0, le=1)
    """fraction of the other events that are the next of a series"""
    ratings: bool = False
    """every event has a rating: 4 or 5 of a theme that the user likes, 1 to 3 of another (``noise`` makes those)"""


class Planted(Source):
    """The reader of the dataset ``planted``; options: the fields of :class:`PlantedConfig`."""

    @staticmethod
    def matches(path: Path) -> bool:
        """False: this world is not in a folder."""
        return False

    def read(
        self, path: Path, *, columns: dict[str, str], options: dict[str, Any], seed: int, log: Log
    ) -> SourceTables:
        """See :func:`interlingua.data.source.read`."""
        refuse_unused("planted", "columns", columns, f"options.*: {', '.join(PlantedConfig.model_fields)}")
        return world(build(PlantedConfig, options, "[data].options"), seed)


def generate(
    num_users: int = 400,
    num_items: int = 200,
    seed: int = 0,
    *,
    split: SplitConfig | str = "leave-one-out",
    **options: Any,
) -> Dataset:
    """A prepared world, the same for the same arguments.

    Args:
        num_users: users.
        num_items: items, cold ones included.
        seed: of the world.
        split: name or configuration of the split.
        options: further fields of :class:`PlantedConfig`.
    """
    config = build(PlantedConfig, {"num_users": num_users, "num_items": num_items, **options}, "planted")
    divided = SplitConfig.model_validate(split) if isinstance(split, str) else split
    return prepare_raw(world(config, seed), split=divided, seed=seed, log=Log(quiet=True))


def world(config: PlantedConfig, seed: int) -> SourceTables:
    """Events and texts before any cleaning."""
    random = np.random.default_rng(seed)
    num_cold = round(config.cold_share * config.num_items)
    num_warm = config.num_items - num_cold
    num_themes = min(config.num_themes or min(max(config.num_items // 12, 2), len(THEMES)), num_warm)
    theme = np.concatenate([np.arange(num_warm) % num_themes, np.arange(num_cold) % num_themes])
    popularity = 1.0 / (1.0 + random.permutation(num_warm)) ** 0.5
    popularity = np.asarray(popularity / popularity.sum(), np.float64)
    likes = np.argsort(random.random((config.num_users, num_themes)), axis=1)[:, : config.themes_per_user]
    users, items, times = _events(config, random, theme[:num_warm], popularity, likes)
    if num_cold and config.cold_events > 0:
        _plant_cold(config, random, users, items, times, theme, num_warm, likes)
    user_ids = np.array([f"u{n:05d}" for n in range(config.num_users)])
    item_ids = np.array([f"i{n:05d}" for n in range(config.num_items)])
    events = pl.DataFrame({"user_id": user_ids[users], "item_id": item_ids[items], "timestamp": times})
    texts = _texts(item_ids, theme, random)
    if config.ratings:
        liked = (likes[users] == theme[items][:, None]).any(1)
        stars = np.where(liked, random.integers(4, 6, len(liked)), random.integers(1, 4, len(liked)))
        events = events.with_columns(pl.Series("rating", stars.astype(np.float64)))
    return SourceTables(
        events,
        texts,
        _profiles(user_ids, likes),
        name="planted",
        domain=Domain("book", "read", "read"),
        licence="generated, no rights reserved",
        time_unit="s",
        where="planted",
    )


def _events(
    config: PlantedConfig,
    random: np.random.Generator,
    theme: npt.NDArray[np.int64],
    popularity: npt.NDArray[np.floating[Any]],
    likes: npt.NDArray[np.int64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Users, items and times of all events; within a user sorted by time, no item twice."""
    num_warm = len(theme)
    members = [np.flatnonzero(theme == t) for t in range(likes.max() + 1)]
    weights = [popularity[m] / popularity[m].sum() for m in members]
    users, items = [], []
    lengths = np.clip(random.poisson(config.history - 3, config.num_users) + 3, 3, max(num_warm // 2, 3))
    for user, length in enumerate(lengths):
        own: list[int] = []
        taken = set()
        kinds, picks = random.random(length * 3), random.random(length * 3)
        whose = random.integers(0, likes.shape[1], length * 3)
        for kind, pick, which in zip(kinds, picks, whose, strict=True):
            if kind < config.noise:
                item = int(np.searchsorted(np.cumsum(popularity), pick * 0.999999))
            else:
                liked = likes[user, which]
                group = members[liked]
                previous = [i for i in own if theme[i] == liked]
                if previous and kind < config.noise + (1 - config.noise) * config.series:
                    item = int(group[(np.searchsorted(group, previous[-1]) + 1) % len(group)])
                else:
                    item = int(group[np.searchsorted(np.cumsum(weights[liked]), pick * 0.999999)])
            if item not in taken:
                taken.add(item)
                own.append(item)
            if len(own) == length:
                break
        users.append(np.full(len(own), user))
        items.append(np.array(own))
    counts = [len(own) for own in items]
    start = random.integers(0, SPREAD_DAYS * DAY_S, config.num_users)
    gaps = np.concatenate([np.cumsum(random.integers(600, 5 * DAY_S, n)) for n in counts])
    all_users = np.concatenate(users)
    return all_users, np.concatenate(items), FIRST_DAY_S + start[all_users] + gaps


def _plant_cold(
    config: PlantedConfig,
    random: np.random.Generator,
    users: npt.NDArray[np.int64],
    items: npt.NDArray[np.int64],
    times: npt.NDArray[np.int64],
    theme: npt.NDArray[np.int64],
    num_warm: int,
    likes: npt.NDArray[np.int64],
) -> None:
    """Replaces the last event of some users by a cold item of a theme they like, dated after everything else."""
    last = np.flatnonzero(np.append(users[1:] != users[:-1], True))
    counts = np.bincount(users)
    last = last[counts[users[last]] >= 3]  # shorter histories have no test event
    chosen = np.sort(random.permutation(last)[: round(config.cold_events * len(last))])
    released = int(times.max()) + DAY_S
    turn = np.zeros(theme.max() + 1, np.int64)
    for event in chosen:
        liked = [t for t in likes[users[event]] if (theme[num_warm:] == t).any()]
        if not liked:
            continue
        pick = liked[int(random.integers(len(liked)))]
        group = num_warm + np.flatnonzero(theme[num_warm:] == pick)
        items[event] = group[turn[pick] % len(group)]
        turn[pick] += 1
        times[event] = released + int(random.integers(30 * DAY_S))


def _texts(item_ids: npt.NDArray[Any], theme: npt.NDArray[np.int64], random: np.random.Generator) -> pl.DataFrame:
    """Titles that are all different, the theme as category, and a sentence of its words."""
    rows = []
    seen: dict[str, int] = {}
    names = list(THEMES)
    for item_id, t in zip(item_ids, theme, strict=True):
        words = THEMES[names[t]]
        first, second, third, fourth = random.permutation(len(words))[:4]
        adjective, noun = ADJECTIVES[random.integers(len(ADJECTIVES))], NOUNS[random.integers(len(NOUNS))]
        title = f"The {adjective} {words[first].title()} {noun}"
        seen[title] = seen.get(title, 0) + 1
        if seen[title] > 1:
            title = f"{title}, Part {seen[title]}"
        text = f"A {names[t]} story about {words[second]} and {words[third]}, with a touch of {words[fourth]}."
        rows.append((str(item_id), title, text, f"{names[t].capitalize()}, {words[first].capitalize()}"))
    return pl.DataFrame(rows, schema=["item_id", "title", "description", "categories"], orient="row")


def _profiles(user_ids: npt.NDArray[Any], likes: npt.NDArray[np.int64]) -> pl.DataFrame:
    names = list(THEMES)
    texts = [f"Enjoys {' and '.join(names[t] for t in own)}." for own in likes]
    return pl.DataFrame({"user_id": user_ids.tolist(), "profile": texts})
