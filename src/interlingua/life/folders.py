"""The folders of versions: who is in them, and deleting those of versions that nobody needs any more.

A version's folder holds the data that it was trained with: ids, events, texts of users. What the store has forgotten
since is still there until the folder is deleted. The entry of a version stays in the store, with its numbers.

What is deleted: the stages of the versions (``evaluate-...`` and what it was made from) that no other finished run
beside them was made from, and the data of refreshes that no run left over was trained on. What serves is never deleted.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from interlingua.errors import ArtifactError, at_least_one
from interlingua.life.refresh import FRAMES
from interlingua.storage import artifact, exact_files
from interlingua.store import ModelVersion, Store, steps

if TYPE_CHECKING:
    from interlingua.storage.artifact import Artifact


@dataclass(frozen=True)
class Pruned:
    """What was deleted, or would be."""

    versions: tuple[str, ...]
    """whose folders are gone"""
    folders: tuple[str, ...]
    left: tuple[str, ...]
    """versions that still have theirs"""
    size: int
    """bytes"""


def holding(store: Store, user: str) -> list[str]:
    """Versions whose folders have a user in their data, oldest first."""
    return [model.version for model in _with_folders(store) if any(_names(path, user) for path in _data_of(model))]


def prune(store: Store, *, keep: int = 1, user: str | None = None, dry_run: bool = False) -> Pruned:
    """Deletes the folders of versions: all but the one that serves and those to which a rollback would go.

    Args:
        store: whose versions they are.
        keep: how many steps of rollback keep their folders.
        user: delete only the versions that have this user in their data, those that a rollback would need too.
        dry_run: delete nothing.

    Raises:
        ConfigError: ``keep`` below 0.
        ArtifactError: something is being trained beside them, or a refresh was interrupted there.
    """
    if keep != 0:
        at_least_one("keep", keep)
    models = _with_folders(store)
    safe = _served_last(store, keep if user is None else 0)
    chosen = None if user is None else holding(store, user)
    gone = [each for each in models if each.version not in safe and (chosen is None or each.version in chosen)]
    left = [each for each in models if each not in gone]
    roots = sorted({Path(each.path).parent for each in gone})
    for root in roots:
        _check_idle(root)
    folders = [path for root in roots for path in _unneeded(root, gone, left)]
    size = sum(file.stat().st_size for path in folders for file in path.rglob("*") if file.is_file())
    if not dry_run:
        for path in folders:  # what a run was made from goes first: an interrupted call finds the rest by the run
            shutil.rmtree(path)
        for each in gone:
            store.add_model(replace(each, path=""))
    return Pruned(
        tuple(each.version for each in gone), tuple(map(str, folders)), tuple(each.version for each in left), size
    )  # fmt: skip


def _with_folders(store: Store) -> list[ModelVersion]:
    return [model for model in store.models() if model.path and Path(model.path).is_dir()]


def _served_last(store: Store, count: int) -> set[str]:
    """What serves, and up to ``count`` versions to which rollbacks would go."""
    known = {model.version for model in _with_folders(store)}
    names = list(dict.fromkeys(step.version for step in reversed(steps(store.history()))))
    return {*names[:1], *[name for name in names[1:] if name in known][:count]}


def _check_idle(root: Path) -> None:
    """Raises: ArtifactError: somebody trains in a folder of runs, or a refresh is to be continued there."""
    if begun := next(root.glob("refresh-*.json"), None):
        raise ArtifactError(
            f"a refresh is under way in {root}, or was interrupted ({begun.name}); wait for it, or let it end with "
            "interlingua refresh --store STORE, and try again"
        )
    for path in root.glob(".*.lock"):
        try:
            with FileLock(path).acquire(timeout=0):
                pass
        except Timeout:
            raise ArtifactError(f"something is being trained in {root} ({path.name}); wait for it") from None


def _unneeded(root: Path, gone: Collection[ModelVersion], left: Iterable[ModelVersion]) -> list[Path]:
    """The folders of some versions that nothing else was made from: those that others were made from come first."""
    every = {each.path.name: each for each in artifact.listing(root)}
    ours = {Path(each.path).name for each in gone if Path(each.path).parent == root}
    rest = [name for name, each in every.items() if each.kind == "evaluate" and name not in ours]
    needed = {name for other in rest for name in _made_from(every, other)}
    found = dict.fromkeys(name for run in sorted(ours) for name in _made_from(every, run) if name not in needed)
    elsewhere = [_card(Path(each.path)) for each in left if Path(each.path).parent != root]
    used = {_data_name(each) for each in [*(every[name] for name in rest), *elsewhere] if each is not None}
    frames = [path for path in sorted((root / FRAMES).glob("refresh-*")) if path.resolve() not in used]
    return [*frames, *(root / name for name in found if (root / name).is_dir())]


def _made_from(every: dict[str, Artifact], name: str) -> Iterator[str]:
    """A stage's ancestors, the first ones first, and the stage."""
    found = dict[str, None]()
    _collect(every, name, found)
    yield from found


def _collect(every: dict[str, Artifact], name: str, found: dict[str, None]) -> None:
    made = every.get(name)
    for parent in made.parents.values() if made is not None else ():
        if parent not in found:
            _collect(every, parent, found)
    found[name] = None


def _card(run: Path) -> Artifact | None:
    try:
        return artifact.load(run, verify=False)
    except ArtifactError:
        return None


def _data_name(run: Artifact) -> Path | None:
    """Where a run's data were read from, if that is a folder of a refresh."""
    recipe: Any = run.card.get("recipe")
    name = (recipe.get("data") or {}).get("name") if isinstance(recipe, dict) else None
    path = Path(name).resolve() if isinstance(name, str) else None
    return path if path is not None and path.parent.name == FRAMES else None


def _data_of(model: ModelVersion) -> list[Path]:
    """Folders that may have data of a version: its stages, and what a refresh read."""
    run = _card(Path(model.path))
    if run is None:
        return []
    root = run.path.parent
    every = {each.path.name: each for each in artifact.listing(root)}
    stages = [root / name for name in _made_from(every, run.path.name) if name in every]
    frames = [path for path in (_data_name(run),) if path is not None]
    return [*stages, *frames]


def _names(folder: Path, user: str) -> bool:
    """Whether a table of a folder names a user."""
    files = folder.rglob("*.parquet")
    return any(
        "user_id" in exact_files.column_names(path) and exact_files.holds(path, "user_id", user) for path in files
    )
