"""Words for the items of a catalogue, used by prompts and pages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Domain:
    """Words for the catalogue's items, for prompts and pages; stored in the dataset card."""

    noun: str = "item"
    """``movie``, ``product``, ``game``, ``book``, ``place``"""
    verb: str = "choose"
    """a user's action on it: ``watch``, ``buy``, ``play``, ``read``, ``visit``"""
    past: str = "chosen"
    """its past participle: ``watched``, ``bought``"""
