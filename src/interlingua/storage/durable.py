"""Writing that survives a power cut, one process at a time, with clear errors if a disk refuses."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from filelock import FileLock

from interlingua.errors import ArtifactError


def replace(temporary: Path, final: Path) -> None:
    """Renames a finished file or folder into place, after its bytes, and then the new name, have reached the disk."""
    for path in (temporary, *temporary.rglob("*")) if temporary.is_dir() else (temporary,):
        _sync(path)
    os.replace(temporary, final)
    _sync(final.parent)


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # Windows syncs files only
        return
    number = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Waits until no other process holds the lock file ``path``; a process that dies lets go of it.

    Raises:
        ArtifactError: there can be no such file; it would be waited for without end.
    """
    try:
        with TemporaryFile(dir=path.parent):  # not the lock's: some systems' locks are that a file is there
            pass
    except OSError as error:
        raise ArtifactError(f"cannot write {path}: {error.strerror}; choose a writable folder") from error
    held = FileLock(path)
    with disk(path):
        held.acquire()
    try:
        yield
    finally:
        held.release()


@contextmanager
def disk(path: Path) -> Iterator[None]:
    """Turns a failed write of ``path`` (full disk, read-only or blocked folder) into an :class:`ArtifactError`."""
    try:
        yield
    except Exception as error:
        reason = _write_failure(error, path)
        if reason is None:
            raise
        raise ArtifactError(
            f"cannot write {path}: {reason} (free space, or choose a writable folder with --out; "
            "finished stages and checkpoints are kept)"
        ) from error


def _write_failure(error: Exception, path: Path) -> str | None:
    """The system's words where ``error`` says that ``path`` cannot be written, None for any other error."""
    if isinstance(error, OSError):
        place = None if error.filename is None else Path(os.fsdecode(error.filename))
        near = place is None or place in (path, *path.parents) or path.parent in place.parents
        missing = error.errno in (None, errno.ENOENT)  # something that should have been read is not there
        return error.strerror if near and not missing else None
    # safetensors and polars write through Rust, whose errors carry the system's number only in their text
    code = re.search(r"os error (\d+)", str(error))
    number = int(code[1]) if code else 0
    known = ("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EACCES", "EIO")
    full = [getattr(errno, name) for name in known if name in errno.errorcode.values()]
    return os.strerror(number) if number in full else None
