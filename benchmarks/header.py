"""How a result was made: the head of every file of results. Imports no torch: scripts measure memory and starts."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from interlingua.storage.environment import git_commit, versions

ROOT = Path(__file__).resolve().parents[1]


def header(script: str) -> dict[str, Any]:
    """Command, commit and machine.

    Args:
        script: the benchmark's ``__file__``.
    """
    name = Path(script).resolve().relative_to(ROOT).as_posix()
    return {
        "command": shlex.join(["python", name, *without_paths(sys.argv[1:])]),
        "commit": git_commit(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {versions()['torch']}",
    }


def without_paths(arguments: Sequence[str]) -> list[str]:
    """The arguments, with a word in place of every path that begins at this machine's root or home.

    ``--out /home/me/new.json`` is written ``--out RESULT.json``, ``--runs /tmp/r`` is ``--runs RUNS``.
    """
    out: list[str] = []
    flag = "path"
    for each in arguments:
        flag = each[2:].partition("=")[0] if each.startswith("--") else flag
        key, equals, value = each.rpartition("=")
        if value.startswith("~") or Path(value).is_absolute():
            name = key.rpartition(".")[2].lstrip("-") or flag
            value = ("RESULT" if name == "out" else name.upper().replace("-", "_")) + Path(value).suffix
        out.append(f"{key}{equals}{value}")
    return out
