"""Writes measured numbers into README.md, docs/ and benchmarks/*.md, from the JSON files that benchmarks leave behind.

    python benchmarks/render.py            rewrite the marked regions
    python benchmarks/render.py --check    exit 1 where a page differs from the results

A table on a page stands between two comments, a single number likewise:

    <!-- numbers:quality/beauty.rows columns=method,ndcg@10 where=part:test digits=3 -->
    <!-- /numbers -->

    <!-- number:speed/prepare.results.csv.seconds_median digits=1 -->41.2<!-- /number -->

``quality/beauty`` is the file ``benchmarks/quality/results/beauty.json``; what follows is the path of keys inside it (a
list is reached by position, and a key with a dot in it is written in quotes; so are options with spaces). A list of
objects, an object of objects, an object with ``columns`` and ``rows``, and a flat object all become tables. A region's
last line names the file, and the file's own ``command``, ``commit`` and ``machine`` where it has them.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
TABLE = re.compile(r"(<!-- numbers:(?P<spec>[^>]*?) -->\n)(?P<body>.*?)(<!-- /numbers -->)", re.DOTALL)
NUMBER = re.compile(r"(<!-- number:(?P<spec>[^>]*?) -->)(?P<body>[^<]*)(<!-- /number -->)")
TARGET = re.compile(r'(?:"[^"]*"|\S)*')
OPTION = re.compile(r'(\w+)=("[^"]*"|\S+)')
PART = re.compile(r'"([^"]*)"|([^."]+)')


class RenderError(Exception):
    """A marker that no result answers."""


def pages(root: Path) -> list[Path]:
    """The pages that may carry numbers."""
    found = [root / "README.md", *(root / "docs").rglob("*.md"), *(root / "benchmarks").glob("*.md")]
    return sorted(page for page in found if page.is_file())


def render(text: str, root: Path) -> str:
    """``text`` with every marked region written anew.

    Raises:
        RenderError: a marker names a file or a key that is not there.
    """
    text = TABLE.sub(lambda m: m[1] + table_of(m["spec"], root) + m[4], text)
    return NUMBER.sub(lambda m: m[1] + number_of(m["spec"], root) + m[4], text)


def table_of(spec: str, root: Path) -> str:
    """The lines of one region: a markdown table and where it comes from."""
    target, options = parse(spec)
    value, report, file = lookup(target, root)
    columns, rows = as_rows(value, spec)
    if "where" in options:
        key, _, wanted = options["where"].partition(":")
        rows = [row for row in rows if str(row.get(key)) == wanted]
    if "columns" in options:
        columns = options["columns"].split(",")
    missing = [c for c in columns if not any(c in row for row in rows)]
    if missing or not rows:
        raise RenderError(f"numbers:{spec}: no row has {', '.join(missing) or 'the value asked for'} in {file}")
    digits = int(options["digits"]) if "digits" in options else None
    numeric = {c: all(isinstance(row.get(c), int | float | None) for row in rows) for c in columns}
    lines = [
        "| " + " | ".join(columns) + " |",
        "|" + "|".join("---:" if numeric[c] else "---" for c in columns) + "|",
        *("| " + " | ".join(shown(row.get(c), digits) for c in columns) + " |" for row in rows),
    ]
    return "\n".join(lines) + "\n\n" + source_line(report, file, root) + "\n"


def number_of(spec: str, root: Path) -> str:
    """One number, as text."""
    target, options = parse(spec)
    value, _, file = lookup(target, root)
    if isinstance(value, Mapping | list):
        raise RenderError(f"number:{spec}: {file} has a table there, not a number")
    return shown(value, int(options["digits"]) if "digits" in options else None)


def parse(spec: str) -> tuple[str, dict[str, str]]:
    """``"quality/x.rows columns=a,b"`` -> the target and the options."""
    target = TARGET.match(spec)
    assert target is not None  # it matches even nothing
    return target[0], {key: value.strip('"') for key, value in OPTION.findall(spec[target.end() :])}


def lookup(target: str, root: Path) -> tuple[Any, Mapping[str, Any], Path]:
    """The value that a target names, the whole report, and its file."""
    area, _, rest = target.partition("/")
    name, *path = [quoted or plain for quoted, plain in PART.findall(rest)]
    file = root / "benchmarks" / area / "results" / f"{name}.json"
    if not file.is_file():
        raise RenderError(f"{target}: there is no {file.relative_to(root)}")
    report = value = json.loads(file.read_text(encoding="utf-8"))
    for key in path:
        try:
            value = value[int(key)] if isinstance(value, list) else value[key]
        except (KeyError, IndexError, ValueError, TypeError):
            known = ", ".join(value) if isinstance(value, Mapping) else f"{type(value).__name__}"
            raise RenderError(f"{target}: {file.relative_to(root)} has no {key!r} there ({known})") from None
    return value, report if isinstance(report, Mapping) else {}, file


def as_rows(value: Any, spec: str) -> tuple[list[str], list[dict[str, Any]]]:
    """Columns and rows of whatever table-like thing a result is."""
    if isinstance(value, Mapping) and {"columns", "rows"} <= set(value):
        columns = [str(c) for c in value["columns"]]
        return columns, [dict(zip(columns, row, strict=True)) for row in value["rows"]]
    if isinstance(value, Mapping) and value and all(isinstance(v, Mapping) for v in value.values()):
        value = [{"": name, **row} for name, row in value.items()]
    elif isinstance(value, Mapping):
        value = [{"": name, "value": v} for name, v in value.items() if not isinstance(v, Mapping | list)]
    if not isinstance(value, Sequence) or not all(isinstance(row, Mapping) for row in value):
        raise RenderError(f"numbers:{spec}: not a list of objects, nor an object")
    columns = list(dict.fromkeys(c for row in value for c, v in row.items() if not isinstance(v, Mapping | list)))
    return columns, [dict(row) for row in value]


def shown(value: Any, digits: int | None) -> str:
    """A cell: floats with a fixed number of digits, integers with thousands separated, None as a dash."""
    if value is None:
        return "-"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value).replace("|", "\\|").replace("\n", " ")
    if isinstance(value, int):
        return f"{value:,}"
    if value != value:  # not a number
        return "-"
    if digits is None:
        digits = 4 if abs(value) < 1 else 2 if abs(value) < 100 else 0
    return f"{value:,.{digits}f}"


def source_line(report: Mapping[str, Any], file: Path, root: Path) -> str:
    """Where the numbers come from, in small print."""
    parts = [f"`{file.relative_to(root)}`"]
    if report.get("command"):
        parts.append(f"`{report['command']}`")
    commit = report.get("commit") or report.get("git_commit")
    if commit:
        parts.append(f"commit {str(commit)[:10]}")
    parts += [str(report[key]) for key in ("machine", "device", "date") if isinstance(report.get(key), str)]
    return f"<sub>{'; '.join(parts)}</sub>"


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Rewrites or checks all pages; returns the exit status."""
    parser = argparse.ArgumentParser(description="Write measured numbers into the pages, or check them.")
    parser.add_argument("--check", action="store_true", help="change nothing; fail where a page differs")
    check = parser.parse_args(arguments).check
    status = 0
    for page in pages(root):
        text = page.read_text(encoding="utf-8")
        try:
            fresh = render(text, root)
        except RenderError as error:
            print(f"{page.relative_to(root)}: {error}", file=sys.stderr)
            status = 1
            continue
        if fresh == text:
            continue
        if check:
            print(f"{page.relative_to(root)}: numbers differ from the results; run: make numbers", file=sys.stderr)
            status = 1
        else:
            page.write_text(fresh, encoding="utf-8")
            print(f"{page.relative_to(root)}: written")
    return status


if __name__ == "__main__":
    sys.exit(main())
