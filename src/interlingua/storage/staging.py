"""Temporary folders that belong to a process: in use while it lives, and deleted by others once it is dead.

A process number alone does not say whose a folder is: it is given out again, and containers that share a disk count
for themselves. So the folder is locked (``flock``), and the system drops the lock of a process that dies. Where there
are no such locks (Windows, some network disks), nothing is taken for abandoned.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

try:
    import fcntl as _fcntl
except ImportError:  # Windows
    fcntl: ModuleType | None = None
else:
    fcntl = _fcntl


@contextmanager
def staging(folder: Path, name: str) -> Iterator[Path]:
    """An empty temporary folder ``folder/.NAME.PROCESS.tmp``; it is gone when the block ends, unless it was renamed.

    If the block ends well, those of dead processes for the same name are deleted too.

    Raises:
        OSError: it cannot be made.
    """
    path, held = _begun(folder, name)
    try:
        yield path
        for other in left_over(folder, name):
            remove_abandoned(other)
    finally:
        shutil.rmtree(path, ignore_errors=True)
        if held >= 0:
            os.close(held)


def _begun(folder: Path, name: str) -> tuple[Path, int]:
    """A folder of this process, and the number of its lock."""
    number = 0
    while True:
        path = folder / f".{name}.{os.getpid()}{f'-{number}' if number else ''}.tmp"
        remove_abandoned(path)  # of a dead process with our number
        held = _made(path)
        if held is not None:
            return path, held
        number += 1


def left_over(folder: Path, name: str) -> list[Path]:
    """The temporary folders for a name, whosever they are."""
    form = re.compile(rf"\.{re.escape(name)}\.\d+(-\d+)?\.tmp")
    return [path for path in folder.iterdir() if form.fullmatch(path.name)] if folder.is_dir() else []


def remove_abandoned(path: Path) -> None:
    """Deletes a temporary folder, unless a process holds it, or nothing could say so."""
    held = _held(path, wait=False)
    if held is not None and held >= 0:
        shutil.rmtree(path, ignore_errors=True)
        os.close(held)


def _made(path: Path) -> int | None:
    """Makes the folder and locks it; the lock's number, -1 where there are no locks; None: it is another's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        try:
            path.mkdir()
        except FileExistsError:
            return None
        held = _held(path, wait=True)
        if held is None:  # taken for abandoned before it was locked
            continue
        if held < 0:
            return held
        with suppress(OSError):
            if os.path.samestat(os.fstat(held), path.stat()):
                return held
        os.close(held)


def _held(path: Path, *, wait: bool) -> int | None:
    """Locks a folder: the number by which :func:`os.close` lets go of it, -1 where that cannot be.

    None: another process has it, or it is not there.
    """
    if fcntl is None:
        return -1
    try:
        number = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(number, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(number)
        return None
    except OSError:  # this disk has no such locks
        os.close(number)
        return -1
    return number
