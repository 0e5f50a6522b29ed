"""The sentences that a reason may consist of: true by construction, whichever of them a language model chooses.

Only what the evidence holds can be said, and only of what it is evidence for: categories of the recommended item alone,
"share" of those that both have, "liked" of what was rated so, "because" of what raised the score. The rule is one of
these sentences, chosen without a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from interlingua.data.domain import Domain
from interlingua.explain.evidence import Evidence, article
from interlingua.explain.influence import Basis
from interlingua.lm.phrases import NOTHING, Phrase, Wording, either, maybe, row

MOST_CATEGORIES = 4
"""of the recommended item, that a sentence may choose from"""


@dataclass(frozen=True)
class Facts:
    """What one reason may speak of. Items are indices."""

    target: int
    names: dict[int, str]
    """item -> its title as it is said, of the support and the target"""
    support: Sequence[int] = ()
    """strongest influence first"""
    categories: dict[int, Sequence[str]] = field(default_factory=dict)
    spans: Sequence[str] = ()
    """of the target's description, that may be quoted"""
    domain: Domain = Domain()
    liked: bool = False
    basis: Basis = Basis.SCORE

    @property
    def had(self) -> str:
        """What stands behind "you"."""
        return "liked" if self.liked else f"have {self.domain.past}"

    @property
    def own(self) -> Sequence[str]:
        """The target's categories."""
        return self.categories.get(self.target, ())

    def sharing(self, category: str) -> tuple[int, ...]:
        """The support that has a category."""
        return tuple(item for item in self.support if category in self.categories.get(item, ()))

    def evidence(self) -> list[Evidence]:
        """Everything that a sentence may carry as its source."""
        found: list[Evidence] = []
        for item in (*self.support, self.target):
            found.append(Evidence(f"title:{item}", "title", item, self.names[item]))
            if self.categories.get(item):
                found.append(Evidence(f"categories:{item}", "categories", item, ", ".join(self.categories[item])))
        found += [Evidence(f"event:{item}", "event", item, f"you {self.had} it") for item in self.support]
        if self.spans:
            found.append(Evidence(f"description:{self.target}", "description", self.target, " / ".join(self.spans)))
        return [*found, Evidence("dataset", "dataset", None, self.domain.noun)]


def rule(facts: Facts) -> tuple[Phrase, ...]:
    """The sentence that needs no model: the category that most of the support shares with the item, or none."""
    target = _name(facts, facts.target, "")
    if not facts.support:
        return (
            target, Phrase(" fits your history as a whole, and no single"), _noun(facts),
            Phrase(" in it is the reason."),
        )  # fmt: skip
    best = max(facts.own, key=lambda category: len(facts.sharing(category)), default="")
    holding = facts.sharing(best) if best else ()
    if not holding:
        middle = " goes with" if facts.basis == Basis.HISTORY else " is recommended because you"
        had = () if facts.basis == Basis.HISTORY else (_had(facts, facts.support),)
        behind = (Phrase(", which you"), _had(facts, facts.support)) if facts.basis == Basis.HISTORY else ()
        return target, Phrase(middle), *had, *_listed(facts, facts.support), *behind, Phrase(".")
    shared = [category for category in facts.own if facts.sharing(category) == holding][:2]
    without = [item for item in facts.support if item not in holding]
    said: list[Phrase] = [target, Phrase(" shares"), *_shared(facts, shared, holding), Phrase(" with")]
    said += [*_listed(facts, holding), Phrase(", which you"), _had(facts, holding), Phrase(".")]
    if without and facts.basis == Basis.HISTORY:
        said += [Phrase(" It also goes with"), *_listed(facts, without), Phrase(".")]
    elif without:
        said += [*_listed(facts, without), Phrase(" raised its score too", _events(without)), Phrase(".")]
    return tuple(said)


