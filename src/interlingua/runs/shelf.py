"""What came after training: new items, changed ones, and those that are not to come out. Nothing is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from interlingua.contracts.scorer import BoolArray
from interlingua.data.catalogue import Catalogue
from interlingua.errors import ConfigError, DataError, UnknownIdError, shown, unknown, without_blanks
from interlingua.progress import say
from interlingua.runs.answers import names_of
from interlingua.runs.grown import grown
from interlingua.runs.kinds import Kinds
from interlingua.runs.new_items import CLEARED, check_columns, lines_of
from interlingua.runs.stores import TEXTS, StoreLike, item_of, line_of

if TYPE_CHECKING:
    from interlingua.runs.session import Session

Line = dict[str, str | None]
"""column -> value of one item"""
State = tuple[dict[str, Line], dict[str, Line], set[str], set[str], set[str]]
"""new and changed lines, items that are not available, removed ones, those of them that were put in again"""


@dataclass(frozen=True)
class Changed:
    """The result of a change of the items."""

    added: tuple[str, ...] = ()
    """ids that are new to the run"""
    updated: tuple[str, ...] = ()
    """ids that it knew"""
    removed: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """what was left out or could not be done, in words"""


class Shelf:
    """The changes of one run's items since its training. :attr:`session` is the run with all of them."""

    def __init__(self, run: Session, store: StoreLike | None = None) -> None:
        """``store`` keeps the items; those that it has are put in at once."""
        self.run = run
        self.store: StoreLike | None = None
        self.lines: dict[str, Line] = {}
        """new items, in the order of their last change, which is the store's"""
        self.changed: dict[str, Line] = {}
        """items of the run with other texts or attributes"""
        self.unavailable: set[str] = set()
        self.removed: set[str] = set()
        """items of the run that were taken out"""
        self.whole: set[str] = set()
        """items of the run that were taken out and put in again: what its data say of them does not count"""
        self.session = run
        """the run with all changes"""
        self._kinds = Kinds(run.data.catalogue)
        self._revision = 0
        """of the store's items when they were last read"""
        if store is not None:
            self._read(store)
            self.store = store

    def follow(self) -> int:
        """Takes in what changed in the store since, whoever changed it; returns how many items, own changes too."""
        if self.store is None or int(self.store.counters()["items"]) <= self._revision:
            return 0
        store, self.store = self.store, None
        try:
            return self._read(store)
        finally:
            self.store = store

    def _read(self, store: StoreLike) -> int:
        """Puts in what a store has; items that this run cannot take in are reported, and stay in the store."""
        entries, known = store.changed_items(self._revision), self.run.data.split.train.item_indices
        gone = [item.item_id for item in entries if item.deleted]
        for each in entries:
            if each.deleted or each.whole or each.item_id not in known:  # the entry is all there is
                self._forget(each.item_id)
        lines = [line_of(item) for item in entries if not item.deleted]
        own = [line for line in lines if line["item_id"] in known]
        try:
            self.put(lines, checked=False) if lines else None
        except ConfigError as error:
            say(f"warning: {len(lines) - len(own):,} items of the store are left out: {error}")
            self.put(own, checked=False) if own else None
        if gone:
            self.session = self._grown()
        self._revision = max((item.revision for item in entries), default=self._revision)
        return len(entries)

    def put(self, given: Any, *, checked: bool = True) -> Changed:
        """Adds items, or changes known ones: what is not given of these stays. All of them, or none.

        An item of the run that was taken out and is put in again has only what is given; where that is its id alone, it
        is as it was trained.

        Args:
            given: see :func:`interlingua.runs.new_items.lines_of`.
            checked: whether values are compared with what their columns hold, and whether new items are fit to be
                added; what a store has is taken as it is.

        Raises:
            ConfigError: the run has no place for new items.
            DataError: what is given cannot be read, a value is not of its column's kind, or, where it is ``checked``, a
                new item of which nothing is said or whose id has blanks round it.
        """
        catalogue: Catalogue = self.run.data.catalogue
        frame, allowed, notes = lines_of(given, catalogue)
        if not frame.height:
            return Changed()
        if checked:
            self._kinds.check(frame)
            self._check_new(frame)
        known, before = self.run.data.split.train.item_indices, self._copy()
        added, updated, retold = [], [], list[str]()
        for line, comes_out in zip(frame.iter_rows(named=True), allowed, strict=True):
            item, values = str(line["item_id"]), {name: value for name, value in line.items() if value is not None}
            own, was = item in known, self._own(item) if item in known else {}
            now = self.changed.get(item, was)
            pairs = (((values.get(name, now.get(name)) or None), now.get(name) or None) for name in TEXTS)
            retold += [item] if own and any(new != former for new, former in pairs) else []
            updated.append(item) if (own and item not in self.removed) or item in self.lines else added.append(item)
            where = self.changed if own else self.lines
            if item in self.removed and values.keys() - {"item_id"}:
                self.whole.add(item)
            keeps = own and item not in self.whole
            line = (where.pop(item, None) or (self._own(item) if keeps else {"item_id": item})) | values
            where[item] = {name: value for name, value in line.items() if value != CLEARED or (keeps and was.get(name))}
            self.removed.discard(item)
            if comes_out is not None:
                (self.unavailable.discard if comes_out else self.unavailable.add)(item)
        put = [str(item) for item in frame["item_id"]]
        items = [item_of(self.lines.get(item) or self.changed[item], item not in self.unavailable) for item in put]
        self._keep(before, lambda store: self._wrote(store.put_items(items), len(items)))
        notes += self._kept_vectors(retold) + self._silent(put)
        return Changed(tuple(added), tuple(updated), notes=tuple(notes))

    def _check_new(self, lines: pl.DataFrame) -> None:
        """Raises: DataError: a new item of which nothing is said, or with blanks round its id."""
        run = self.run.data.split.train.item_indices
        for line in lines.iter_rows(named=True):
            item = str(line.pop("item_id"))
            if item in run or item in self.lines:
                continue
            without_blanks(item, "the item", ())
            if all(value in (None, CLEARED) for value in line.values()):
                raise DataError(
                    f"the item {shown(item)} is not known, and nothing is said of it: give a title, a description, "
                    "categories or an attribute; null and available change items that there are"
                )

    def _kept_vectors(self, retold: Sequence[str]) -> list[str]:
        """A note on items of the run with other texts than before, where the run reads texts."""
        if not retold or not self.session.keeps_texts:
            return []
        return [
            f"the texts of {len(retold):,} of the run's own items changed (e.g. of {shown(retold[0])}): "
            "titles and filters have them at once, vectors and scores are those of the former texts until the next "
            "training"
        ]

    def _silent(self, put: Sequence[str]) -> list[str]:
        """A note on new items whose texts say nothing."""
        silent = [item for item in self.session.silent if item in set(put)]
        if not silent:
            return []
        said = f"{len(silent):,} of the new items have texts that say nothing (e.g. {shown(silent[0])}): "
        return [said + "no sentence finds them, and in a history they say nothing"]

    def remove(self, ids: Any) -> Changed:
        """Takes items out: new ones are forgotten; the run's own never come out, and still count in histories.

        Raises:
            UnknownIdError: an id that the run does not know; nothing is removed then.
        """
        names, known = names_of([ids] if isinstance(ids, str) else ids, "ids"), self.run.data.split.train.item_indices
        before = self._copy()
        for name in names:
            if name in self.removed:
                raise UnknownIdError(f"the item {shown(name)} is removed already; put in again, it comes out again")
            if name not in self.lines and name not in known:
                present = [*self.lines, *(each for each in known if each not in self.removed)]
                raise UnknownIdError(
                    unknown("item id", name, present, see="items.parquet of the prepare stage, and new")
                )
        for name in names:
            self._forget(name)
        self._keep(before, lambda store: self._deleted(store, names))
        return Changed(removed=tuple(dict.fromkeys(names)))

    def _forget(self, item: str) -> None:
        """An item as if nothing had been said of it, and taken out where the run has it."""
        self.lines.pop(item, None)
        self.changed.pop(item, None)
        self.unavailable.discard(item)
        self.whole.discard(item)
        if item in self.run.data.split.train.item_indices:
            self.removed.add(item)

    def _deleted(self, store: StoreLike, names: Sequence[str]) -> None:
        count = store.delete_items(names, unknown_too=True)
        self._wrote(int(store.counters()["items"]), count)

    def _wrote(self, revision: int, count: int) -> None:
        """Own changes need not be read again, where nobody else's lie among them."""
        if revision - count == self._revision:
            self._revision = revision

    def _keep(self, before: State, write: Callable[[StoreLike], Any]) -> None:
        """Makes the run with the changes, then has them kept; what fails leaves all ``before``."""
        try:
            session = self._grown()
            if self.store is not None:
                write(self.store)
        except BaseException:  # also a request that was given up
            self.lines, self.changed, self.unavailable, self.removed, self.whole = before
            raise
        self.session = session

    def _grown(self) -> Session:
        """The run with its new and changed items."""
        if not self.lines and not self.changed:
            return self.run
        own: Catalogue = self.run.data.catalogue
        columns = dict.fromkeys([*own.items.columns, *(name for line in self.lines.values() for name in line)])
        columns |= dict.fromkeys(name for line in self.changed.values() for name in line)
        check_columns(columns, own)
        new, changed = (_table(list(some.values()), list(columns)) for some in (self.lines, self.changed))
        return grown(self.run, new, changed if self.changed else None)

    def _own(self, item: str) -> Line:
        """The line of an item of the run."""
        row = self.run.data.split.train.item_indices[item]
        found: Line = self.run.data.catalogue.items.row(row, named=True)
        return found

    def closed(self, item_ids: Sequence[Any]) -> BoolArray | None:
        """(I,) items that never come out; None: there are none."""
        names = self.unavailable | self.removed
        return np.array([str(item) in names for item in item_ids], np.bool_) if names else None

    def _copy(self) -> State:
        return dict(self.lines), dict(self.changed), set(self.unavailable), set(self.removed), set(self.whole)


def _table(lines: Sequence[Line], columns: Sequence[str]) -> pl.DataFrame:
    return pl.DataFrame(
        [{name: line.get(name) or None for name in columns} for line in lines], dict.fromkeys(columns, pl.String)
    )
