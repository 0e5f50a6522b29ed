"""A text encoder that is trained along learns at a rate of its own: one optimiser with two groups of weights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

ENCODER = "text."
"""beginning of the names of a text encoder's weights in what is trained"""


def two_rates(named: Iterable[tuple[str, Any]], encoder_rate: float | None) -> list[dict[str, Any]]:
    """Groups for an optimiser: the encoder's weights at ``encoder_rate``, where there are any, and all others.

    ``encoder_rate``: None: the others' rate.
    """
    parameters = list(named)
    encoder = [p for name, p in parameters if name.startswith(ENCODER)]
    rest = [p for name, p in parameters if not name.startswith(ENCODER)]
    rate = {} if encoder_rate is None else {"lr": encoder_rate}
    return [{"params": rest}, *([{"params": encoder, **rate}] if encoder else [])]
