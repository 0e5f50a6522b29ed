"""Ids that two tables should share: counted; if they share none, the error names a rule that would join them."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable
from typing import Literal
from unicodedata import normalize

import polars as pl

from interlingua.data.raw import Log
from interlingua.errors import DataError

IdForm = Literal["as-is", "strip", "number"]
WHOLE = r"^[+]?0*(\d+)(?:\.0*)?$"
FEW = 0.5
"""below this fraction of shared ids, a rule that would join more is suggested"""


def strip(ids: pl.Series) -> pl.Series:
    """Without blanks around them."""
    return ids.str.strip_chars()


def number(ids: pl.Series) -> pl.Series:
    """Whole numbers without leading zeros or ``.0`` (``007`` and ``7.0`` are ``7``); others without blanks."""
    return strip(ids).str.replace(WHOLE, "$1")


RULES: dict[str, Callable[[pl.Series], pl.Series]] = {"strip": strip, "number": number}
HELPS = {
    "strip": 'blanks around ids (clean.ids = "strip" takes them away)',
    "number": 'leading zeros or a decimal point (clean.ids = "number" reads 007 and 7.0 as 7)',
}


def formed(ids: pl.Series, form: IdForm) -> pl.Series:
    """The ids by the rule that the user chose."""
    return ids if form == "as-is" else RULES[form](ids)


def text_of_bytes(values: pl.Series) -> tuple[pl.Series, str]:
    """Binary values as text and how: UTF-8 if all are, UUIDs if all have 16 bytes, else hexadecimal digits."""
    try:
        return values.cast(pl.String), "text"
    except pl.exceptions.ComputeError:  # not UTF-8
        pass
    if bool((values.bin.size() == 16).all()):
        hexed = values.bin.encode("hex")
        parts = [hexed.str.slice(start, length) for start, length in ((0, 8), (8, 4), (12, 4), (16, 4), (20, 12))]
        joined = pl.select(pl.concat_str(parts, separator="-")).to_series()
        return joined.alias(values.name), "UUIDs (16 bytes each)"
    return values.bin.encode("hex"), "bytes as hexadecimal digits"


def text_of_objects(values: pl.Series) -> pl.Series | None:
    """UUID objects as text; None for any other Python objects."""
    found = values.to_list()
    if not all(v is None or isinstance(v, uuid.UUID) for v in found):
        return None
    return pl.Series(values.name, [None if v is None else str(v) for v in found], dtype=pl.String)


def warn_of_twins(ids: pl.Series, what: str, log: Log) -> None:
    """Warns if ids of one column differ only by blanks."""
    once = ids.unique()
    padded = once.filter(once != strip(once))
    if not len(padded):
        return
    twins = padded.filter(strip(padded).is_in(once.implode()))
    which = twins if len(twins) else padded
    meet = f"{len(twins):,} of them are ids without them too" if len(twins) else "they are kept"
    log.warn(
        f"{len(padded):,} {what} ids have blanks around them (e.g. {which.sort()[0]!r}); {meet}; "
        'clean.ids = "strip" takes them away'
    )


def warn_of_forms(ids: pl.Series, what: str, log: Log) -> None:
    """Warns if ids are the same text in two Unicode forms: they look alike, and stay two."""
    once = ids.unique()
    composed = [(each, normalize("NFC", each)) for each in once.filter(once.str.len_bytes() != once.str.len_chars())]
    plain = set(once.filter(once.str.len_bytes() == once.str.len_chars()))
    of_form = Counter(text for _, text in composed)
    twins = sorted((text, each) for each, text in composed if of_form[text] > 1 or text in plain)
    if twins:
        text = twins[0][0]
        two = [each for form, each in twins if form == text] + ([text] if text in plain else [])
        log.warn(
            f"{what} ids that look alike and stay apart, as they are in several Unicode forms: "
            f"{len({form for form, _ in twins}):,} (e.g. {two[0]!a} and {two[1]!a}); write ids in one form, "
            "NFC, in the source"
        )


def check_meeting(events: pl.Series, texts: pl.Series, what: str, where: str, events_where: str, log: Log) -> None:
    """Counts how many ids two tables share.

    Args:
        events: ids in the events.
        texts: ids in the table of texts.
        what: ``item`` or ``user``.
        where: the table of texts, for messages.
        events_where: the events.
        log: records the counts.

    Raises:
        DataError: both have ids, but share none.
    """
    here, described = events.unique().sort(), texts.unique().sort()
    if not len(here) or not len(described):
        return
    met = int(here.is_in(described.implode()).sum())
    if met == len(here):
        return
    better = {name: int(rule(here).is_in(rule(described).implode()).sum()) for name, rule in RULES.items()}
    best = max(better, key=lambda name: better[name])  # the gentlest of equals comes first
    joined = better[best]
    helps = f"; {joined:,} would meet but for {HELPS[best]}" if joined > met else ""
    alone, other = here.filter(~here.is_in(described.implode())), described.filter(~described.is_in(here.implode()))
    counts = f"{met:,} of the {len(here):,} {what}s with events have a row in {where} ({len(described):,} rows)"
    example = f"e.g. {alone[0]!r} in the events" + (f" against {other[0]!r} in the table" if len(other) else "")
    if not met:
        raise DataError(
            f"no {what} id of {where} occurs in the events of {events_where}: {alone[0]!r} there, {other[0]!r} here"
            + (helps or f"; is it the table of another dataset, or another column (columns.{what}_id)?")
        )
    if joined > met and met < FEW * len(here):
        log.warn(f"{counts}, {example}{helps}")
    else:
        log.note(f"{counts}, {example}{helps}")
