"""Questions about one item or user: what is like it, why it is recommended, and why it is not."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from interlingua.data.allowed import Filters
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError, at_least_one
from interlingua.progress import say
from interlingua.runs.answers import Request, SimilarItem, SimilarUser, Support
from interlingua.runs.questions import nothing_alike
from interlingua.runs.title_search import TitleSearch

if TYPE_CHECKING:
    from interlingua.data.interactions import Interactions
    from interlingua.explain.explain import Explanation
    from interlingua.runs.lists import Lists
    from interlingua.runs.session import Session
    from interlingua.runs.why_not_facts import WhyNot


class Alike(NamedTuple):
    """Items like one."""

    items: list[SimilarItem]
    space: str
    """in what they were compared, in words"""
    notes: list[str]


class OneItem:
    """Part of :class:`interlingua.recommender.Recommender`."""

    session: Session
    train: Interactions
    titles: Sequence[str]
    reasons: str
    _lists: Lists

    def similar_items(
        self, item: str, k: int = 10, *, items: Sequence[str] | None = None, exclude: Sequence[str] = (),
        filters: Filters | None = None, space: str | None = None,
    ) -> list[SimilarItem]:  # fmt: skip
        """The ``k`` items most like this one, best first (see :mod:`interlingua.runs.neighbours`).

        Args:
            item: its id.
            k: how many at most; only items with a cosine above 0 come out.
            items: as in :meth:`recommend`; so are ``exclude`` and ``filters``.
            exclude: see ``items``.
            filters: see ``items``.
            space: in what items are compared: ``vectors`` (the model's), ``texts``, ``events`` (who had them). None:
                the first of these that the run has and that knows the item.
        """
        found = self.like(item, k, items=items, exclude=exclude, filters=filters, space=space)
        for note in found.notes:
            say(f"note: {note}")
        return found.items

    def like(self, item: str, k: int = 10, *, space: str | None = None, **options: Any) -> Alike:
        """:meth:`similar_items` with the space, and with its notes instead of on stderr."""
        row, request = self.item_row(item), Request.of(k, options)
        at_least_one("k", k)
        allowed = self._lists.questions.allowed(request)
        ids, (words, near) = self.train.item_ids, self._lists.alike(row, k, allowed.mask, space)
        found = [SimilarItem(str(ids[other]), self.titles[other], score, words) for other, score in near]
        notes = self._lists.questions.notes(allowed.unknown)
        if not found:
            notes.append(nothing_alike(allowed, row, words, self.train.num_items))
        return Alike(found, words, notes)

    def similar_users(self, user: str, k: int = 10) -> list[SimilarUser]:
        """The ``k`` users most like this one, best first (see :mod:`interlingua.runs.neighbours`)."""
        ids = self.train.user_ids
        found = self._lists.alike_users(self.user_row(user), k)
        return [SimilarUser(str(ids[row]), score) for row, score in found]

    def explain(
        self, item: str, user: str | None = None, history: Sequence[str] | None = None, *, rerank: bool = True
    ) -> Explanation[Support]:
        """The reason for an item: a sentence, and the history items that support it (by influence on the score).

        ``rerank``: as in :meth:`recommend`; False: the retriever's score is explained.
        """
        return self.explain_items([item], user, history, rerank=rerank)[0]

    def explain_items(
        self,
        items: Sequence[str],
        user: str | None = None,
        history: Sequence[str] | None = None,
        *,
        rerank: bool = True,
        quiet: bool = False,
        text: str | None = None,
        text_weight: float = 0.5,
    ) -> list[Explanation[Support]]:
        """:meth:`explain` for several items of one answer, measured together; ``quiet``: unknown ids are not said.

        ``text`` and its weight: with which the items were recommended, see :meth:`recommend`.
        """
        if not items:
            return []
        query = self.query(user, history, quiet=quiet)
        indices = [self.item_row(item) for item in items]
        found = self.explain_rows(query, indices, rerank=rerank, text=text, text_weight=text_weight)
        return [self._lists.reasons.with_ids(each, query) for each in found]

    def explain_query(self, query: Queries, item: int) -> Explanation[tuple[int, float]]:
        """:meth:`explain` by indices."""
        return self.explain_rows(query, [item])[0]

    def explain_rows(
        self, query: Queries, items: Sequence[int], *, rerank: bool = True, text: str | None = None,
        text_weight: float = 0.5,
    ) -> list[Explanation[tuple[int, float]]]:  # fmt: skip
        """:meth:`explain_items` by indices; recent reasons are remembered."""
        return self._lists.explained(lambda: self.language_model, query, items, rerank, text, text_weight)

    def why_not(
        self, item: str, user: str | None = None, history: Sequence[str] | None = None, k: int = 10, **options: Any
    ) -> WhyNot:
        """Why an item is not among the best ``k``, in measured facts (:class:`WhyNot`; ``.sentences``: in words).

        Args:
            item: any id; that the run does not know it is an answer too.
            user: as in :meth:`recommend`, or
            history: item ids.
            k: of the list.
            options: the other options of :meth:`recommend` for one user.
        """
        from interlingua.runs.why_not import why_not

        request = Request.of(k, options)
        request.check(user, history)
        return why_not(self._lists, item, self._lists.questions.of_one(user, history), request)

    def query(self, user: str | None = None, history: Sequence[str] | None = None, *, quiet: bool = False) -> Queries:
        """A query from a known user (all events on record) or from a history of item ids; says unknown ids."""
        if (user is None) == (history is None):
            raise ConfigError("give either a user or a history")
        question = self._lists.questions.of_one(user, history)
        for note in [] if quiet else self._lists.questions.notes(question.unknown):
            say(f"note: {note}")
        return question.queries

    def user_row(self, user: str) -> int:
        """Index of an external user id."""
        return self._lists.questions.user_row(user)

    def item_row(self, item: str) -> int:
        """Index of an external item id."""
        return self._lists.questions.item_row(item)

    @cached_property
    def language_model(self) -> Any:
        """What words reasons (see :func:`interlingua.runs.reasons.writer_of`); None: a rule, and nothing is loaded."""
        from interlingua.runs.reasons import writer_of

        return writer_of(self.session, self.reasons)

    def find(self, words: str, k: int = 10) -> list[tuple[SimilarItem, str]]:
        """Items by words, and by what each was found, ``title`` or ``text``.

        First those whose titles have all the words; where the run reads texts, then those whose texts are most like
        the words, as ``text`` with a weight of 1 ranks them. Scores of the first are 0.
        """
        at_least_one("k", k)
        lists, ids = self._lists, self.train.item_ids
        search = TitleSearch([str(each) for each in ids], self.titles, self.train.item_counts)
        places = search.find(words, k) if lists.closed is None else search.find(words, k, lists.closed)
        found = dict.fromkeys(places, (0.0, "title"))
        request = Request.of(k, {"text": words, "text_weight": 1.0})
        request.check()
        try:
            said = lists.sentences.scorer(words, 1.0)
        except ConfigError:  # the run reads no texts
            said = None
        if said is not None:
            listed = lists.made(
                lists.questions.of_one(None, None), request, lists.questions.allowed(request).mask
            ).listed
            pairs = zip(listed.items[0].tolist(), listed.scores[0].tolist(), strict=True)
            found |= {row: (float(score), "text") for row, score in pairs if row >= 0 and row not in found}
        return [(SimilarItem(str(ids[row]), self.titles[row], score), by) for row, (score, by) in found.items()][:k]
