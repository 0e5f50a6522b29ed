"""A finished run as a recommender: external ids in, ids with scores, titles, the deciding stage and reasons out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, overload

import polars as pl

from interlingua.data.allowed import Filters
from interlingua.progress import say
from interlingua.runs.answers import (
    Answer,
    Exclude,
    Histories,
    Recommendation,
    Request,
    SimilarItem,
    SimilarUser,
    Support,
    names_of,
)
from interlingua.runs.batch import Written, write_lists
from interlingua.runs.crowd import Crowd
from interlingua.runs.following import Following
from interlingua.runs.grown import load_encoders
from interlingua.runs.lists import Lists
from interlingua.runs.new_events import Entered, NewEvents
from interlingua.runs.one_item import OneItem
from interlingua.runs.opening import open_session
from interlingua.runs.session import Session
from interlingua.runs.shelf import Changed, Shelf
from interlingua.runs.stores import StoreLike, opened

__all__ = [
    "Answer", "Recommendation", "Recommender", "SimilarItem", "SimilarUser", "Support", "align",
    "from_pretrained", "load",
]  # fmt: skip


class Recommender(Following, OneItem, Crowd):
    """A finished run that recommends. Loads lazily: without re-ranking the language model is never opened.

    With an ``index`` (:func:`interlingua.runs.scorers.indexed`), made at once, the best items are found approximately.
    ``reasons`` says who words them: ``auto`` (the ranker's language model; else a rule), ``rule``, or a model's name.
    ``store`` (a file, ``postgresql://...``, or a :class:`interlingua.store.Store`) keeps what comes after training.
    """

    def __init__(
        self, session: Session, index: Path | str | None = None, reasons: str = "auto",
        store: StoreLike | Path | str | None = None,
    ) -> None:  # fmt: skip
        super().__init__(session, index)
        from interlingua.runs.reasons import checked

        self.reasons = checked(reasons)
        held = opened(store)
        version = self.version if "evaluate" in session.done else ""
        self._shelf, self._events = Shelf(session, held), NewEvents(session.data, held, version)
        self._first = Lists(session, index, events=self._events)
        self._use(index)
        if index is not None:
            _ = self._lists.by_ranker if self.has_ranker else self._lists.by_retriever

    def _use(self, index: Path | str | None) -> None:
        """Asks the run with all its changes from now on."""
        session = self._shelf.session
        closed = self._shelf.closed(session.data.split.train.item_ids)
        same = session is self.session and closed is None
        self._lists = self._first if same else Lists(session, index, closed, self._first, self._events)
        self.train, self.titles = self._lists.train, self._lists.titles

    @classmethod
    def load(
        cls, path: Path | str, device: str = "auto", *, trust: bool = False, index: Path | str | None = None,
        reasons: str = "auto", store: StoreLike | Path | str | None = None,
    ) -> Self:  # fmt: skip
        """Opens the folder of a finished run (``runs/evaluate-...``)."""
        return cls(open_session(path, device, trust=trust), index, reasons, store)

    @property
    def version(self) -> str:
        """Key of the run: changes with data, options and seed."""
        return self.session.done["evaluate"].key[:12]

    @property
    def has_ranker(self) -> bool:
        """Whether a language model can re-rank."""
        return "rank" in self.session.done

    @overload
    def recommend(
        self, user: str | None = ..., history: Sequence[str] | None = ..., k: int = ..., *, rerank: bool = ...,
        items: Sequence[str] | None = ...,
        exclude: Sequence[str] = ..., filters: Filters | None = ..., diversity: float = ..., repeat: bool = ...,
        new_share: float = ..., text: str | None = ..., text_weight: float = ...,
    ) -> list[Recommendation]: ...  # fmt: skip

    @overload
    def recommend(
        self, *, users: Sequence[str], k: int = ..., rerank: bool = ..., items: Sequence[str] | None = ...,
        exclude: Exclude = ..., filters: Filters | None = ..., diversity: float = ..., repeat: bool = ...,
        new_share: float = ...,
    ) -> pl.DataFrame: ...  # fmt: skip

    @overload
    def recommend(
        self, *, histories: Histories, k: int = ..., rerank: bool = ..., items: Sequence[str] | None = ...,
        exclude: Exclude = ..., filters: Filters | None = ..., diversity: float = ..., repeat: bool = ...,
        new_share: float = ...,
    ) -> pl.DataFrame: ...  # fmt: skip

    def recommend(
        self,
        user: str | None = None,
        history: Sequence[str] | None = None,
        k: int = 10,
        *,
        users: Sequence[str] | None = None,
        histories: Histories | None = None,
        rerank: bool = True,
        items: Sequence[str] | None = None,
        exclude: Exclude = (),
        filters: Filters | None = None,
        diversity: float = 0.0,
        repeat: bool = False,
        new_share: float = 0.0,
        text: str | None = None,
        text_weight: float = 0.5,
    ) -> list[Recommendation] | pl.DataFrame:
        """The best ``k`` items that the user has not had: a list for one user, a frame for many.

        Args:
            user: external id of a known user, or
            history: item ids, oldest first, of any user (an empty list: a new user).
            k: how many.
            users: many known users, or
            histories: many histories; as a mapping, its keys are the frame's ``user_id``, else they are numbered.
            rerank: let the language model reorder what the backbone retrieved, if the run has one.
            items: the only item ids that may come out; None: all.
            exclude: item ids that must not come out; for many also ``{user: item ids}`` (of histories: their names).
            filters: conditions on columns of the catalogue, e.g. ``'year >= 1990 and "Comedy" in categories'`` or
                ``{"categories": "Comedy", "year>=": 1990}`` (see :mod:`interlingua.data.allowed`).
            diversity: 0: by score only; higher: prefer items of different categories, chosen among the best
                ``max(5 k, evaluate.retrieve)`` (see :func:`interlingua.retrieval.cascade.diversified`).
            repeat: whether items of the user's history may come out again (groceries, music).
            new_share: at least this share of the ``k`` (rounded up) is new: items without an event in training, those
                added after it among them, whatever events they have had since. The best lists that are so
                (:mod:`interlingua.retrieval.quota`; with a ranker: of what it is given, which has that share too);
                where fewer may come out, all of those, and a note.
            text: what is looked for, in words ("slow burn science fiction"); alone, or beside a user or a history.
            text_weight: of the text, from 0 to 1 (the text alone); the rest is the history's, or where there is none
                that of popularity. All are standardised over the catalogue.

        Item ids that the run does not know are left out and said. Who is new to the run (no history, or one that says
        nothing to it) gets what is popular in training.

        Returns:
            For ``users`` and ``histories`` a Polars frame with ``user_id``, ``item_id``, ``score``, ``rank`` and
            ``stage``: what decided, as in :class:`Recommendation`.

        Raises:
            DataError: a user or a column that the run does not know.
            ConfigError: not exactly one of ``user``, ``history``, ``users``, ``histories`` (or a ``text``), ``k`` < 1,
                a negative ``diversity``, a filter that cannot be read, or a ``text`` to a run that reads none.
        """
        request = Request(k, rerank, exclude, items, filters, diversity, repeat, text, text_weight, new_share)
        if users is not None or histories is not None:
            request.check(user, history, users, histories)
            return self._lists.frame(*self._lists.questions.of_many(users, histories), request)
        found = self._answer(request, user, history)
        for note in found.notes:
            say(f"note: {note}")
        return found.items

    def recommend_all(
        self, out: Path | str, users: Sequence[str] | None = None, k: int = 50, *, shard: int = 20_000, **options: Any
    ) -> Written:
        """Writes the lists of many users, by default of all, into one parquet file; goes on where it was interrupted.

        Args:
            out: ``recs.parquet``: the columns of :meth:`recommend` for many.
            users: external ids; None: all that the run knows, with those of new events.
            k: how many items for each.
            shard: users whose lists are in memory at once.
            options: the other options of :meth:`recommend`.
        """
        request = Request.of(k, options)
        lists = self._lists
        given = lists.questions.everybody() if users is None else names_of(users, "users")
        request.check(None, None, names := list(dict.fromkeys(map(str, given))))
        lists.questions.indices_of(names)  # unknown ones are said before any work
        about = {"run": self.version, "index": str(self.index), "items": lists.fingerprint, "request": request.key()}
        ask = lists.questions.of_many
        return write_lists(lambda some: lists.frame(*ask(some, None), request), names, out, about, shard)

    def answer(
        self, user: str | None = None, history: Sequence[str] | None = None, k: int = 10, **options: Any
    ) -> Answer:
        """:meth:`recommend` for one user, with its notes in the answer instead of on stderr; the same options."""
        return self._answer(Request.of(k, options), user, history)

    def _answer(self, request: Request, user: str | None, history: Sequence[str] | None) -> Answer:
        request.check(user, history)
        return self._lists.answer(request, self._lists.questions.of_one(user, history))

    def add_items(self, items: Any) -> Changed:
        """Makes items recommendable at once, by their texts and without training; known ids are updated.

        Args:
            items: a frame (Polars, pandas, Arrow), mappings of one item each, one mapping, or a file of a table: with
                ``item_id``, texts and categories under any name that a catalogue may have, and further columns, which
                filters know. ``available``: false switches an item off. Of an item that the run knows, what is not
                given stays; its vectors, where they were learned, stay as well.

        A new item gets the vectors and scores that training would have given it without an event. Whatever the run
        measured on its own texts (words and directions of ``lsa``, means, scales, ``reduce``) stays as it was.

        Raises:
            ConfigError: the run reads no texts, or cannot read new ones (profiles, brought vectors).
            DataError: an item without an id, a new one with blanks round it or of which nothing is said, an infinite
                number, or something that is no table.
        """
        return self._changed(self._shelf.put(items))

    def remove_items(self, ids: Sequence[str] | str) -> Changed:
        """Takes items out: new ones are forgotten; the run's own never come out, and still count in histories.

        Raises:
            UnknownIdError: an id that the run does not know; nothing is removed then.
        """
        return self._changed(self._shelf.remove(ids))

    def add_events(self, events: Any, idempotency_key: str | None = None) -> int:
        """Enters what users have had since training: it counts in their next answer, new users included.

        A user with new events is asked by the whole history: where a model keeps a vector of each user, by the one
        that it folds in for strangers.

        Args:
            events: a frame, mappings of one event each, or a file of a table: ``user_id``, ``item_id``, and the time
                (seconds, or a date) and rating if known. Unknown items are kept, and say nothing; a note counts them.
            idempotency_key: the same key with the same batch again adds nothing.

        Returns:
            How many were added.

        Raises:
            DataError: an event without user or item, a new id with blanks round it, an unknown column, a time that is
                none, the key of another batch.
        """
        found = self.enter(events, idempotency_key)
        for note in found.notes:
            say(f"note: {note}")
        return found.added

    def enter(self, events: Any, idempotency_key: str | None = None) -> Entered:
        """:meth:`add_events`, with the unknown items and the notes in the answer instead of on stderr."""
        return self._events.add(events, idempotency_key, self.train.item_indices)

    def load_encoders(self) -> None:
        """Loads what reads new texts now, so that the first new item or sentence is answered as fast as the next."""
        load_encoders(self.session)

    def _changed(self, changed: Changed) -> Changed:
        self._use(self.index)
        return changed


def load(
    run: Path | str | Session, device: str = "auto", *, trust: bool = False, index: Path | str | None = None,
    reasons: str = "auto", store: StoreLike | Path | str | None = None,
) -> Recommender:  # fmt: skip
    """Opens a finished run as a :class:`Recommender`: its folder, or what ``interlingua.run`` gave."""
    session = run if isinstance(run, Session) else open_session(run, device, trust=trust)
    return Recommender(session, index, reasons, store)


def from_pretrained(name: Path | str, revision: str | None = None, **options: Any) -> Recommender:
    """Opens a saved model, ``interlingua.from_pretrained``: see :meth:`Recommender.from_pretrained`."""
    return Recommender.from_pretrained(name, revision, **options)


def align(
    items: Any, users: Any = None, catalogue: Any = None, interactions: Any = None, method: str = "auto", **options: Any
) -> Recommender:
    """Vectors of another system and texts of a catalogue as a recommender: :func:`interlingua.runs.bring.align`."""
    from interlingua.runs.bring import align as aligned

    return Recommender(aligned(items, users, catalogue, interactions, method, **options))