def wordings(facts: Facts) -> Wording:
    """All sentences that a language model may choose from, of facts with support whose influence was measured."""
    lists = [facts.support[: n + 1] for n in range(len(facts.support))]
    because = either(*(row(Phrase("Because you"), _had(facts, some), *_listed(facts, some)) for some in lists))
    target, start = _name(facts, facts.target, " "), _name(facts, facts.target, "")
    may = either(*(Phrase(f" you {words}") for words in ("may enjoy", "might enjoy", "may like", "might like")))
    are: list[Wording] = [row(Phrase(" is"), kind) for kind, _ in _kinds(facts)]
    sharings = _sharings(facts)
    claims = either(*are, *sharings, *(row(one, Phrase(" and"), other) for one in are for other in sharings))
    if are:  # where something is known of the item, it is said
        ways: list[Wording] = [row(start, one) for one in sharings]
        ways += [  # side by side stand only items of that kind: more would hint at what is not so
            row(
                start,
                Phrase(" is"),
                kind,
                Phrase(", and you"),
                _had(facts, alike[: n + 1]),
                *_listed(facts, alike[: n + 1]),
            )
            for kind, alike in _kinds(facts)
            for n in range(len(alike))
        ]
        ways += [row(because, Phrase(","), may, target, Phrase(": it"), claims)]
        ways += [row(because, Phrase(","), target, claims)] if sharings else []
    else:
        ways = [row(because, Phrase(","), may, target)]
    quotes = [Phrase(f' "{span}"', (f"description:{facts.target}",)) for span in facts.spans]
    its = Phrase(" Its description", (f"description:{facts.target}",))
    described = maybe(its, Phrase(":"), either(*quotes), Phrase(".")) if quotes else NOTHING
    return row(either(*ways), Phrase("."), described)


def _kinds(facts: Facts) -> list[tuple[Wording, Sequence[int]]]:
    """``a crime movie``, ``a crime and drama movie``, and the support that is the same."""
    own = list(facts.own[:MOST_CATEGORIES])
    found: list[tuple[Wording, Sequence[int]]] = []
    for one in own:
        begins = Phrase(f" {article(_lower(one))}"), _category(facts, one)
        found.append((row(*begins, _noun(facts)), facts.sharing(one)))
        found += [
            (
                row(*begins, Phrase(" and"), _category(facts, two), _noun(facts)),
                [item for item in facts.sharing(one) if item in facts.sharing(two)],
            )
            for two in own
            if two != one
        ]
    return found


def _sharings(facts: Facts) -> list[Wording]:
    """``shares crime with Heat``: categories that the same items of the support have."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for category in facts.own[:MOST_CATEGORIES]:
        if facts.sharing(category):
            groups.setdefault(facts.sharing(category), []).append(category)
    some: list[Wording] = []
    for holding, categories in groups.items():
        choices = [[one] for one in categories] + ([categories[:2]] if len(categories) > 1 else [])
        some += [
            row(Phrase(" shares"), *_shared(facts, shared, holding), Phrase(" with"), *_listed(facts, holding))
            for shared in choices
        ]
    return some


def _shared(facts: Facts, categories: Sequence[str], holding: Sequence[int]) -> list[Phrase]:
    ids = tuple(f"categories:{item}" for item in (facts.target, *holding))
    return _joined([Phrase(f" {_lower(category)}", ids) for category in categories])


def _category(facts: Facts, category: str) -> Phrase:
    return Phrase(f" {_lower(category)}", (f"categories:{facts.target}",))


def _noun(facts: Facts) -> Phrase:
    return Phrase(f" {facts.domain.noun}", ("dataset",))


def _had(facts: Facts, items: Sequence[int]) -> Phrase:
    return Phrase(f" {facts.had}", _events(items))


def _events(items: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"event:{item}" for item in items)


def _name(facts: Facts, item: int, before: str) -> Phrase:
    return Phrase(f"{before}{facts.names[item]}", (f"title:{item}",))


def _listed(facts: Facts, items: Sequence[int]) -> list[Phrase]:
    return _joined([_name(facts, item, " ") for item in items])


def _joined(phrases: Sequence[Phrase]) -> list[Phrase]:
    """``A``, ``A and B``, ``A, B and C``."""
    out: list[Phrase] = []
    for place, phrase in enumerate(phrases):
        if place:
            out.append(Phrase(" and" if place == len(phrases) - 1 else ","))
        out.append(phrase)
    return out


def _lower(category: str) -> str:
    """``Crime`` as ``crime``; names that are written otherwise (IMAX, iPad) stay as they are."""
    words = category.split(" ")
    return " ".join(w.lower() if w[:1].isupper() and (w[1:] == w[1:].lower() or "-" in w) else w for w in words)
