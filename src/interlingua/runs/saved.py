"""The folder of a saved model: a README, ``config.json``, and the stages of one run as folders beside each other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from interlingua.errors import ArtifactError, ConfigError
from interlingua.storage import artifact
from interlingua.storage.durable import replace

CONFIG, README = "config.json", "README.md"
LIBRARY = "interlingua"
FORMAT = 1
"""raised when an older interlingua could not read the folder"""
STAGES = ("prepare", "embed", "train", "align", "rank", "fuse", "evaluate")


def run_in(path: Path) -> Path:
    """The run in a saved model's folder; any other folder is returned as it is.

    Raises:
        ArtifactError: its ``config.json`` is damaged, of a later version, or names no run beside it.
    """
    if not (path / CONFIG).is_file() or (path / artifact.CARD).is_file():
        return path
    found = read_config(path)
    if found is None:
        return path
    run = found.get("run")
    if not isinstance(run, str) or Path(run).name != run or not run.startswith("evaluate-"):
        raise ArtifactError(f"{path / CONFIG} names the run {run!r}, which is no stage beside it; get the model anew")
    return path / run


def read_config(path: Path) -> dict[str, Any] | None:
    """The content of a saved model's ``config.json``; None if the file belongs to something else.

    Raises:
        ArtifactError: it is damaged, or of a later version.
    """
    try:
        found = json.loads((path / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path / CONFIG} is damaged ({error}); get the model anew") from None
    if not isinstance(found, dict) or found.get("library_name") != LIBRARY:
        return None
    if found.get("format") != FORMAT:
        raise ArtifactError(
            f"{path} has format {found.get('format')!r}, this interlingua reads {FORMAT}; install the one that wrote it"
        )
    return found


def check_target(folder: Path, overwrite: bool) -> None:
    """Refuses to overwrite anything but a saved model, and a saved model unless that is requested.

    Raises:
        ConfigError: existing files would be lost.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    strays = ["(a file)"] if not folder.is_dir() else sorted(p.name for p in folder.iterdir() if not _is_ours(p))
    known = folder.is_dir() and (folder / CONFIG).is_file() and read_config(folder) is not None
    if strays or not known:
        shown = f" ({', '.join(strays[:5])})" if strays else ""
        raise ConfigError(f"{folder} holds something else than a saved model{shown}; name a new folder")
    if not overwrite:
        raise ConfigError(f"{folder} holds a saved model; name a new folder, or say overwrite=True (--overwrite)")


def _is_ours(path: Path) -> bool:
    if path.is_dir():
        return path.name.split("-")[0] in STAGES and (path / artifact.CARD).is_file()
    return path.name in (CONFIG, README)


def put(made: Path, folder: Path) -> None:
    """Moves a complete saved model into place; a former one is removed after that."""
    old = made.with_name(f"{made.name}.old")
    if folder.exists():
        folder.rename(old)
    try:
        replace(made, folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
