"""Positions of targets in ranked lists, counted from 1, and two special values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Positions = npt.NDArray[np.int64]

NEVER = 2**40
"""rank of a target that cannot be recommended at all (it is masked as seen)"""
BEYOND = 2**39
"""rank of a target below the last requested position"""
