"""A stage's result is a folder: written to a temporary sibling, renamed when whole, verified when read. No pickle.

``card.json`` is written last, so a folder that has one is complete. Half-done work lives in ``<name>.partial``
(training checkpoints), which a later run of the same key continues.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, TypeVar

from interlingua.errors import ArtifactError
from interlingua.storage.durable import disk, lock, replace
from interlingua.storage.environment import git_commit, peak_memory_bytes, versions

__all__ = ["Artifact", "content_key", "disk", "file_hash", "find", "listing", "load", "locked", "versions", "writing"]

T = TypeVar("T")

SCHEMA = 2
"""2: parents with their keys and contents; a stage with parents of schema 1 is refused"""
KEYS = 1
"""raised to change all keys of stages and caches"""
CARD = "card.json"
CARD_HASH = "card_sha256"
"""entry of the card that holds the hash of all its others"""
AGAIN = "delete the folder and run the recipe again"
READ = (".safetensors", ".parquet", ".json", ".jsonl", ".npy", ".toml")
"""endings of files that stages read: a card lists each of them that is in the folder"""
NOTES = ("log.jsonl", "config.toml")
"""files of a stage that no later stage reads: they hold times, and may differ where all else is equal"""
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
        return {stage: str(made["folder"]) for stage, made in self.card["parents"].items()}

    @property
    def contents(self) -> str:
        """Hash of everything in this stage that a later stage can read."""
        return content_key({name: found for name, found in self.card["files"].items() if name not in NOTES})

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
            ArtifactError: it has no such parent, the parent's folder is missing or damaged, or holds another stage.
        """
        if stage not in self.parents:
            raise ArtifactError(f"{self.path} was not made from a {stage!r} stage (it has: {', '.join(self.parents)})")
        found = load(self.path.parent / self.parents[stage])
        self.check_parent(stage, found)
        return found

    def check_parent(self, stage: str, found: Artifact) -> None:
        """Refuses a parent other than the one that this stage was made from.

        Raises:
            ArtifactError: another kind of stage, another key, or other contents under the same key.
        """
        made = self.card["parents"].get(stage, {})
        kind = stage.rsplit(".", 1)[-1]  # a member's stage stands under NUMBER.STAGE
        if (found.kind, found.key, found.contents) == (kind, made.get("key"), made.get("contents")):
            return
        what = f"{found.kind} {found.card['name']} with the key {found.key[:8]}"
        why = "it was made anew with other contents" if found.key == made.get("key") else f"it holds {what}"
        raise ArtifactError(
            f"{self.path} was not made from what is in {found.path} now: {why}; put the folder of the key "
            f"{str(made.get('key'))[:8]} back, or delete {self.path.name} and run the recipe again"
        )


