"""Drift reports for the page: the version that answers beside another one of the store."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from interlingua.errors import ConfigError
from interlingua.life.versions import named
from interlingua.recommender import load

if TYPE_CHECKING:
    from interlingua.serve.model import ServedModel

USERS, MOST = 200, 32
"""users whose lists are compared, and reports that are remembered"""


class DriftReports:
    """Makes one report at a time. Both versions are opened anew: what serves is not touched, and nobody waits."""

    def __init__(self, model: ServedModel) -> None:
        self.model = model
        self._making = Lock()
        self._known: dict[tuple[str, str], dict[str, Any]] = {}

    def of(self, version: str) -> dict[str, Any]:
        """From a version to the one that answers.

        Raises:
            ConfigError: the service has no store, or a report is being made already.
            DataError: the store does not have the version.
            ArtifactError: its run cannot be opened.
        """
        store = self.model.store
        if store is None:
            raise ConfigError("this service has no store and one version only; start it with --store")
        old, new = named(store, version), named(store, self.model.now.version)
        key = (old.version, new.version)
        if key in self._known:
            return self._known[key]
        if not self._making.acquire(blocking=False):
            raise ConfigError("a drift report is being made already; try again later")
        try:
            from interlingua.life.drift import drift

            found = drift(load(Path(old.path)), load(Path(new.path)), users=USERS).to_json()
        finally:
            self._making.release()
        self._known[key] = found
        for first in list(self._known)[:-MOST]:
            del self._known[first]
        return found
