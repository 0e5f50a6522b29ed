"""Roles of a source's columns: guessed from their names, shown, and settable."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import polars as pl

from interlingua.data.raw import Log
from interlingua.errors import DataError, unknown

Roles = Mapping[str, tuple[str, ...]]

EVENT_ROLES: Roles = {
    "user_id": (
        "user_id", "userid", "user", "uid", "u", "reviewerid", "reviewer_id", "customer_id", "customerid", "visitorid",
        "member_id", "reader", "account_id", "session_id", "sessionid", "customer", "client_id", "buyer_id",
        "visitor_id",
    ),
    "item_id": (
        "item_id", "itemid", "item", "iid", "i", "parent_asin", "asin", "movieid", "movie_id", "product_id",
        "productid", "book_id", "bookid", "isbn", "business_id", "game_id", "app_id", "song_id", "track_id",
        "artist_id", "article_id", "news_id", "video_id", "place_id", "venue_id", "sku", "anime_id", "recipe_id",
        "product", "movie", "book", "song", "track", "game", "article",
    ),
    "timestamp": (
        "timestamp", "time", "unixreviewtime", "unix_time", "ts", "datetime", "date", "created_at", "event_time", "t",
        "time_stamp", "unixtime", "order", "position", "when", "created", "ordered_at", "purchased_at", "order_date",
        "purchase_date",
    ),
    "rating": ("rating", "overall", "stars", "score", "ratings", "rate", "label", "weight"),
    "part": ("part", "split", "fold", "subset", "set"),
    "label": ("label", "liked", "clicked"),
}  # fmt: skip
"""known column names of an event's roles, best first (compared in lower case, without ``:type`` suffixes)"""
ITEM_ROLES: Roles = {
    "item_id": EVENT_ROLES["item_id"] + ("id",),
    "title": ("title", "name", "item_name", "product_name", "movie_title", "title_name", "headline", "app_name"),
    "description": ("description", "plot", "overview", "abstract", "summary", "text", "profile", "body"),
    "categories": ("categories", "category", "genres", "genre", "tags", "class", "cat", "main_cat"),
}
"""The same for items; further columns are kept under their own names"""
USER_ROLES: Roles = {
    "user_id": EVENT_ROLES["user_id"] + ("id",),
    "profile": ("profile", "description", "summary", "about", "text"),
}
"""The same for users"""

TIME_FORMAT = "time_format"
"""A key of ``columns`` that names no column: the format of the times (see :mod:`~.dates`)"""


def plain(name: str) -> str:
    """``"User ID:token"`` -> ``"user_id"``."""
    return re.sub(r"[\s\-.]+", "_", name.split(":")[0].strip().lower())


def guess(names: Sequence[str], roles: Roles, given: Mapping[str, str], where: str) -> dict[str, str]:
    """Role -> column.

    Args:
        names: the source's columns.
        roles: known names of each role, best first.
        given: the user's mapping; it wins.
        where: file or object, for error messages.

    Raises:
        DataError: a given column does not exist.
    """
    found: dict[str, str] = {}
    for role in roles:
        if given.get(role):
            if given[role] not in names:
                raise DataError(unknown("column", given[role], names, f"{where} (columns.{role})"))
            found[role] = given[role]
    by_name: dict[str, str] = {}
    for name in names:
        by_name.setdefault(plain(name), name)
    for role, candidates in roles.items():
        if role in given:
            continue
        for candidate in candidates:
            if candidate in by_name and by_name[candidate] not in found.values():
                found[role] = by_name[candidate]
                break
    return found


def rename(
    frame: pl.DataFrame, roles: Roles, given: Mapping[str, str], where: str, log: Log
) -> tuple[pl.DataFrame, dict[str, str]]:
    """The frame with its columns named by role (others keep their names), and the mapping, which is shown."""
    used = guess(frame.columns, roles, {k: v for k, v in given.items() if k in roles}, where)
    log.note(f"columns of {where}: " + ", ".join(f"{role} = {column}" for role, column in used.items()))
    back = {column: role for role, column in used.items()}
    if "title" in roles:
        log.item_names |= {role: column for role, column in used.items() if role != column}
    # a column that is called like a role but does not play it steps aside
    aside = {c: f"{c}_" for c in frame.columns if c in roles and c not in back}
    return frame.rename(aside | back), used


def of_texts(given: Mapping[str, str], frame: pl.DataFrame) -> dict[str, str]:
    """The part of a mapping that is meant for a separate table of texts.

    Ids may have another name there than in the events, where the given column was found: then they are guessed.
    Titles and other texts are nowhere else, so a missing column of theirs stays an error.
    """
    return {role: column for role, column in given.items() if column in frame.columns or role not in EVENT_ROLES}


def check_roles(given: Mapping[str, str]) -> None:
    """Rejects unknown roles.

    Raises:
        DataError: with the nearest role.
    """
    known = {*EVENT_ROLES, *ITEM_ROLES, *USER_ROLES, TIME_FORMAT}
    for role in given:
        if role not in known:
            raise DataError(unknown("role", role, known, "columns"))


def check_texts(given: Mapping[str, str], read: Mapping[str, tuple[Roles, Sequence[str]]]) -> None:
    """Rejects names of text columns that no table has, once all tables of a source are read.

    A mapping may name columns that only one of the tables has, so no single table can refuse them. :func:`rename`
    already refused missing roles of events.

    Args:
        given: role -> column, from the user.
        read: file or object -> the roles that are searched in it, and its columns.

    Raises:
        DataError: with the existing columns, and the nearest.
    """
    for role, column in given.items():
        if not column or role in EVENT_ROLES:
            continue
        tables = {where: names for where, (roles, names) in read.items() if role in roles}
        if not tables:
            side = "items" if role in ITEM_ROLES else "users"
            raise DataError(
                f"columns.{role} = {column!r}: there is no table of {side} to read it from (read: {', '.join(read)}); "
                f"give the texts of {side} as a table of their own, or leave columns.{role} out"
            )
        if not any(column in names for names in tables.values()):
            known = {name for names in tables.values() for name in names}
            raise DataError(unknown("column", column, known, f"{' and '.join(tables)} (columns.{role})"))
