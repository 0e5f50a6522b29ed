"""Texts for clients without the server's places: of a path its last name is left, of a database its kind.

Errors are written for whoever runs the service, and name files; over HTTP anybody may read them.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path

DATABASE = re.compile(r"\b(postgresql|postgres|sqlite)(\+\w+)?://[^\s;,'\"]+")
PATH = re.compile(r"(?<![\w.:/\\~-])(?:[A-Za-z]:(?=\\)|~)?[/\\][^\s'\";,:()\[\]{}<>|]+")
"""something that is written as an absolute path"""
END = r"[^\s'\";,:()\[\]{}<>|]*"


def without_places(text: str, folders: Iterable[Path | str] = ()) -> str:
    """The text with names in place of paths.

    Args:
        text: an error or a note.
        folders: further places that are nobody's business; the working, home and temporary folders are known.
    """
    text = DATABASE.sub(lambda found: found[1], text)
    known = {str(Path(each)) for each in (*folders, Path.cwd(), Path.home(), tempfile.gettempdir())}
    for folder in sorted(known - {os.sep}, key=len, reverse=True):  # with blanks in them no pattern sees their end
        text = re.sub(rf"(?<![\w.-]){re.escape(folder)}({END})", lambda found: _name(found[0]), text)
    return PATH.sub(lambda found: _name(found[0]) if _of_this_machine(found[0]) else found[0], text)


def _name(path: str) -> str:
    return path.rstrip("/\\").replace("\\", "/").rpartition("/")[2]


def _of_this_machine(path: str) -> bool:
    """Whether it leads into a folder at the root; ids and routes may begin with a slash too."""
    first = path.split("/")[1] if path.startswith("/") and len(path) > 1 else ""
    return bool(first and Path("/", first).is_dir()) or path.startswith(("~", "\\")) or path[1:2] == ":"
