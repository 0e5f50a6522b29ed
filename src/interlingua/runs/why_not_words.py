"""The facts of :mod:`interlingua.runs.why_not` in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass
