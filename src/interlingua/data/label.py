"""Events that a user liked, by a column of labels or a threshold of ratings. The others are no targets of a ranking.

Liked events are training events, histories and targets like any others; liked and other events together are the
labelled pairs for binary losses and for AUC, UAUC and log loss.
"""

from __future__ import annotations

import polars as pl

from interlingua.config import Config
from interlingua.data.files.columns import EVENT_ROLES
from interlingua.data.raw import Log
from interlingua.errors import DataError

TRUE, FALSE = (
    ("1", "true", "yes", "t", "y", "like", "liked"),
    ("0", "-1", "false", "no", "f", "n", "dislike", "disliked"),
)


class LabelConfig(Config):
    """The section [data.label] of a recipe."""

    at_least: float | None = None
    """events with at least this rating are liked, the others are not; None: the events' column of labels decides"""


def label_events(events: pl.DataFrame, config: LabelConfig | None, where: str, log: Log) -> pl.DataFrame:
    """Checked events with a column ``label`` (Boolean) if labels were requested, else without it.

    Raises:
        DataError: neither ratings nor labels, or labels that are neither 0 and 1 nor yes and no.
    """
    if config is None:
        return events.drop("label", strict=False)
    if config.at_least is not None:
        if "rating" not in events.columns:
            raise DataError(
                f"{where}: data.label.at_least = {config.at_least:g} needs ratings, and there are none; name their "
                "column with columns.rating"
            )
        marked = events.with_columns((pl.col("rating").fill_nan(None) >= config.at_least).alias("label"))
        how = f"liked: rating >= {config.at_least:g}"
    else:
        marked, how = _from_column(events, where), "liked: as the column of labels says"
    unknown = int(marked["label"].null_count())
    log.decide("events without a label, dropped", unknown, "data.label")
    marked = marked.filter(pl.col("label").is_not_null())
    liked = int(marked["label"].sum())
    if liked in (0, marked.height):
        raise DataError(
            f"{where}: {liked:,} of {marked.height:,} events are liked ({how}), so labels tell nothing apart; give "
            "another data.label.at_least, or leave data.label out"
        )
    log.reads("labels", f"{how}; {liked:,} of {marked.height:,}")
    return marked


def _from_column(events: pl.DataFrame, where: str) -> pl.DataFrame:
    """The column ``label`` as Boolean."""
    if "label" not in events.columns:
        raise DataError(
            f"{where}: there is no column of labels (looked for {', '.join(EVENT_ROLES['label'])}); name it with "
            "columns.label, or give a rating from which on an item is liked with data.label.at_least"
        )
    given = events["label"]
    if given.dtype == pl.Boolean:
        return events
    words = given.cast(pl.Int64, strict=False) if given.dtype.is_float() else given
    text = words.cast(pl.String).str.strip_chars().str.to_lowercase()
    codes = text.replace_strict(
        dict.fromkeys(TRUE, True) | dict.fromkeys(FALSE, False), default=None, return_dtype=pl.Boolean
    )
    strange = codes.is_null() & given.is_not_null() & (text != "")
    if strange.any():
        raise DataError(
            f"{where}: the column of labels holds {given.filter(strange).unique().head(5).to_list()}; "
            "a label is 1 or 0, true or false, yes or no; name another column with columns.label, or for ratings give "
            "data.label.at_least"
        )
    return events.with_columns(codes.alias("label"))
