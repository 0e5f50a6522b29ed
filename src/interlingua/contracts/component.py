"""The parent of everything that a recipe's section can name: options, a version, and what else its numbers hang on.

Before anything runs each says what it needs from the others and what it makes for them. The words are few;
:mod:`interlingua.runs.pairs` compares them:

- ``scores``: ranks items. ``items``, ``users``: vectors of items, of users. ``inputs``: what an aligner may change.
- ``training``: learns by gradient, with batches of its own. ``dot_product``: scores are products of these vectors.
- ``user_table``: one trained row per user (sequence models have none).
- ``text.items``, ``text.users``: vectors of texts. ``text.table``: the same, frozen and made once.
- ``texts``: further texts by name, the sections ``[texts.NAME]``.
- ``text.user_table`` (a need only): ``text.users`` where the backbone has a ``user_table``.
- ``item_codes``: every item as a few integers (semantic ids).
- ``items_from_text``: a table of item vectors made from texts alone, in the space of ``items``.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from torch import Tensor, nn

from interlingua.config import Config
from interlingua.contracts.fit_log import FitLog
from interlingua.data.queries import IntArray, Queries
from interlingua.storage.contents import hash_path, template_hash

if TYPE_CHECKING:
    from interlingua.contracts.fitting import Fitting


class Versioned(Protocol):
    """A class whose numbers change with its version: components, and readers of files."""

    version: ClassVar[int]


class Component(nn.Module):
    """A class of a section; backbones, text encoders, aligners and rankers derive from it."""

    Config: ClassVar[type[Config]] = Config
    version: ClassVar[int] = 1
    """raised when the same options and inputs give other numbers: finished stages are then made anew"""

    @classmethod
    def needs(cls, config: Any) -> frozenset[str]:
        """Words (see module docstring) that the other parts of a recipe must make, with these options."""
        return frozenset()

    @classmethod
    def needs_texts(cls, config: Any) -> frozenset[str]:
        """Names of the sections ``[texts.NAME]`` that it reads, with these options."""
        return frozenset()

    @classmethod
    def makes(cls, config: Any) -> frozenset[str]:
        """Words that this part makes for the others, with these options."""
        return frozenset()

    def fit(self, job: Fitting) -> FitLog:
        """Learns from the job's training part; a component without anything to learn does nothing."""
        return FitLog.untrained()

    def calibrate(self, queries: Queries, targets: IntArray) -> Any:
        """Learns a few numbers from B validation questions and their answers (B,), after :meth:`fit`; or nothing."""
        return None

    def export(self, job: Fitting) -> dict[str, Tensor]:
        """The tables that :meth:`makes` names, by these names, after :meth:`fit`: stages exchange nothing else.

        ``job`` is what it was fitted on: whose rows there are, texts, and in ``job.tables`` what earlier stages export.
        """
        return {}

    def write_extras(self, folder: Path) -> dict[str, Any]:
        """Writes what else belongs to the run into a stage's folder; returns entries for its card."""
        return {}

    @classmethod
    def fingerprint(cls, config: Any) -> dict[str, str]:
        """What a stage's key and card hold beside the options: see :func:`fingerprint`."""
        return fingerprint(cls, config)


def fingerprint(cls: type[Versioned], config: Any) -> dict[str, str]:
    """Version of a component, and contents of everything that its options name.

    Args:
        cls: the component's class; of one that does not ship with us, its source file counts too.
        config: its options, or None; what they name is declared in :class:`interlingua.config.Config`.

    Returns:
        ``version`` (and ``code``), and option -> hash, commit of a hub model, or ``missing: why`` for a model that is
        not here. A file that is not there is left out: who reads it says so.
    """
    out = {"version": str(cls.version)}
    if not cls.__module__.startswith("interlingua."):
        source = inspect.getsourcefile(cls)
        out["code"] = (hash_path(Path(source)) if source else None) or "unknown"
    for prefix, options in _nested(config, "") if config is not None else ():
        out |= {f"{prefix}{name}": found for name, found in _declared(options)}
    return out


def _nested(config: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """The options, and the tables inside them."""
    yield prefix, config
    for name, value in config:
        if isinstance(value, Config):
            yield from _nested(value, f"{prefix}{name}.")


def _declared(config: Any) -> Iterator[tuple[str, str]]:
    declared, values = type(config), dict(config)
    for name in declared.all_files():
        value = values[name]
        found = hash_path(Path(value).expanduser()) if value else None
        if found is not None:
            yield name, found
    for name, shipped in declared.named_templates.items():
        found = template_hash(values[name], shipped)
        if found is not None:
            yield name, found
    for name, identity in declared.named_models.items():
        if values[name]:
            yield name, identity(values[name], values.get(declared.revision_option))
