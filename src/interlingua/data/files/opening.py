"""Opens csv, tsv and ``::`` tables and json lines, plain or gzipped."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from interlingua.data.files.encodings import large_fields, plain_text
from interlingua.data.raw import Log
from interlingua.errors import DataError, first_line
from interlingua.storage.exact_files import read_csv

GZIP_MAGIC = b"\x1f\x8b"
UNIT_SEPARATOR = "\x1f"
PROGRESS_EVERY = 1_000_000
"""number of lines read between two lines of progress"""


def check_file(path: Path) -> None:
    """Rejects a path that is not a non-empty file.

    Raises:
        DataError: missing, a folder, or empty.
    """
    if path.is_dir():
        inside = ", ".join(sorted(p.name for p in path.iterdir())[:6]) or "nothing"
        raise DataError(f"{path} is a folder, not a file (it holds {inside}); give the file in it")
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty (0 bytes); download or export it again")


def is_gzip(path: Path) -> bool:
    """Whether the file begins like gzip, whatever its name."""
    with path.open("rb") as stream:
        return stream.read(2) == GZIP_MAGIC


def content(path: Path) -> bytes:
    """The bytes of a plain or gzipped file.

    Raises:
        DataError: missing, a folder, empty, or cut off.
    """
    check_file(path)
    if not is_gzip(path):
        return path.read_bytes()
    try:
        with gzip.open(path) as stream:
            data = stream.read()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _cut(path, error) from None
    if not data:
        raise DataError(f"{path} is an empty gzip file; download or export it again")
    return data


def _cut(path: Path, error: Exception) -> DataError:
    return DataError(
        f"{path} is a damaged or cut gzip file ({path.stat().st_size:,} bytes; {error}); "
        "download it again, nothing was read"
    )


def lines(path: Path) -> Iterator[bytes]:
    """Lines of a plain or gzipped file, one at a time.

    Raises:
        DataError: missing, a folder, empty, or cut off.
    """
    check_file(path)
    try:
        with gzip.open(path) if is_gzip(path) else path.open("rb") as stream:
            yield from stream
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise _cut(path, error) from None


def read_table(
    path: Path,
    log: Log,
    *,
    separator: str = ",",
    header: Sequence[str] | None = None,
    quote: str | None = '"',
    encoding: str | None = None,
    source: Path | bytes | None = None,
) -> pl.DataFrame:
    """A delimited file with every value as a string (so that nothing is guessed from the first rows).

    Args:
        path: plain or gzipped.
        log: records lines that do not fit and an encoding that is not UTF-8.
        separator: one or more characters.
        header: names of the columns if the file has no header line.
        quote: the character that encloses values; None: no character.
        encoding: of the text; None: UTF-8 or by its mark, else Latin-1.
        source: the result of :func:`text_of` for the path, if it was called before.

    Raises:
        DataError: the file cannot be read at all.
    """
    source = text_of(path, encoding, log) if source is None else source
    if len(separator) > 1:
        source = _bytes(source).replace(separator.encode(), UNIT_SEPARATOR.encode())
        separator = UNIT_SEPARATOR
    try:
        frame = _fast(source, separator, header, quote)
    except pl.exceptions.NoDataError:
        raise DataError(f"{path} holds no rows; export it again") from None
    except pl.exceptions.PolarsError as error:
        return _careful(_bytes(source), separator, header, quote, path, log, str(error))
    if header is None and frame.columns[-1] == "" and frame.to_series(-1).null_count() == frame.height:
        return frame.drop("")  # a header that ends with a separator, rows that do not
    if _has_short_row(frame, source, separator, quote) and (header is None or len(header) == frame.width):
        return _careful(_bytes(source), separator, header, quote, path, log, "")
    _warn_of_swallowed(frame, separator, quote, path, log)
    return frame


def text_of(path: Path, encoding: str | None, log: Log) -> Path | bytes:
    """The file itself, or its content as UTF-8 if it is packed or has another encoding."""
    check_file(path)
    return plain_text(path, content(path) if is_gzip(path) else None, encoding, log)


def _warn_of_swallowed(frame: pl.DataFrame, separator: str, quote: str | None, path: Path, log: Log) -> None:
    """A lone quote opens a value that ends at the next one, lines later: such a value holds whole rows."""
    if quote is None or frame.width < 2:
        return
    row = rf"\n[^\n]*(?:{re.escape(separator)}[^\n]*){{{frame.width - 1}}}"
    for column in frame.columns:
        holds = frame[column].str.contains("\n", literal=True).fill_null(False)
        if not holds.any():
            continue
        whole = frame[column].filter(holds)
        swallowed = whole.filter(whole.str.contains(row))
        if len(swallowed):
            log.warn(
                f"{len(swallowed):,} values of {column} in {path} hold whole rows (e.g. {swallowed[0][:60]!r}): where "
                'a quote is part of a text and encloses nothing, set options.quote = "none"'
            )


def _has_short_row(frame: pl.DataFrame, source: Path | bytes, separator: str, quote: str | None) -> bool:
    """Whether a row lacks its last fields: Polars fills them, and a blank last field looks the same afterwards."""
    if frame.width < 2 or not frame.to_series(-1).null_count():
        return False
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as stream, large_fields():
        text = (line.decode("utf-8", "replace") for line in stream)
        reader = csv.reader(text, delimiter=separator, **_quoting(quote))
        try:
            return any(0 < len(row) < frame.width for row in reader)
        except csv.Error:  # Polars reads what this reader cannot: such a file stays as it was read
            return False


def _bytes(source: Path | bytes) -> bytes:
    return source if isinstance(source, bytes) else content(source)


def _quoting(quote: str | None) -> dict[str, Any]:
    """Options of the csv module."""
    return {"quoting": csv.QUOTE_NONE} if quote is None else {"quotechar": quote}


def _fast(source: Path | bytes, separator: str, header: Sequence[str] | None, quote: str | None) -> pl.DataFrame:
    return read_csv(
        source,
        separator=separator,
        has_header=header is None,
        new_columns=list(header) if header is not None else None,
        infer_schema=False,
        quote_char=quote,
    )


def _careful(
    data: bytes, separator: str, header: Sequence[str] | None, quote: str | None, path: Path, log: Log, why: str
) -> pl.DataFrame:
    """Reads row by row what a strict parser rejects: rows that do not fit become nulls, which are counted later."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        text = data.decode("latin-1")
        log.warn(f"{path} is not UTF-8 (byte {error.start}); it was read as Latin-1; to change it: options.encoding")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=quote is not None, **_quoting(quote))
    with large_fields():
        names, columns, wrong = _rows_of(reader, header, quote, path, why)
    if wrong:
        line, fields = wrong[0]
        log.warn(
            f"{len(wrong):,} lines of {path} do not have the header's {len(names)} fields "
            f"(first: line {line} has {fields})"
        )
    return pl.DataFrame({n: pl.Series(c, dtype=pl.String) for n, c in zip(names, columns, strict=True)})


