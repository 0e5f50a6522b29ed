"""Words for the things of a catalogue: what prompts and pages call them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Domain:
    """Words for the catalogue's things, for prompts and pages; stored in the dataset card."""

    noun: str = "item"
    """``movie``, ``product``, ``game``, ``book``, ``place``"""
    verb: str = "choose"
    """what a user does with it: ``watch``, ``buy``, ``play``, ``read``, ``visit``"""
    past: str = "chosen"
    """its past participle: ``watched``, ``bought``"""
