"""Makes the package ``interlingua.align`` a function too."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any


class CallableRoom(ModuleType):
    """A package that is a function too: ``interlingua.align(...)`` is :func:`interlingua.recommender.align`."""

    def __call__(
        self,
        items: Any,
        users: Any = None,
        catalogue: Any = None,
        interactions: Any = None,
        method: str = "auto",
        **options: Any,
    ) -> Any:
        """Vectors of another system and texts of a catalogue as a recommender, in one call.

        Args:
            items: vectors of items: an array, a frame, a file, or a model of implicit or RecTools.
            users: vectors of users in the same space, or None: a user is the mean of the history.
            catalogue: frame of items with ``item_id`` and texts, or a file of one.
            interactions: frame of events, or a file of one; if given, similarity and alignment are chosen
                on validation, and the vectors stay unaligned if that is best.
            method: ``auto``, ``none``, or an aligner that maps texts into the space (``ridge``, ``autoencoder``).
            **options: see :func:`interlingua.runs.bring.align`, e.g. ``text={"name": "lsa"}`` (seconds instead of
                minutes), ``item_ids``, ``user_ids``, ``similarity``, ``out``, ``seed``.

        Returns:
            A :class:`interlingua.recommender.Recommender`.
        """
        return import_module("interlingua.recommender").align(items, users, catalogue, interactions, method, **options)
