"""The facts that say why an item is not in a list (:mod:`interlingua.runs.why_not` measures them), and their words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from interlingua.errors import shown
from interlingua.runs.answers import Support


class Block(NamedTuple):
    """What keeps the item out, whatever its score."""

    kind: str
    """``unknown``, ``had``, ``items``, ``exclude``, ``filter`` or ``unavailable``"""
    about: str
    """the condition in words, a near id"""


@dataclass(frozen=True)
class Place:
    """Where one scorer puts the item, among those that may come out."""

    name: str
    """the component's, or a member's recipe; ``popularity``, ``text``"""
    role: str
    """``retriever``, ``member`` (of a fusion), ``ranker``, ``popularity`` or ``text``"""
    decides: bool
    """whether the list has this order"""
    rank: int | None
    """from 1; None: it has no score"""
    of: int
    """items in this order"""
    score: float | None
    cut: int
    """how many of them go on: into the list, or to the ranker"""
    last: float | None
    """score of the last of the others that goes on; None: all do"""
    given: bool = True
    """False: the ranker was not given the item, and says here what it would in place of the last that it was given"""

    @property
    def distance(self) -> float | None:
        """What the score lacks to go on; below 0: what it is ahead."""
        return None if self.last is None or self.score is None else self.last - self.score


class Change(NamedTuple):
    """One event more that brings the item in."""

    item_id: str
    title: str
    rank: int
    """place of the item in question, after it"""


@dataclass(frozen=True)
class WhyNot:
    """See the module."""

    item_id: str
    title: str | None
    k: int
    rank: int | None
    """place in the list as it is, from 1; None: it is not in it"""
    blocks: tuple[Block, ...] = ()
    places: tuple[Place, ...] = ()
    most: tuple[Support, ...] = ()
    """items of the history that raise its score most, by the influence that reasons are measured by"""
    least: tuple[Support, ...] = ()
    """those that raise it least: with a negative influence they lower it"""
    basis: str = "score"
    """as in :class:`interlingua.explain.explain.Explanation`"""
    changes: tuple[Change, ...] = ()
    """each alone is enough; the best first"""
    tried: int = 0
    """how many items were tried for ``changes``; 0: none"""
    into: str = "list"
    """what ``changes`` bring it into: the ``list``, or the ``candidates`` that the ranker is given"""
    notes: tuple[str, ...] = ()

    @property
    def sentences(self) -> list[str]:
        """The same in words."""
        return sentences(self)

    def facts(self) -> dict[str, Any]:
        """All of it, JSON-able, with the words."""
        named = {name: [each._asdict() for each in vars(self)[name]] for name in ("blocks", "most", "least", "changes")}
        places = [vars(place) | {"distance": place.distance} for place in self.places]
        return {**vars(self), **named, "places": places, "notes": list(self.notes), "sentences": self.sentences}


def sentences(found: WhyNot) -> list[str]:
    """What a reader is told, the plainest first."""
    if found.blocks and found.blocks[0].kind == "unknown":
        return [_block(found.blocks[0], found)]
    said = [_block(block, found) for block in found.blocks]
    if found.rank is not None:
        said.append(f"It is in the list of at most {found.k}, at place {found.rank}.")
    elif found.blocks:
        said.append("If that did not keep it out:")
    said += [_place(place) for place in found.places]
    decided = next((place for place in found.places if place.decides), None)
    if found.rank is None and not found.blocks and decided and decided.given and _inside(decided):
        said.append("By its score it would be in the list: diversity, new_share or an approximate index left it out.")
    if found.most or found.least:
        basis = "" if found.basis == "score" else " (by the history alone: the model keeps a vector of this user)"
        most = f"Most for it: {_supports(found.most)}" if found.most else "Nothing in the history is for it"
        least = f"; least: {_supports(found.least)}" if found.least else ""
        said.append(f"{most}{least}{basis}.")
    return said + _changes(found)


def _block(block: Block, found: WhyNot) -> str:
    near = f" (did you mean {block.about!r}?)" if block.about else ""
    return {
        "unknown": f"Neither the run's data nor what came since has {shown(found.item_id)}{near}.",
        "had": "The user has had it; with repeat it may come out again.",
        "items": f"It is not among the {block.about} ids of the list items, which alone may come out.",
        "exclude": "It is in the list exclude.",
        "filter": f"It does not meet the filter {block.about}.",
        "unavailable": "It is not available: it was switched off or removed.",
    }[block.kind]


def _place(place: Place) -> str:
    name = {"popularity": "Popularity, which decides without a history,", "text": "The text"}.get(place.role)
    name = name or f"{place.name} ({'a member' if place.role == 'member' else f'the {place.role}'})"
    if place.rank is None or place.score is None:
        return f"{name} has no score for it."
    puts = "puts it" if place.given else "was not given it; in place of the last candidate it would stand"
    return f"{name} {puts} at place {place.rank:,} of {place.of:,}: {_score(place, place.score)}."


def _score(place: Place, score: float) -> str:
    """The score, and how far it is from those that go on."""
    onward = "candidates go to the ranker" if place.role == "retriever" and not place.decides else "are listed"
    if place.last is None or place.distance is None:
        return f"its score is {score:.4g}, and all items {onward}"
    lead = place.distance < 0
    far = "is that" if not place.distance else f"is {abs(place.distance):.3g} {'above' if lead else 'below'} that"
    return (
        f"its score {score:.4g} {far} of number {place.cut:,} of the others ({place.last:.4g}); {place.cut:,} {onward}"
    )


def _inside(place: Place) -> bool:
    return place.rank is not None and place.rank <= place.cut


def _changes(found: WhyNot) -> list[str]:
    if not found.tried:
        return []
    into = "the list" if found.into == "list" else "what the ranker is given"
    if not found.changes:
        return [f"None of the {found.tried} items most like it, had as well, would bring it into {into}."]
    each = ", ".join(f"{change.title} (place {change.rank})" for change in found.changes)
    return [f"One event more would bring it into {into}, with any of: {each}."]


def _supports(some: Sequence[Support]) -> str:
    return ", ".join(f"{each.title} ({each.influence:+.3g})" for each in some)
