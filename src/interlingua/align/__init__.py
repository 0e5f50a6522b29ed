"""Ways to join the ID space with the text space: one file each.

Not here: what several share (nn/), the loop that trains them (training/).
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Room(ModuleType):
    """A package that is a function too: ``interlingua.align(...)`` is :func:`interlingua.recommender.align`."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        return import_module("interlingua.recommender").align(*args, **options)


sys.modules[__name__].__class__ = _Room
