"""Reasons for recommendations of a run: recent ones are remembered, and indices become external ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from interlingua.contracts.scorer import Scorer
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError, unknown
from interlingua.explain.explain import Catalogue, Explanation, explain_items
from interlingua.explain.influence import Sought
from interlingua.runs.answers import Support
from interlingua.runtime import cancel

if TYPE_CHECKING:
    from interlingua.data.prepared import Dataset
    from interlingua.runs.session import Session

Found = Explanation[tuple[int, float]]
SMALL = "smollm2-135m"
"""a model that words reasons on any machine"""
MOST = 1000
"""number of reasons that are remembered"""


def checked(reasons: str) -> str:
    """Who is to word reasons, if that is ``auto``, ``rule`` or a model that can be had.

    Raises:
        ConfigError: it is none of these; said before anything is asked, and without waiting for a hub.
    """
    if reasons in ("auto", "rule"):
        return reasons
    from interlingua.lm.here import missing

    lacks = [each.what for each in missing(reasons)] if reasons else ["a name"]
    if lacks:
        names = ["auto", "rule", SMALL]
        raise ConfigError(f"{unknown('writer of reasons', reasons, names)}; missing: {'; '.join(lacks)}")
    return reasons


def writer_of(session: Session, reasons: str) -> Any:
    """The language model that words a run's reasons; None: the rule does, and nothing is loaded.

    Args:
        session: the run.
        reasons: ``auto`` (its ranker's model, whole: a ranker may score with the first layers only), ``rule``, or a
            model's name or path.
    """
    if reasons == "rule":
        return None
    if reasons == "auto":
        return session.ranker.writer() if "rank" in session.done else None
    from interlingua.lm.encoder import frozen

    return frozen(reasons, "fp32", None, "pretrained")


class Reasons:
    """The reasons of one run."""

    def __init__(self, data: Dataset) -> None:
        self.data = data
        self._known: dict[tuple[Any, ...], Found] = {}

    def of(
        self, scorer: Scorer, language_model: Callable[[], Any], query: Queries, items: Sequence[int],
        by: bool | str | tuple[str, float], sought: Callable[[Sequence[int]], Sought] | None = None,
    ) -> list[Found]:  # fmt: skip
        """Reasons for these items (indices); see :func:`explain_items`.

        ``by`` distinguishes the scorers of a run; ``sought`` tells what was asked for in words, for some of the items.
        """
        rated = b"" if query.ratings is None else query.ratings.tobytes()  # they say what may be called liked
        about = (by, tuple(query.users.tolist()), query.items.tobytes(), rated)
        found = {item: self._known[key] for item in items if (key := (*about, item)) in self._known}
        new = [item for item in dict.fromkeys(items) if item not in found]
        if new:
            said: dict[str, Any] = {} if sought is None else {"sought": sought(new)}
            made = explain_items(scorer, language_model, query, new, self._catalogue, **said)
            found |= dict(zip(new, made, strict=True))
            if not cancel.pressed():  # what was made in a hurry is made better next time
                self._known |= {(*about, item): found[item] for item in new}
                for oldest in list(self._known)[: max(0, len(self._known) - MOST)]:
                    del self._known[oldest]
        return [found[item] for item in items]

    @cached_property
    def _catalogue(self) -> Catalogue:
        """What is known of the items: columns of a large catalogue are made lists once."""
        catalogue = self.data.catalogue
        categories, descriptions = (catalogue.items[column].to_list() for column in ("categories", "description"))
        return Catalogue(
            catalogue.titles, catalogue.domain, categories, descriptions, self.data.interactions.middle_rating
        )

    def with_ids(self, found: Found, query: Queries) -> Explanation[Support]:
        """The same reason with external ids, also in the names of its evidence, and ratings of its support."""
        ids, titles = self.data.split.train.item_ids, self.data.catalogue.titles
        ratings = zip(query.history(0).tolist(), query.history_ratings(0).tolist(), strict=True)
        said = {row: rating for row, rating in ratings if rating == rating}  # the last one that was given
        support = [
            Support(str(ids[row]), titles[row], float(influence), said.get(row)) for row, influence in found.support
        ]
        name = {
            each.id: each.id if each.item is None else f"{each.kind}:{ids[int(each.item)]}" for each in found.evidence
        }
        parts = [replace(part, evidence=tuple(name[id_] for id_ in part.evidence)) for part in found.parts]
        evidence = [
            replace(each, id=name[each.id], item=None if each.item is None else str(ids[int(each.item)]))
            for each in found.evidence
        ]
        return Explanation(**{**vars(found), "support": support, "parts": parts, "evidence": evidence})
