"""The sentences that a reason may consist of: true by construction, whichever of them a language model chooses.

Only what the evidence holds can be said, and only of what it is evidence for: categories of the recommended item alone,
"share" of those that both have, "liked" of what was rated so, "because" of what raised the score. The rule is one of
these sentences, chosen without a model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from interlingua.data.domain import Domain
from interlingua.explain.evidence import Evidence, article
from interlingua.explain.influence import Basis
from interlingua.explain.spoken import at_most, plain, quoted
from interlingua.lm.phrases import NOTHING, Phrase, Wording, either, maybe, row

ANOTHER = "another"
"""said of an item of the history that has the recommended one's title"""
MOST_CATEGORIES = 4
"""of the recommended item, that a sentence may choose from"""


WITHOUT_SUPPORT = {
    "no history": "There is no history that could be a reason for", "nothing": "Nothing in your history speaks for",
}  # fmt: skip
"""said before the item where the history, as a whole, is no reason either"""


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
    without_support: Literal["whole", "nothing", "no history"] = "whole"
    """what holds where no single item of the history is a reason"""
    namesakes: frozenset[int] = frozenset()
    """of the support, what has the target's title"""
    sought: str | None = None
    """what was asked for in words; None: nothing was"""
    by_words: bool = False
    """whether that is a reason for the item"""

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
        if self.sought is not None:
            found.append(Evidence("text", "text", None, self.sought))
        return [*found, Evidence("dataset", "dataset", None, self.domain.noun)]


def rule(facts: Facts) -> tuple[Phrase, ...]:
    """The sentence that needs no model: the category that most of the support shares with the item, or none."""
    target = _name(facts, facts.target, "")
    if facts.sought is not None and (facts.by_words or not facts.support):
        return _by_words(facts, facts.sought)
    if not facts.support:
        if facts.without_support in WITHOUT_SUPPORT:
            return Phrase(WITHOUT_SUPPORT[facts.without_support]), _name(facts, facts.target, " "), Phrase(".")
        return (
            target, Phrase(" fits your history as a whole, and no single"), _noun(facts),
            Phrase(" in it is the reason."),
        )  # fmt: skip
    best = max(facts.own, key=lambda category: len(facts.sharing(category)), default="")
    holding = facts.sharing(best) if best else ()
    if not holding:
        middle = " goes with" if facts.basis == Basis.HISTORY else " is recommended because you"
        by = _events(facts.support)
        had = () if facts.basis == Basis.HISTORY else (_had(facts, facts.support),)
        behind = (Phrase(", which you"), _had(facts, facts.support)) if facts.basis == Basis.HISTORY else ()
        quoted = (*_its(facts), _quote(facts, facts.spans[0]), Phrase(".")) if facts.spans and not facts.own else ()
        return target, Phrase(middle, by), *had, *_listed(facts, facts.support), *behind, Phrase("."), *quoted
    shared = [category for category in facts.own if facts.sharing(category) == holding][:2]
    without = [item for item in facts.support if item not in holding]
    said: list[Phrase] = [target, _shares(facts, holding), *_shared(facts, shared, holding), Phrase(" with")]
    said += [*_listed(facts, holding), Phrase(", which you"), _had(facts, holding), Phrase(".")]
    if without and facts.basis == Basis.HISTORY:
        said += [Phrase(" It also goes with"), *_listed(facts, without), Phrase(".")]
    elif without:
        said += [*_begun(_listed(facts, without)), Phrase(" raised its score too", _events(without)), Phrase(".")]
    return tuple(said)


def _by_words(facts: Facts, sought: str) -> tuple[Phrase, ...]:
    """What was asked for comes first, and of the history only what raised the score beside it."""
    target, own = _name(facts, facts.target, ""), ("text",)
    words = Phrase(f" {quoted(at_most(' '.join(plain(sought).split())))}", own)
    if not facts.by_words:
        said = (Phrase("What you asked for,", own), words, Phrase(", does not speak for", own))
        return *said, _name(facts, facts.target, " "), Phrase(".")
    first = (target, Phrase(" is recommended because you asked for", own), words, Phrase("."))
    if not facts.support:
        return first
    events = _events(facts.support)
    verb = Phrase(", which you"), _had(facts, facts.support), Phrase(", raised its score too", events), Phrase(".")
    return *first, *_begun(_listed(facts, facts.support)), *verb


def _begun(phrases: Sequence[Phrase]) -> list[Phrase]:
    """The same at the beginning of a sentence, where no title stands first."""
    first = phrases[0]
    if not first.text.startswith(f" {ANOTHER}"):
        return list(phrases)
    return [Phrase(f" {ANOTHER.capitalize()}{first.text[1 + len(ANOTHER) :]}", first.tags), *phrases[1:]]


