"""Interlingua: a common language for collaborative filtering and large language models.

Importing the package does no work and imports no heavy library; public names load on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "Interactions": "interlingua.data.interactions",
    "Catalogue": "interlingua.data.catalogue",
    "Artifact": "interlingua.storage.artifact",
    "InterlinguaError": "interlingua.errors",
    "prepare": "interlingua.data.prepare",
    "load": "interlingua.recommender",
    "from_pretrained": "interlingua.recommender",
    "align": "interlingua.align:",
    "run": "interlingua.runs.stages",
    "measure": "interlingua.evaluate.protocol:evaluate",
}
__all__ = ["__version__", *_HOME]

if TYPE_CHECKING:
    from interlingua.data.catalogue import Catalogue as Catalogue
    from interlingua.data.interactions import Interactions as Interactions
    from interlingua.data.prepare import prepare as prepare
    from interlingua.errors import InterlinguaError as InterlinguaError
    from interlingua.evaluate.protocol import evaluate as measure  # noqa: F401
    from interlingua.recommender import align as align
    from interlingua.recommender import from_pretrained as from_pretrained
    from interlingua.recommender import load as load
    from interlingua.runs.stages import run as run
    from interlingua.storage.artifact import Artifact as Artifact


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'interlingua' has no attribute {name!r}")
    from importlib import import_module

    module, colon, called = _HOME[name].partition(":")  # a name of its own where a subpackage has the function's
    found = import_module(module)
    return found if colon and not called else getattr(found, called or name)  # a room that can be called


def __dir__() -> list[str]:
    return sorted(__all__)
