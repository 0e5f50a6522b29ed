"""The parent of everything that a recipe's section can name: options, a version, and what else decides its numbers.

Each component declares what it needs from the others and what it makes for them. There are few words;
:mod:`interlingua.runs.pairs` compares them before anything runs:

- ``scores``: ranks items. ``items``, ``users``: vectors of items, of users. ``inputs``: what an aligner may change.
- ``training``: learns by gradient, with batches of its own. ``dot_product``: scores are products of these vectors.
- ``user_table``: one trained row per user (sequence models have none).
- ``text.items``, ``text.users``: vectors of texts. ``text.table``: the same, frozen and made once.
- ``text.encoder``: beside these vectors, the items' words and the encoder, frozen or not, that reads further ones
  (:class:`interlingua.contracts.text.ReadableText`).
- ``texts``: further texts by name, the sections ``[texts.NAME]``.
- ``text.user_table`` (a need only): ``text.users`` where the backbone has a ``user_table``.
- ``item_codes``: every item as a few integers (semantic ids).
- ``items_from_text``: a table of item vectors made from texts alone, in the space of ``items``.
- ``labels``, ``order``, ``times``: of the data: events that say whether they were liked (``data.label``), events in an
  order, or with times of one clock. Whether there are times is seen in prepared data: optional members that need them
  are left out then.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from torch import Tensor, nn

from interlingua.config import Config, paths_in
from interlingua.contracts.fit_log import FitLog
from interlingua.data.queries import IntArray, Queries
from interlingua.storage.contents import hash_path, template_hash

if TYPE_CHECKING:
    from interlingua.contracts.fitting import Fitting

WARM_UP = "warm-up"
"""entry of a fingerprint that says which steps a warm-up counts, where there is one"""


class Versioned(Protocol):
    """A class with a version that decides its numbers: components, and readers of files."""

    version: ClassVar[int]


class Component(nn.Module):
    """The class that a section names; backbones, text encoders, aligners, rankers and fusions derive from it."""

    Config: ClassVar[type[Config]] = Config
    version: ClassVar[int] = 1
    """increase it when the same options and inputs give other numbers: finished stages are then made again"""

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
        """Learns from the job's training part; does nothing if there is nothing to learn."""
        return FitLog.untrained()

    def calibrate(self, queries: Queries, targets: IntArray) -> Any:
        """Learns a few numbers from B validation queries and targets (B,), after :meth:`fit`; default: nothing."""
        return None

    def export(self, job: Fitting) -> dict[str, Tensor]:
        """The tables named by :meth:`makes`, after :meth:`fit`. Stages exchange nothing else.

        ``job`` is what it was fitted on: users and items, texts, and in ``job.tables`` the exports of earlier stages.
        """
        return {}

    def write_extras(self, folder: Path) -> dict[str, Any]:
        """Writes further files into a stage's folder; returns entries for its card. Default: nothing."""
        return {}

    @classmethod
    def fingerprint(cls, config: Any) -> dict[str, str]:
        """What a stage's key and card hold besides the options: see :func:`fingerprint`."""
        return fingerprint(cls, config)


def fingerprint(cls: type[Versioned], config: Any) -> dict[str, str]:
    """Version of a component, and contents of everything that its options name.

    Args:
        cls: the component's class; for one outside the package, its source file counts too.
        config: its options, or None; :class:`interlingua.config.Config` declares which of them name something.

    Returns:
        ``version`` (and ``code``, :data:`WARM_UP`), and option -> hash, commit of a hub model, or ``missing: why`` for
        a model that is not here. A missing file is left out; reading it raises the error.
    """
    out = {"version": str(cls.version)}
    if not cls.__module__.startswith("interlingua."):
        source = inspect.getsourcefile(cls)
        out["code"] = (hash_path(Path(source)) if source else None) or "unknown"
    training = None if config is None else config.training()
    if training is not None and training.warmup_steps:
        out[WARM_UP] = "steps of all epochs"
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
        paths = paths_in(values[name])
        for number, path in enumerate(paths, 1):
            found = hash_path(Path(path).expanduser())
            if found is not None:
                yield name if len(paths) == 1 else f"{name}.{number}", found
    for name, shipped in declared.named_templates.items():
        found = template_hash(values[name], shipped)
        if found is not None:
            yield name, found
    for name, identity in declared.named_models.items():
        if values[name]:
            yield name, identity(values[name], values.get(declared.revision_option))