def wordings(facts: Facts) -> Wording:
    """All sentences that a language model may choose from, of facts with support whose influence was measured."""
    lists = [facts.support[: n + 1] for n in range(len(facts.support))]
    target, start = _name(facts, facts.target, " "), _name(facts, facts.target, "")
    because = either(
        *(row(Phrase("Because you", _events(some)), _had(facts, some), *_listed(facts, some)) for some in lists)
    )
    may = either(*(Phrase(f" you {words}") for words in ("may enjoy", "might enjoy", "may like", "might like")))
    kinds, sharings = _kinds(facts), _sharings(facts)
    claims = [claim.wording for claim in (*kinds, *sharings)]
    claims += [  # what is shared says the category already
        row(kind.wording, Phrase(" and"), sharing.wording)
        for kind in kinds
        for sharing in sharings
        if not set(kind.categories) & set(sharing.categories)
    ]
    ways: list[Wording] = [row(start, sharing.wording) for sharing in sharings]
    ways += [  # side by side stand only items of that kind: more would hint at what is not so
        row(start, kind.wording, Phrase(", and you"), _had(facts, some), *_listed(facts, some))
        for kind in kinds
        for some in (kind.alike[: n + 1] for n in range(len(kind.alike)))
    ]
    # "because" stands before what one may come to think, never before what the item is
    known = (Phrase(": it"), either(*claims)) if claims else ()  # where something is known of the item, it is said
    ways += [row(because, Phrase(","), may, target, *known)]
    quotes = [_quote(facts, span) for span in facts.spans]
    described = row(*_its(facts), either(*quotes), Phrase(".")) if quotes else NOTHING
    return row(either(*ways), Phrase("."), maybe(described) if claims else described)


@dataclass(frozen=True)
class _Claim:
    """Something that may be said of the target."""

    wording: Wording
    categories: Sequence[str]
    alike: Sequence[int] = ()
    """the support of which it is true as well"""


def _kinds(facts: Facts) -> list[_Claim]:
    """``is a Crime movie``, ``is a Crime and Drama movie``: categories as the catalogue writes them."""
    own = list(facts.own[:MOST_CATEGORIES])
    pairs = [(one, two) for one in own for two in own if one != two]
    found = []
    for named in ([(one,) for one in own], pairs):
        for categories in named:
            words = _joined([_category(facts, category) for category in categories])
            begins = Phrase(f" is {article(categories[0])}", words[0].tags)
            alike = [item for item in facts.support if all(item in facts.sharing(each) for each in categories)]
            found.append(_Claim(row(begins, *words, _noun(facts)), categories, alike))
    return found


def _sharings(facts: Facts) -> list[_Claim]:
    """``shares Crime with Heat``: categories that the same items of the support have."""
    groups: dict[tuple[int, ...], list[str]] = {}
    for category in facts.own[:MOST_CATEGORIES]:
        if facts.sharing(category):
            groups.setdefault(facts.sharing(category), []).append(category)
    found = []
    for holding, categories in groups.items():
        for some in [[one] for one in categories] + ([categories[:2]] if len(categories) > 1 else []):
            words = (*_shared(facts, some, holding), Phrase(" with"), *_listed(facts, holding))
            found.append(_Claim(row(_shares(facts, holding), *words), some, holding))
    return found


def _shares(facts: Facts, holding: Sequence[int]) -> Phrase:
    return Phrase(" shares", tuple(f"categories:{item}" for item in (facts.target, *holding)))


def _its(facts: Facts) -> tuple[Phrase, Phrase]:
    return Phrase(" Its description", (f"description:{facts.target}",)), Phrase(":")


def _quote(facts: Facts, span: str) -> Phrase:
    return Phrase(f" {quoted(span)}", (f"description:{facts.target}",))


def _shared(facts: Facts, categories: Sequence[str], holding: Sequence[int]) -> list[Phrase]:
    ids = tuple(f"categories:{item}" for item in (facts.target, *holding))
    return _joined([Phrase(f" {category}", ids) for category in categories])


def _category(facts: Facts, category: str) -> Phrase:
    return Phrase(f" {category}", (f"categories:{facts.target}",))


def _noun(facts: Facts) -> Phrase:
    return Phrase(f" {facts.domain.noun}", ("dataset",))


def _had(facts: Facts, items: Sequence[int]) -> Phrase:
    return Phrase(f" {facts.had}", _events(items))


def _events(items: Sequence[int]) -> tuple[str, ...]:
    return tuple(f"event:{item}" for item in items)


def _name(facts: Facts, item: int, before: str) -> Phrase:
    if item in facts.namesakes:
        tags = (f"title:{item}", f"title:{facts.target}")
        return Phrase(f"{before}{ANOTHER} {facts.domain.noun} of the same title", tags)
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
