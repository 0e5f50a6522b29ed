"""Candidates of rankers that order what they are given and no catalogue."""

from __future__ import annotations

import numpy as np

from interlingua.data.queries import IntArray
from interlingua.errors import ConfigError


def given(items: IntArray | None, name: str) -> IntArray:
    """(B, C) the candidates.

    Args:
        items: as :meth:`interlingua.contracts.scorer.Scorer.score` gets them.
        name: the ranker's, for the error.

    Raises:
        ConfigError: ``items`` is None, so the whole catalogue is asked for.
    """
    if items is None:
        raise ConfigError(f"the ranker {name!r} orders given candidates; retrieve some first (evaluate.retrieve)")
    return np.asarray(items, np.int64)
