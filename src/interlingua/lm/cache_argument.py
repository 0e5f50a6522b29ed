"""The name under which a module of transformers takes and gives its key/value cache.

It was ``past_key_values`` up to version 5.23 and is ``cache`` from 5.24 on; 5.40 ends the old name, and code from
elsewhere keeps it. So the module itself is asked.
"""

from __future__ import annotations

import inspect
from functools import lru_cache
from typing import Any

NAMES = ("cache", "past_key_values", "layer_past")
"""newest first"""


def cache_name(module: Any) -> str | None:
    """The name of the cache in the module's ``forward``, or None if it takes none."""
    return _name_of(type(module).forward)


@lru_cache(maxsize=256)
def _name_of(forward: Any) -> str | None:
    parameters = inspect.signature(forward).parameters
    return next((name for name in NAMES if name in parameters), None)


def takes(module: Any, argument: str) -> bool:
    """Whether the module's ``forward`` names an argument."""
    return argument in inspect.signature(type(module).forward).parameters


def cache_of(out: Any) -> Any:
    """The cache in a model's output, or None."""
    return next((out[name] for name in NAMES if name in out), None)
