"""The split ``given``."""

from __future__ import annotations

from interlingua.data.splitter import Dividing, Division, Splitter
from interlingua.errors import DataError


class Given(Splitter):
    """What the source's own column ``part`` or ``split`` says."""

    def divide(self, task: Dividing) -> Division:
        """The source's codes; validation events are not in the history at test time."""
        if task.given is None:
            raise DataError(
                'split "given" needs a column split or part (train/valid/test) in the events, which this source lacks; '
                "name it with columns.part, or choose another split"
            )
        return Division(task.given, valid_known=False)