def content_key(parts: Mapping[str, Any]) -> str:
    """Hash of JSON-able parts: configuration, seed, parents' keys, data fingerprint."""
    text = json.dumps({"schema": KEYS, **parts}, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def file_hash(path: Path) -> str:
    """sha256 of a file, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_name(kind: str, name: str, key: str) -> str:
    """``kind-name-key8``: what a stage's folder is called; of a name only letters, digits, ``.``, ``_`` and ``-``."""
    name = re.sub(r"[^\w.-]+", "-", name)
    return f"{kind}-{name}-{key[:8]}" if name else f"{kind}-{key[:8]}"


def partial(root: Path, kind: str, name: str, key: str) -> Path:
    """The folder in which an unfinished stage keeps its checkpoints (created)."""
    path = _partial(root / folder_name(kind, name, key))
    with disk(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def _partial(final: Path) -> Path:
    return final.with_name(f"{final.name}.partial")


@contextmanager
def locked(root: Path, kind: str, name: str, key: str) -> Iterator[None]:
    """One process at a time works on a key; a second one waits, then finds the work done.

    The system drops the lock when its holder dies, so a killed run blocks nobody.
    """
    with disk(root):
        root.mkdir(parents=True, exist_ok=True)
    with lock(root / f".{folder_name(kind, name, key)}.lock"):
        dead = root.glob(f".{folder_name(kind, name, key)}.*.tmp")  # of a killed process: ours is the only one alive
        for path in dead:
            shutil.rmtree(path, ignore_errors=True)
        final = root / folder_name(kind, name, key)
        if (final / CARD).exists():  # a process was killed between finishing the stage and clearing up
            shutil.rmtree(_partial(final), ignore_errors=True)
        yield


@contextmanager
def writing(
    root: Path,
    kind: str,
    name: str,
    key: str,
    *,
    parents: Mapping[str, Artifact],
    fields: Mapping[str, Any],
    final: Path | None = None,
) -> Iterator[Path]:
    """Yields a temporary folder to fill; on success hashes it, writes the card last and renames it into place.

    Args:
        root: the runs folder.
        kind: stage name.
        name: component name.
        key: content key.
        parents: the stages that this one was made from; the card holds their folders, keys and contents.
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
            replace(temporary, final)
            shutil.rmtree(_partial(root / final.name), ignore_errors=True)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _card(
    folder: Path,
    kind: str,
    name: str,
    key: str,
    parents: Mapping[str, Artifact],
    fields: Mapping[str, Any],
    seconds: float,
) -> dict[str, Any]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    card = {
        "schema": SCHEMA,
        "kind": kind,
        "name": name,
        "key": key,
        "parents": {s: {"folder": p.path.name, "key": p.key, "contents": p.contents} for s, p in parents.items()},
        "seconds": round(seconds, 3),
        "peak_memory_bytes": peak_memory_bytes(),
        "versions": versions(),
        "git_commit": git_commit(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        **fields,
        "files": {p.relative_to(folder).as_posix(): file_hash(p) for p in files},
    }
    return card | {CARD_HASH: _card_hash(card)}


def _card_hash(card: Mapping[str, Any]) -> str:
    """sha256 of a card's entries, however its text is laid out."""
    read = json.loads(json.dumps({name: value for name, value in card.items() if name != CARD_HASH}))
    return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).hexdigest()  # of what a reader will see


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
    if schema < SCHEMA and card["parents"]:
        raise ArtifactError(
            f"{path} was made by an earlier version, which did not store what its parents were: nothing could say "
            f"whether they are still the same; {AGAIN}"
        )
    if card.get(CARD_HASH) != _card_hash(card):
        what = "was changed after it was written: its entries do not have the hash in"
        raise ArtifactError(f"{card_path} {what if CARD_HASH in card else 'has no'} {CARD_HASH!r}; {AGAIN}")
    _check_names(card_path, card)
    if verify:
        for name, expected in card["files"].items():
            _verify(path / name, expected)
        _check_complete(path, card)
    return Artifact(path, card)


def _check_names(card_path: Path, card: Mapping[str, Any]) -> None:
    """Refuses names that lead out of the folder (files) or are no folder beside it (parents)."""
    made = card["parents"]
    good = all(isinstance(p, dict) and isinstance(p.get("folder"), str) and p.get("key") for p in made.values())
    bad = [name for name in card["files"] if not inside(name)]
    bad += [p["folder"] for p in made.values() if good and not (inside(p["folder"]) and "/" not in p["folder"])]
    if bad or not good:
        what = f"names {bad[0]!r}, which is outside its folder" if bad else "has parents without folder or key"
        raise ArtifactError(f"{card_path} {what}; it was not written by interlingua, do not use it")


def inside(name: str) -> bool:
    """Whether a relative path stays below its folder on every system."""
    parts = PureWindowsPath(name).parts
    whole = name and not PurePosixPath(name).is_absolute() and not PureWindowsPath(name).anchor and "\0" not in name
    return bool(whole) and "\\" not in name and not {"..", "."} & set(parts)


def _check_complete(path: Path, card: Mapping[str, Any]) -> None:
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if file.suffix in READ and file.is_file() and name not in {*card["files"], CARD} and not name.startswith("."):
            raise ArtifactError(
                f"{file} is not in the list of the stage's card, so nothing says what it is; move it away, or {AGAIN}"
            )


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