def _rows_of(
    reader: Any, header: Sequence[str] | None, quote: str | None, path: Path, why: str
) -> tuple[list[str], list[list[str | None]], list[tuple[int, int]]]:
    """Names, columns, and (line, fields) of the rows that do not fit, which are nulls."""
    try:
        names = list(header) if header is not None else next(reader)
        columns: list[list[str | None]] = [[] for _ in names]
        wrong: list[tuple[int, int]] = []
        for row in reader:
            if not row:
                continue
            fits = len(row) == len(names)
            if not fits:
                wrong.append((reader.line_num, len(row)))
            for column, value in zip(columns, row if fits else [None] * len(names), strict=True):
                column.append(value or None)
    except (csv.Error, StopIteration) as error:
        lone = f'; where {quote} is part of a text and encloses nothing: options.quote = "none"' if quote else ""
        raise DataError(
            f"{path} cannot be read as a table, near line {reader.line_num}: {error or why}{lone}"
        ) from None
    return names, columns, wrong


def read_json_lines(
    path: Path,
    pick: Callable[[dict[str, Any]], tuple[Any, ...]],
    names: Sequence[str],
    log: Log,
    *,
    literal: bool = False,
) -> pl.DataFrame:
    """One row per line of JSON; other lines are counted and become rows of nulls.

    Args:
        path: plain or gzipped; a file with one JSON array is read too, one row per element.
        pick: the values of a line's object, in the order of ``names``.
        names: columns of the result.
        log: records lines that cannot be read.
        literal: lines may also be Python literals (Amazon's 2014 metadata); read without running them.

    Raises:
        DataError: the file cannot be read, or the values of a column have incompatible types.
    """
    if begins_array(path):
        return _json_array(path, pick, names, log)
    rows: list[tuple[Any, ...]] = []
    wrong: list[int] = []
    nothing = (None,) * len(names)
    for number, line in enumerate(lines(path), start=1):
        if not line.strip():
            continue
        record = _record(line, literal)
        if record is None:
            wrong.append(number)
        rows.append(nothing if record is None else pick(record))
        if number % PROGRESS_EVERY == 0:
            log.note(f"{path.name}: {number:,} lines read")
    if wrong:
        log.warn(f"{len(wrong):,} lines of {path} are not JSON objects (first: line {wrong[0]})")
    if not rows:
        raise DataError(f"{path} holds no lines of JSON")
    return _rows(rows, names, path)


def _rows(rows: list[tuple[Any, ...]], names: Sequence[str], path: Path) -> pl.DataFrame:
    """Column by column, so that an error can name the column with incompatible types."""
    columns = {}
    for n, name in enumerate(names):
        try:
            columns[name] = pl.Series(name, [row[n] for row in rows], strict=False)
        except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as error:
            raise DataError(
                f"{path}: the values of {name} do not fit into one column ({first_line(error)}); give each line a "
                "value of one kind"
            ) from None
    return pl.DataFrame(columns)


def _record(line: bytes, literal: bool) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        if not literal:
            return None
        import ast

        try:
            found = ast.literal_eval(line.decode("utf-8", "replace").strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return None
    return found if isinstance(found, dict) else None


def begins_array(path: Path) -> bool:
    """Whether the first non-empty line opens a JSON array."""
    return next((line for line in lines(path) if line.strip()), b"").lstrip()[:1] == b"["


def json_array(path: Path) -> list[Any]:
    """The elements of a file with one JSON array.

    Raises:
        DataError: not a JSON array, or an empty one.
    """
    try:
        found = json.loads(content(path))
    except ValueError as error:
        raise DataError(f"{path} begins like a JSON array but is not one: {error}") from None
    if not found:
        raise DataError(f"{path} holds an empty JSON array; export it again")
    return list(found)


def _json_array(
    path: Path, pick: Callable[[dict[str, Any]], tuple[Any, ...]], names: Sequence[str], log: Log
) -> pl.DataFrame:
    elements = json_array(path)
    if wrong := [n for n, element in enumerate(elements, start=1) if not isinstance(element, dict)]:
        log.warn(f"{len(wrong):,} elements of {path} are not JSON objects (first: element {wrong[0]})")
    nothing = (None,) * len(names)
    return _rows([pick(e) if isinstance(e, dict) else nothing for e in elements], names, path)
