"""Saved models on the Hugging Face hub: pushed on request only, fetched at one commit, never executed."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interlingua.errors import ConfigError, MissingExtraError, first_line, shown
from interlingua.progress import say
from interlingua.runs.pretrained import save
from interlingua.runs.saved import CONFIG, README, STAGES, read_config
from interlingua.runs.session import Session

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
"""``owner/name``"""
FETCHED = [CONFIG, README, *(f"{stage}-*/**{end}" for stage in STAGES for end in (".json", ".safetensors", ".parquet"))]
"""files of a saved model; anything else in a repository is not downloaded"""
FETCHED += [f"{stage}-*/templates/*.txt" for stage in STAGES]


@dataclass(frozen=True)
class Fetched:
    """A saved model on this machine."""

    folder: Path
    source: str
    """the folder, or ``owner/name@commit``"""


def fetch(name: Path | str, revision: str | None = None, **options: Any) -> Fetched:
    """A saved model by its folder, or by its name on the hub.

    Args:
        name: an existing folder, or else ``owner/name``.
        revision: branch, tag or commit on the hub; None: its main branch. The commit is reported and kept.
        options: of ``huggingface_hub.snapshot_download``: ``token``, ``cache_dir``, ``local_files_only``.

    Raises:
        ConfigError: nothing is found, or the hub refuses.
        MissingExtraError: huggingface_hub is not installed.
    """
    text = str(name)
    if Path(text).is_dir():
        if revision is not None:
            raise ConfigError(f"{text} is a folder, and a revision ({revision}) belongs to a name on the hub")
        return Fetched(Path(text), text)
    if isinstance(name, Path) or not REPOSITORY.fullmatch(text):
        raise ConfigError(f"no saved model at {shown(text)}: give its folder, or a name on the hub (owner/name)")
    hub = _hub("a model of the hub")
    with _words(f"{text}{'' if revision is None else '@' + revision}"):
        folder = Path(hub.snapshot_download(text, revision=revision, allow_patterns=FETCHED, **options))
    if not (folder / CONFIG).is_file() or read_config(folder) is None:
        raise ConfigError(
            f"{text} on the hub holds no model that interlingua saved: its {CONFIG} says so, or is not there"
        )
    source = f"{text}@{folder.name}"
    say(f"{text}: commit {folder.name}")
    return Fetched(folder, source)


def push(
    session: Session,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    events: bool = False,
    license: str | None = None,
    message: str | None = None,
) -> str:
    """Saves a run and uploads it in one commit; creates the repository if it does not exist.

    Args:
        session: a finished run.
        repo_id: ``owner/name``.
        private: whether a new repository is private; None: the account's default.
        token: of the hub; None: the one of ``hf auth login`` or ``HF_TOKEN``.
        revision: branch, created if it does not exist; None: the main branch.
        events: see :func:`interlingua.runs.pretrained.save`.
        license: see there.
        message: of the commit.

    Returns:
        The commit's address.

    Raises:
        ConfigError: the run cannot be saved this way, or the hub refuses.
        MissingExtraError: huggingface_hub is not installed.
    """
    if not REPOSITORY.fullmatch(repo_id):
        raise ConfigError(f"a name on the hub is owner/name, got {shown(repo_id)}")
    hub = _hub("pushing to the hub")
    with tempfile.TemporaryDirectory() as work:
        folder = save(session, Path(work) / "model", events=events, license=license, name=repo_id)
        with _words(repo_id):
            api = hub.HfApi(token=token)
            api.create_repo(repo_id, private=private, exist_ok=True, repo_type="model")
            if revision is not None:
                api.create_branch(repo_id, branch=revision, exist_ok=True)
            done = api.upload_folder(
                repo_id=repo_id, folder_path=folder, revision=revision,
                commit_message=message or f"{session.recipe.name}, by interlingua",
                delete_patterns=[f"{stage}-*" for stage in STAGES],  # stages of a model that was there before
            )  # fmt: skip
    say(f"pushed: {done.commit_url}")
    return str(done.commit_url)


def _hub(purpose: str) -> Any:
    try:
        import huggingface_hub
    except ImportError:
        raise MissingExtraError("huggingface_hub", "hub", purpose) from None
    return huggingface_hub


@contextmanager
def _words(what: str) -> Iterator[None]:
    """Turns the hub's many types of errors into one of ours."""
    try:
        yield
    except Exception as error:
        raise ConfigError(
            f"the hub and {what}: {first_line(error)} (a private or new repository wants a token: hf auth login, or "
            "token=...; offline only what was downloaded before opens)"
        ) from error
