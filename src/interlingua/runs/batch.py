"""Lists for all users of a run in one file: made in shards, so that what was interrupted goes on where it was.

Beside ``recs.parquet`` lies ``.recs.parquet.parts`` while the work is under way: each finished shard is a file of its
own, renamed into place when it is whole, and ``plan.json`` says what they are part of. A later call with the same run,
users and options makes the missing ones only; with others it begins anew. At the end the shards become one file.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from interlingua.errors import ConfigError, at_least_one, shown
from interlingua.progress import say, task
from interlingua.storage.artifact import content_key
from interlingua.storage.durable import disk, lock, replace
from interlingua.storage.exact_files import join_parquet, read_parquet

SHARD = 20_000
"""users of a shard"""
PLAN = "plan.json"
FORMAT = 1
"""raised when the same lists are written otherwise"""


@dataclass(frozen=True)
class Written:
    """What was written."""

    path: Path
    users: int
    lists: int
    """users with at least one item"""
    entries: int
    """rows of the file"""
    reused: int
    """users whose lists an earlier, interrupted call had made"""


def write_lists(
    answered: Callable[[Sequence[str]], pl.DataFrame], users: Sequence[str], out: Path | str, about: Any,
    shard: int = SHARD,
) -> Written:  # fmt: skip
    """Writes the lists of ``users``, in their order, as one parquet file.

    Args:
        answered: users -> frame with ``user_id`` and what belongs to it.
        users: external ids.
        out: the file, which is replaced when all is done.
        about: what the lists depend on beside the users (run, options), JSON-able: with other contents shards of an
            earlier call are not used.
        shard: users of a shard.

    Raises:
        ConfigError: no user, ``shard`` < 1, or a file with another ending.
        ArtifactError: the folder cannot be written.
    """
    out = Path(out)
    at_least_one("shard", shard)
    if out.suffix != ".parquet":
        raise ConfigError(f"--out {shown(str(out))}: lists are written as parquet; give a name that ends in .parquet")
    if not len(users):
        raise ConfigError("there is no user to make lists for")
    plan = {"key": content_key({"format": FORMAT, "users": list(users), "shard": shard, "about": about})}
    folder = out.parent / f".{out.name}.parts"
    with disk(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    with lock(out.parent / f".{out.name}.lock"), disk(out):
        _begin(folder, plan)
        starts = range(0, len(users), shard)
        files = [folder / f"{number:06}.parquet" for number in range(len(starts))]
        ready = sum(file.is_file() for file in files)
        reused = sum(min(shard, len(users) - at) for at, file in zip(starts, files, strict=True) if file.is_file())
        if ready:
            say(f"recommend: {reused:,} of {len(users):,} users are there from an interrupted call")
        with task("recommend: shards", len(files)) as progress:
            progress.start_at(ready)
            for at, file in zip(starts, files, strict=True):
                if not file.is_file():
                    _store(answered(users[at : at + shard]), file)
                    progress.advance(note=f"{min(at + shard, len(users)):,} of {len(users):,} users")
        lists, entries = _joined(files, out)
        shutil.rmtree(folder, ignore_errors=True)
    return Written(out, len(users), lists, entries, reused)


def _begin(folder: Path, plan: dict[str, str]) -> None:
    """A folder whose shards belong to this plan."""
    try:
        same = json.loads((folder / PLAN).read_text(encoding="utf-8")) == plan
    except (OSError, ValueError):
        same = False
    if same:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    temporary = folder / f"{PLAN}.tmp"
    temporary.write_text(json.dumps(plan), encoding="utf-8")
    replace(temporary, folder / PLAN)


def _store(frame: pl.DataFrame, file: Path) -> None:
    temporary = file.with_suffix(".tmp")
    with temporary.open("wb") as stream:
        frame.write_parquet(stream, compression="uncompressed")  # read once, soon
    replace(temporary, file)


def _joined(files: Sequence[Path], out: Path) -> tuple[int, int]:
    """All shards as one file, a part at a time; (users with items, rows). A user is in one shard only."""
    temporary = out.parent / f".{out.name}.tmp"
    join_parquet(files, temporary)
    replace(temporary, out)
    found = [(users.n_unique(), len(users)) for users in (read_parquet(file, ["user_id"])["user_id"] for file in files)]
    return sum(lists for lists, _ in found), sum(entries for _, entries in found)
