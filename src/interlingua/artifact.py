"""A stage's result is a folder: written to a temporary sibling, renamed when whole, verified when read. No pickle.

``card.json`` is written last, so a folder that has one is complete. Half-done work lives in ``<name>.partial``
(training checkpoints), which a later run of the same key continues.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import re
import resource
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from interlingua.errors import ArtifactError

T = TypeVar("T")

SCHEMA = 1
CARD = "card.json"
CARD_HASH = "card_sha256"
"""entry of the card that holds the hash of all its others; cards of earlier versions have none"""
_CARD_FIELDS = {"kind": str, "name": str, "key": str, "parents": dict, "files": dict}


@dataclass(frozen=True)
class Artifact:
    """A finished stage on disk."""

    path: Path
    card: dict[str, Any]

    @property
    def key(self) -> str:
        """The content key: equal keys mean equal configuration, seed, parents and data."""
        return str(self.card["key"])

    @property
    def kind(self) -> str:
        """The stage, e.g. ``train``."""
        return str(self.card["kind"])

    @property
    def parents(self) -> dict[str, str]:
        """Parent stage -> folder name beside this one."""
        return dict(self.card["parents"])

    def entry(self, name: str, kind: type[T]) -> T:
        """An entry of the card that this kind of stage must have.

        Raises:
            ArtifactError: it is missing or no ``kind``.
        """
        value = self.card.get(name)
        if not isinstance(value, kind):
            raise ArtifactError(
                f"{self.path / CARD} has no usable entry {name!r} (got {value!r}); delete the folder and run the "
                "recipe again"
            )
        return value

    def parent(self, stage: str) -> Artifact:
        """The parent artifact of the given stage, verified.

        Raises:
            ArtifactError: it has no such parent, or the parent's folder is missing or damaged.
        """
        if stage not in self.parents:
            raise ArtifactError(f"{self.path} was not made from a {stage!r} stage (it has: {', '.join(self.parents)})")
        return load(self.path.parent / self.parents[stage])


def content_key(parts: Mapping[str, Any]) -> str:
    """Hash of JSON-able parts: configuration, seed, parents' keys, data fingerprint."""
    text = json.dumps({"schema": SCHEMA, **parts}, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def file_hash(path: Path) -> str:
    """sha256 of a file, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_name(kind: str, name: str, key: str) -> str:
    """``kind-name-key8``: what a stage's folder is called."""
    return f"{kind}-{name}-{key[:8]}" if name else f"{kind}-{key[:8]}"


def partial(root: Path, kind: str, name: str, key: str) -> Path:
    """The folder in which an unfinished stage keeps its checkpoints (created)."""
    path = root / f"{folder_name(kind, name, key)}.partial"
    with disk(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def locked(root: Path, kind: str, name: str, key: str) -> Iterator[None]:
    """One process at a time works on a key; a second one waits, then finds the work done.

    The lock is an advisory ``flock``: the system drops it when its holder dies, so a killed run blocks nobody.
    """
    with disk(root):
        root.mkdir(parents=True, exist_ok=True)
        stream = (root / f".{folder_name(kind, name, key)}.lock").open("w")
    with stream:
        try:
            import fcntl
        except ImportError:  # a system without flock: two runs of one key may repeat work, the rename keeps them apart
            yield
            return
        fcntl.flock(stream, fcntl.LOCK_EX)
        for dead in root.glob(
            f".{folder_name(kind, name, key)}.*.tmp"
        ):  # of a killed process: ours is the only one alive
            shutil.rmtree(dead, ignore_errors=True)
        try:
            yield
        finally:
            fcntl.flock(stream, fcntl.LOCK_UN)


@contextmanager
def writing(
    root: Path,
    kind: str,
    name: str,
    key: str,
    *,
    parents: Mapping[str, str],
    fields: Mapping[str, Any],
    final: Path | None = None,
) -> Iterator[Path]:
    """Yields a temporary folder to fill; on success hashes it, writes the card last and renames it into place.

    Args:
        root: the runs folder.
        kind: stage name.
        name: component name.
        key: content key.
        parents: parent stage -> folder name.
        fields: further entries of the card (seed, data fingerprint, device, shapes, ...).
        final: another place than ``root/kind-name-key``; what is there is replaced.
    """
    keep_first = final is None
    final = final or root / folder_name(kind, name, key)
    temporary = root / f".{final.name}.{os.getpid()}.tmp"
    started = time.perf_counter()
    with disk(final):
        temporary.mkdir(parents=True)
        try:
            yield temporary
            card = _card(temporary, kind, name, key, parents, fields, time.perf_counter() - started)
            (temporary / CARD).write_text(json.dumps(card, indent=1, ensure_ascii=False), encoding="utf-8")
            if keep_first and (final / CARD).exists():
                return  # another process finished the same key first: same content, keep theirs
            if final.exists():
                shutil.rmtree(final)
            temporary.rename(final)
            shutil.rmtree(root / f"{final.name}.partial", ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


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
    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EIO)
    return os.strerror(number) if number in full else None


def _card(
    folder: Path,
    kind: str,
    name: str,
    key: str,
    parents: Mapping[str, str],
    fields: Mapping[str, Any],
    seconds: float,
) -> dict[str, Any]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    card = {
        "schema": SCHEMA,
        "kind": kind,
        "name": name,
        "key": key,
        "parents": dict(parents),
        "seconds": round(seconds, 3),
        "peak_memory_bytes": _peak_memory_bytes(),
        "versions": versions(),
        "git_commit": _git_commit(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        **fields,
        "files": {str(p.relative_to(folder)): file_hash(p) for p in files},
    }
    return card | {CARD_HASH: _card_hash(card)}


def _card_hash(card: Mapping[str, Any]) -> str:
    """sha256 of a card's entries, however its text is laid out."""
    read = json.loads(json.dumps({name: value for name, value in card.items() if name != CARD_HASH}))
    return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()  # of what a reader will see


def _peak_memory_bytes() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


@cache
def versions() -> dict[str, str]:
    """Versions of the packages that can change a number."""
    found = {}
    for package in ("interlingua", "torch", "numpy", "scipy", "polars", "transformers", "sentence-transformers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@cache
def _git_commit() -> str | None:
    here = Path(__file__).parent
    try:
        answer = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def find(root: Path, kind: str, name: str, key: str) -> Artifact | None:
    """The finished stage with this key, verified, or None.

    Raises:
        ArtifactError: it is damaged, or the folder of that name belongs to another key.
    """
    path = root / folder_name(kind, name, key)
    if not (path / CARD).exists():
        return None
    found = load(path)
    if found.key != key:
        raise ArtifactError(f"{path} holds the key {found.key} instead of {key}; move it away and run the recipe again")
    return found


def load(path: Path | str, *, verify: bool = True) -> Artifact:
    """Opens a stage's folder.

    Args:
        path: the folder.
        verify: check the sha256 of every file against the card (the card's own is always checked).

    Raises:
        ArtifactError: no finished stage there, a newer schema, or a file missing, edited or damaged.
    """
    path = Path(path)
    card_path = path / CARD
    if not card_path.is_file():
        raise ArtifactError(f"{path} holds no finished stage ({CARD} is missing); interlingua runs lists what is there")
    try:
        card = json.loads(card_path.read_text(encoding="utf-8"))
        schema = int(card["schema"])
        wrong = [f for f, t in _CARD_FIELDS.items() if not isinstance(card.get(f), t)]
        if wrong and schema <= SCHEMA:
            raise ValueError(f"no usable {', '.join(wrong)}")
    except (ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{card_path} is damaged ({error}); delete the folder and run the recipe again") from None
    if schema > SCHEMA:
        raise ArtifactError(
            f"{path} has schema {schema}, this interlingua reads up to {SCHEMA}; install the later one that wrote it"
        )
    if CARD_HASH in card and card[CARD_HASH] != _card_hash(card):
        raise ArtifactError(
            f"{card_path} was changed after it was written: its entries no longer have the hash in {CARD_HASH!r}; "
            "delete the folder and run the recipe again"
        )
    if verify:
        for name, expected in card["files"].items():
            _verify(path / name, expected)
    return Artifact(path, card)


def _verify(path: Path, expected: str) -> None:
    if not path.is_file():
        raise ArtifactError(f"{path} is missing although its card lists it; delete the folder and run the recipe again")
    got = file_hash(path)
    if got != expected:
        raise ArtifactError(
            f"{path} was changed after it was written: sha256 {got[:12]} instead of {expected[:12]}; "
            "delete the folder and run the recipe again"
        )


def listing(root: Path) -> list[Artifact]:
    """All finished stages in a runs folder, oldest first; unreadable ones are left out."""
    found = []
    for card in sorted(Path(root).glob(f"*/{CARD}"), key=lambda p: p.stat().st_mtime):
        try:
            found.append(load(card.parent, verify=False))
        except ArtifactError:
            continue
    return found
