"""A text file of any encoding as UTF-8 with ordinary line ends; an unknown encoding is an error that asks for it."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from interlingua.data.raw import Log
from interlingua.errors import DataError

HEAD_BYTES = 1 << 16
MARKS = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"),
         (codecs.BOM_UTF16_BE, "utf-16"))  # fmt: skip
"""Byte order marks that leave no doubt, longest first"""
FIELD_BYTES = 2**31 - 1
"""limit of a field: the csv module stops at 131,072 characters, but a long description is no error"""


@contextmanager
def large_fields() -> Iterator[None]:
    """Lets the csv module read fields of any length inside this context."""
    before = csv.field_size_limit(FIELD_BYTES)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def plain_text(path: Path, data: bytes | None, encoding: str | None, log: Log) -> Path | bytes:
    """The path itself if its bytes can be read unchanged, else UTF-8 bytes.

    Args:
        path: an existing file.
        data: its content if it was already unpacked (gzip); None: it is read when needed.
        encoding: the user's choice.
        log: records the encoding.

    Raises:
        DataError: the file is not in the encoding, or looks like UTF-16 without a mark.
    """
    head = data[:HEAD_BYTES] if data is not None else _head(path)
    marked = next((name for mark, name in MARKS if head.startswith(mark)), None)
    if encoding is None and marked is None and b"\0" in head:
        even = head[0::2].count(0) > head[1::2].count(0)
        raise DataError(
            f"{path} has zero bytes between its characters, as UTF-16 has; say so with "
            f'options.encoding = "utf-16-{"be" if even else "le"}", or save it as UTF-8'
        )
    if chosen := encoding or marked:
        log.reads("encoding", chosen)
        data = _decoded(path.read_bytes() if data is None else data, chosen, path)
        head = data[:HEAD_BYTES]
    if b"\r" in head and b"\n" not in head:
        log.reads("line ends", "carriage returns alone")
        data = (path.read_bytes() if data is None else data).replace(b"\r", b"\n")
    return path if data is None else data


def _head(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(HEAD_BYTES)


def _decoded(data: bytes, encoding: str, path: Path) -> bytes:
    try:
        return data.decode(encoding).removeprefix("\ufeff").encode("utf-8", "surrogatepass")
    except (LookupError, UnicodeError) as error:
        raise DataError(
            f"{path} cannot be read as {encoding!r}: {error}; set another options.encoding "
            "(utf-8, latin-1, cp1252, utf-16)"
        ) from None
