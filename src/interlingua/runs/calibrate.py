"""Calibration after training. If it fails, what was trained is kept."""

from __future__ import annotations

import numpy as np

from interlingua.contracts.component import Component
from interlingua.data.split import Split
from interlingua.progress import say
from interlingua.training.checkpoint import trainable_state


def calibrate_or_warn(ranker: Component, split: Split, stage: str = "rank") -> dict[str, str]:
    """Calibrates on the validation part. If that fails, the former numbers stay and the card says why."""
    valid, before = split.valid, trainable_state(ranker, copy=True)
    rows_of = np.repeat(np.arange(len(valid)), np.diff(valid.offsets))  # one question per held-out item
    queries = split.queries("valid").take(rows_of)
    try:
        ranker.calibrate(queries, valid.items)
    except (ArithmeticError, RuntimeError, ValueError) as error:
        ranker.load_state_dict(before, strict=False)
        why = f"{type(error).__name__}: {error}"
        say(f"{stage}: the calibration failed and its starting numbers are kept ({why})")
        return {"calibration": f"failed, starting numbers kept: {why}"}
    return {}
