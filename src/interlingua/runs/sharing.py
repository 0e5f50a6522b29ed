"""Methods by which a recommender is saved, opened elsewhere and shared, named as Hugging Face names them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from interlingua.runs.session import Session


class Shared:
    """Part of :class:`interlingua.recommender.Recommender`, which is made from a session and an index."""

    session: Session
    source: str | None = None
    """where it was opened from: a folder, or ``owner/name@commit`` of the hub"""

    def __init__(self, session: Session, index: Path | str | None = None) -> None:
        self.session, self.index = session, index

    @classmethod
    def from_pretrained(
        cls,
        name: Path | str,
        revision: str | None = None,
        *,
        device: str = "auto",
        trust: bool = False,
        index: Path | str | None = None,
        models: Mapping[str, str] | None = None,
        **download: Any,
    ) -> Self:
        """Opens a saved model: a folder, or ``owner/name`` on the hub. Nothing of it is executed.

        Args:
            name: what :meth:`save_pretrained` wrote, or :meth:`push_to_hub` pushed.
            revision: branch, tag or commit on the hub; which commit it was is kept in :attr:`source`.
            device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
            trust: it may import code, read environment variables and use the network, as its recipe says.
            index: see :meth:`interlingua.recommender.Recommender.load`.
            models: a language model's name in its README -> the folder where it lies here.
            download: ``token``, ``cache_dir``, ``local_files_only``.

        Raises:
            ConfigError: nothing is found, the hub refuses, or the model needs something that requires trust.
            ArtifactError: a file was changed, or a language model is missing.
        """
        from interlingua.runs.hub import fetch
        from interlingua.runs.opening import open_session

        found = fetch(name, revision, **download)
        made = cls(open_session(found.folder, device, trust=trust, models=models), index)
        made.source = found.source
        return made

    def save_pretrained(
        self, folder: Path | str, *, events: bool = False, overwrite: bool = False, license: str | None = None
    ) -> Path:
        """Writes a folder that opens without the data and the runs folder (:func:`interlingua.runs.pretrained.save`).

        Without ``events`` it holds no user, and answers histories only. ``overwrite``: a saved model may be replaced.
        """
        from interlingua.runs.pretrained import save

        return save(self.session, folder, events=events, overwrite=overwrite, license=license)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool | None = None,
        token: str | bool | None = None,
        revision: str | None = None,
        events: bool = False,
        license: str | None = None,
        message: str | None = None,
    ) -> str:
        """Saves it and uploads it to ``owner/name``; returns the commit's address (:func:`interlingua.runs.hub.push`).

        Without ``events`` no user and no event is uploaded.
        """
        from interlingua.runs.hub import push

        return push(
            self.session, repo_id, private=private, token=token, revision=revision, events=events, license=license,
            message=message,
        )  # fmt: skip
