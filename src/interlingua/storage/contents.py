"""Contents that an option names: sha256 of a file or folder, text of a template, commit of a model of the hub."""

from __future__ import annotations

import json
import os
import re
import time
from functools import cache
from pathlib import Path
from typing import Any

from interlingua.storage.artifact import CARD, content_key, file_hash

LARGE = 1 << 24
"""bytes from which a file's hash is remembered while the process lives"""
SETTLED_NS = 2_000_000_000
"""a file that was changed so recently may change again without a trace in its times: its hash is not remembered"""
UNREAD = (".md", ".png", ".jpg", ".gif", ".h5", ".msgpack", ".onnx", ".ot", ".lock", ".tmp")
"""endings of files in a model's folder that no model reads"""
MISSING = "missing: "
"""prefix for missing contents; the reason follows"""
COMMIT = "commit "
"""prefix of the identity of a model of the hub"""
_known: dict[tuple[Any, ...], str] = {}


def hash_file(path: Path) -> str:
    """sha256 of a file; a large one that was not touched since is not read again."""
    stat = path.stat()
    if stat.st_size < LARGE:
        return file_hash(path)
    mark = (str(path.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
    if mark not in _known:
        found = file_hash(path)
        if time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) < SETTLED_NS:
            return found
        _known[mark] = found
    return _known[mark]


def hash_folder(folder: Path) -> str:
    """Hash of all files below a folder that a reader may look at, by name and contents.

    A folder that we wrote (its card lists its files) counts by those files: what is kept beside them does not matter.
    """
    listed = _listed(folder)
    paths = listed if listed is not None else sorted(p for p in folder.rglob("*") if _matters(p.relative_to(folder)))
    names = {p.relative_to(folder).as_posix(): p for p in paths if p.is_file()}
    return content_key({"folder": {name: hash_file(path) for name, path in names.items()}})


def hash_path(path: Path) -> str | None:
    """Hash of a file or folder, None where neither is there."""
    if os.path.isdir(path):  # of these two, no odd name is an error
        return hash_folder(path)
    return hash_file(path) if os.path.isfile(path) else None


def may_be_on_hub(name: str) -> bool:
    """Whether the hub could have a model of that name: ``model`` or ``owner/model``; its own functions raise if not."""
    try:
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
    except ImportError:
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


@cache
def hub_commit(name: str, revision: str | None = None) -> str | None:
    """The commit that a hub name means now: by the hub's answer, or offline by what was downloaded last; else None.

    Asked once while the process lives, so that a key and what is loaded later speak of the same commit.
    """
    version = revision or "main"
    if re.fullmatch(r"[0-9a-f]{40}", version):
        return version
    try:
        from huggingface_hub import HfApi, constants
        from huggingface_hub.file_download import repo_folder_name
    except ImportError:
        return None
    if not may_be_on_hub(name):
        return None
    try:
        found = HfApi().model_info(name, revision=version, timeout=10).sha
        if found:
            return str(found)
    except Exception:  # offline, gated, misspelt: the hub's errors have many types; a copy may be here
        pass
    reference = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type="model") / "refs" / version
    return reference.read_text(encoding="utf-8").strip() if reference.is_file() else None


def hub_folder(name: str, commit: str) -> Path | None:
    """The downloaded files of one commit of a hub model, where its configuration and all its weights are here."""
    try:
        from huggingface_hub import constants
        from huggingface_hub.file_download import repo_folder_name
    except ImportError:
        return None
    root = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type="model")
    folder = root / "snapshots" / commit
    index = folder / "model.safetensors.index.json"
    if not (folder / "config.json").is_file():
        return None
    if index.is_file():
        parts = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        return folder if all((folder / part).is_file() for part in parts) else None
    return folder if any(folder.glob("*.safetensors")) else None


def model_identity(path: Path | None, hub_name: str, revision: str | None) -> str:
    """The identity of a model: a hash of its files, or its commit on the hub."""
    if path is not None:
        return f"sha256 {hash_path(path)}"
    commit = hub_commit(hub_name, revision)
    if commit is None:
        return f"{MISSING}the hub's {hub_name} is not on this machine, and the hub does not answer"
    return f"{COMMIT}{commit} of {hub_name}"


def hub_name_and_commit(identity: str) -> tuple[str, str] | None:
    """Name and commit of a hub model from its identity, None for another model."""
    match = re.fullmatch(rf"{COMMIT}([0-9a-f]+) of (.+)", identity)
    return None if match is None else (match[2], match[1])


def template_hash(value: str, shipped: Path) -> str | None:
    """Hash of a template's text: a path that ends in ``.txt``, or a name in the folder of those that ship."""
    path = Path(os.path.expanduser(value))
    return hash_path(path if path.suffix == ".txt" else shipped / f"{value}.txt")


def _matters(name: Path) -> bool:
    return not any(part.startswith(".") for part in name.parts) and name.suffix.lower() not in UNREAD


def _listed(folder: Path) -> list[Path] | None:
    """The files that a card of ours lists, None without one."""
    try:
        names = json.loads((folder / CARD).read_text(encoding="utf-8"))["files"]
        return sorted(folder / str(name) for name in dict(names))
    except (OSError, ValueError, KeyError, TypeError):
        return None
