"""kind/name -> class. The file name is the name: ``backbones/sasrec.py`` is the backbone ``sasrec``.

Outsiders need no registration: ``name = "my_package.my_module:MyBackbone"`` in a recipe, or an entry point in the group
``interlingua.backbone`` (``.text``, ``.align``, ``.ranker``, ``.fuse``, ``.data``, ``.split``, ``.protocol``,
``.metric``; ``.dataset`` and ``.command`` are read by ``data/datasets.py`` and ``cli/main.py``).
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from importlib.metadata import entry_points
from typing import Any

from interlingua.errors import ConfigError, unknown

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
IMPORT = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
FOLDERS = {
    "backbone": "backbones",
    "text": "text",
    "align": "align",
    "ranker": "rankers",
    "fuse": "fuse",
    "data": "data.sources",
    "split": "data.splits",
    "protocol": "evaluate.protocols",
    "metric": "evaluate.metrics",
}
"""kind -> subpackage that holds one file per component"""
LISTED = {
    "backbone": "backbones",
    "text": "encoders",
    "align": "aligners",
    "ranker": "rankers",
    "fuse": "fusions",
    "data": "sources",
    "split": "splits",
    "protocol": "protocols",
    "metric": "metrics",
}
"""kind -> what ``interlingua list`` calls it"""


def find(kind: str, name: str, where: str = "") -> Any:
    """The component class of a kind by name. ``module:Class`` is imported: who may ask for it is said in ``trust``.

    Raises:
        ConfigError: unknown name, with the nearest known one, or an import that gives no such component.
    """
    place = f" in {where}" if where else ""
    if ":" in name:
        if not IMPORT.fullmatch(name):
            raise ConfigError(f"{name!r}{place} is no name of a class; write package.module:Class")
        return _imported(kind, name, where)
    if not NAME.fullmatch(name):
        raise ConfigError(f"{name!r}{place} is no name of a component; interlingua list {LISTED[kind]} shows them")
    module = f"interlingua.{FOLDERS[kind]}.{name.replace('-', '_')}"
    try:
        component = _component(importlib.import_module(module), kind)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        component = None
    if component is None:
        for point in entry_points(group=f"interlingua.{kind}"):
            if point.name == name:
                return point.load()
        raise ConfigError(unknown(kind, name, names(kind), where, f"interlingua list {LISTED[kind]}"))
    return component


def names(kind: str) -> list[str]:
    """All names of a kind, plug-ins included."""
    package = importlib.import_module(f"interlingua.{FOLDERS[kind]}")
    found = []
    for info in pkgutil.iter_modules(package.__path__):
        if info.name.startswith("_"):  # what the room's components share
            continue
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        if _component(module, kind) is not None:
            found.append(info.name.replace("_", "-"))
    return sorted(found + [point.name for point in entry_points(group=f"interlingua.{kind}")])


def _component(module: Any, kind: str) -> Any:
    """The one class that the module itself defines with the given ``kind``."""
    own = [c for _, c in inspect.getmembers(module, inspect.isclass) if c.__module__ == module.__name__]
    found = [c for c in own if getattr(c, "kind", None) == kind]
    if len(found) > 1:
        raise ConfigError(f"{module.__name__} defines {len(found)} components of kind {kind!r}; one file holds one")
    return found[0] if found else None


def _imported(kind: str, name: str, where: str) -> Any:
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"cannot import {name!r}{f' named in {where}' if where else ''}: {error}") from error
    if not inspect.isclass(found) or getattr(found, "kind", None) != kind:
        raise ConfigError(f"{name!r}{f' in {where}' if where else ''} is no component of the kind {kind!r}")
    return found
