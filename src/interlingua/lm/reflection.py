"""Words of a conversation that thinks about a user's history, and checks itself on the history's last items.

The steps of DRDT (Wang et al., arXiv 2312.11336) in our own words: an example of another user, thoughts by aspects,
then for each held-back item a probe and a critique, at last the candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from interlingua.data.domain import Domain


@dataclass(frozen=True)
class Example:
    """Another user's history with its answer; titles as they are shown."""

    history: Sequence[str]
    """oldest first"""
    candidates: Sequence[str]
    """as they are listed"""
    answer: str
    """the order of the candidates, as the model is asked to write it"""


@dataclass(frozen=True)
class Probe:
    """An item of the history that is held back, beside another one."""

    true: str
    other: str
    true_first: bool
    """which of the two stands first"""


def role(domain: Domain, example: Example | None) -> str:
    """The system message: what the model is, and the example."""
    said = f"You are a professional recommender of {domain.noun}s. You know them by their titles."
    if example is None:
        return said
    return (
        f"{said}\n\nAn example. Another user has {domain.past} these {domain.noun}s, the last one most recently:\n"
        f"{_lines(example.history)}\n\nThe candidates for the next one were:\n{numbered(example.candidates)}\n\n"
        f"A good answer: {example.answer}"
    )


def thinking(domain: Domain, history: Sequence[str], aspects: Sequence[str]) -> str:
    """Divergent thinking: the preference, aspect by aspect, from a history without its last items."""
    return (
        f"The user has {domain.past} these {domain.noun}s, the last one most recently:\n{_lines(history)}\n\n"
        f"Describe the user's preference by what these {domain.noun}s have in common in each of these aspects: "
        f"{', '.join(aspects)}. One short sentence for each aspect."
    )


def probing(domain: Domain, probe: Probe) -> str:
    """Which of two items comes next: one is true."""
    first, second = (probe.true, probe.other) if probe.true_first else (probe.other, probe.true)
    return (
        f"Which of these two {domain.noun}s will the user {domain.verb} next?\nA. {first}\nB. {second}\n\n"
        "Answer with A or B, and with one sentence that says why."
    )


def critique(domain: Domain, probe: Probe, aspects: Sequence[str]) -> str:
    """The true one is revealed; the preference is compared with it and written anew."""
    return (
        f"It was {'A' if probe.true_first else 'B'}, {probe.true}. Does it agree with the preference so far? Say in "
        f"which of these aspects it does and in which it does not: {', '.join(aspects)}. Then write the user's "
        "preference anew, one short sentence for each aspect."
    )


def ranking(domain: Domain, candidates: Sequence[str], how: str) -> str:
    """The last question: an order of the candidates.

    Args:
        domain: the words.
        candidates: titles as they are listed.
        how: how the order is to be written.
    """
    return (
        f"With all of this in mind: which of the following {domain.noun}s will the user {domain.verb} next?\n"
        f"{numbered(candidates)}\n\n{how}"
    )


def numbered(titles: Sequence[str]) -> str:
    """Titles in lines, with numbers from 1."""
    return "\n".join(f"{number}. {title}" for number, title in enumerate(titles, 1))


def _lines(titles: Sequence[str]) -> str:
    return "\n".join(f"- {title}" for title in titles)
