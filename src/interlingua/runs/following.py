"""A recommender that follows its store: items which another process has put in, changed or taken out."""

from __future__ import annotations

from pathlib import Path

from interlingua.runs.sharing import Shared
from interlingua.runs.shelf import Shelf


class Following(Shared):
    """Part of :class:`interlingua.recommender.Recommender`; events are followed by each question."""

    _shelf: Shelf

    def _use(self, index: Path | str | None) -> None:
        raise NotImplementedError

    def follow_items(self) -> int:
        """Takes in what changed in the store since the last look, by whomever; returns how many items.

        Without a store nothing happens. Not while another thread asks this recommender.
        """
        changed = self._shelf.follow()
        if changed:
            self._use(self.index)
        return changed
