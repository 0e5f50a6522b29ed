"""Texts with vectors inside and one output token at their end: a user's last events, numbered and dated, and one item.

Two templates say them. An entry may hold ``{number}`` (1 is the oldest that is shown), ``{date}``, ``{title}`` and the
vector ``{item}``; the body ends with ``{out}``, whose state is read. What stands in ``[[...]]`` with ``{date}`` is left
out of events without a time. A text that is too long loses its oldest events, never its end.

Shape key: B texts, L events.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from interlingua.contracts.slots import Slot
from interlingua.data.domain import Domain
from interlingua.data.queries import IntArray
from interlingua.errors import ConfigError
from interlingua.lm.models import LanguageModel
from interlingua.lm.prompt import HISTORY, USER, PromptBatch
from interlingua.lm.template import Layout, Piece, Template

ITEM, OUT = "item", "out"
NAMES = (ITEM, OUT)
TEXT = Slot("item", texts=())
"""a slot with text of its own in every entry"""


@dataclass(frozen=True)
class Text:
    """One text: token ids, with ``-1`` at an item's vector and ``-2`` at the output token."""

    ids: list[int]
    items: list[int]
    """items of the vectors, in order"""


@dataclass(frozen=True)
class Event:
    """What an entry says of one item."""

    item: int
    date: str = ""
    """as it is written; empty: unknown"""


class OutputPrompts:
    """Both sides' texts as token ids.

    Args:
        lm: whose tokenizer, and whose longest input.
        user: template of the user side, with ``{history}``.
        item: template of the item side, with ``{target}``.
        titles: (I,) titles.
        domain: words for the catalogue's things.
        max_title_words: longer titles are cut (None: never).
        max_tokens: a longer text loses its oldest events.

    Raises:
        ConfigError: a template without its list or that does not end with ``{out}``.
    """

    def __init__(
        self, lm: LanguageModel, user: str, item: str, titles: Sequence[str], domain: Domain, *,
        max_title_words: int | None, max_tokens: int,
    ) -> None:  # fmt: skip
        self._lm, self._max_tokens = lm, min(max_tokens, lm.max_positions)
        self.titles = [" ".join(title.split()[:max_title_words]) or "untitled" for title in titles]
        dated = {ITEM: Slot("item"), OUT: Slot("query"), "number": TEXT, "date": TEXT}
        undated = {name: slot for name, slot in dated.items() if name != "date"}
        found = {name: _template(name, list_, dated) for name, list_ in ((user, "history"), (item, "target"))}
        self._user = {True: found[user].resolve(dated, domain), False: found[user].resolve(undated, domain)}
        self._item = found[item].resolve(undated, domain)
        self.takes_dates = any(piece.kind.strip() == "date" for piece in self._user[True].entries["history"])

    def user_texts(self, histories: Sequence[Sequence[Event]]) -> list[Text]:
        """One text per history, oldest event first."""
        texts = self._tokenised([self._written(self._user[True], "history", history) for history in histories])
        for place, text in enumerate(texts):
            history, cut = histories[place], text
            while len(cut.ids) > self._max_tokens and history:
                history = history[max(1, len(history) * (len(cut.ids) - self._max_tokens) // len(cut.ids)) :]
                cut = self._tokenised([self._written(self._user[True], "history", history)])[0]
            texts[place] = self._checked(cut)
        return texts

    def item_texts(self, items: Sequence[int]) -> list[Text]:
        """One text per item index."""
        texts = self._tokenised([self._written(self._item, "target", [Event(item)]) for item in items])
        return [self._checked(text) for text in texts]

    def in_words(self, text: Text) -> str:
        """A row in words, for people: ``{item}`` and ``{out}`` stand for the vectors."""
        parts, some = [], list[int]()
        for token in [*text.ids, None]:
            if token is not None and token >= 0:
                some.append(token)
                continue
            parts.append(self._lm.tokenizer.decode(some))
            parts.append("" if token is None else f"{{{NAMES[-1 - token]}}}")
            some = []
        return "".join(parts)

    def _checked(self, text: Text) -> Text:
        if len(text.ids) > self._max_tokens:
            raise ConfigError(
                f"a prompt of {len(text.ids)} tokens without any event is longer than {self._max_tokens}; raise "
                f"ranker.max_tokens (the model reads {self._lm.max_positions}), shorten the template or set "
                "ranker.max_title_words"
            )
        return text

    def _written(self, layout: Layout, name: str, events: Sequence[Event]) -> list[str | int]:
        """Strings, item indices, and :data:`OUT` as ``-2``, in order; neighbouring strings are one."""
        out: list[str | int] = []

        def add(part: str | int) -> None:
            if isinstance(part, str) and out and isinstance(out[-1], str):
                out[-1] += part
            else:
                out.append(part)

        for piece in layout.body:
            if piece.kind == name:
                add("" if events else layout.nothing)
                for number, event in enumerate(events, start=1):
                    add(layout.separator if number > 1 else "")
                    form = layout if event.date or name != "history" else self._user[False]
                    self._entry(form.entries[name], event, number, add)
            else:
                add(-2 if piece.kind == OUT else piece.text)
        return out

    def _entry(self, pieces: Sequence[Piece], event: Event, number: int, add: Any) -> None:
        said = {"number": str(number), "date": event.date, "title": self.titles[event.item]}
        for piece in pieces:
            name = piece.kind.strip()
            if name == ITEM:
                add(event.item)
            else:
                add(piece.text if name == "text" else f"{' ' if piece.kind != name else ''}{said[name]}")

    def _tokenised(self, written: Sequence[Sequence[str | int]]) -> list[Text]:
        """Tokenises all strings at once. Titles are other people's text: no special token is read in them."""
        strings = [part for text in written for part in text if isinstance(part, str)]
        made = self._lm.tokenizer(strings, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        found = iter(made if strings else [])
        begin = [] if self._lm.bos_token_id is None else [self._lm.bos_token_id]
        texts = []
        for text in written:
            ids, items = list(begin), []
            for part in text:
                if isinstance(part, str):
                    ids += next(found)
                elif part == -2:
                    ids.append(-2)
                else:
                    ids.append(-1)
                    items.append(part)
            texts.append(Text(ids, items))
        return texts

    def batch(self, texts: Sequence[Text]) -> PromptBatch:
        """Rows padded on the right, with the places of their vectors."""
        return batch_of(texts, self._lm.pad_token_id, NAMES)


def batch_of(texts: Sequence[Text], pad_token_id: int, names: tuple[str, ...]) -> PromptBatch:
    """Prompts padded on the right; ``names``: the slots that -1, -2, ... stand for, the first of them items."""
    lengths = np.array([len(text.ids) for text in texts], np.int64)
    where = np.arange(int(lengths.max()))[None, :] < lengths[:, None]
    ids = np.full(where.shape, pad_token_id, np.int64)
    ids[where] = np.concatenate([np.asarray(text.ids, np.int64) for text in texts])
    at_batch, at_column = np.nonzero(where & (ids < 0))
    numbers = -1 - ids[at_batch, at_column]
    indices = at_batch.astype(np.int64)
    indices[numbers == 0] = np.array([item for text in texts for item in text.items], np.int64)
    kinds = np.where(numbers == 0, HISTORY, USER)
    ids[ids < 0] = pad_token_id
    return PromptBatch(ids, where.astype(np.int64), lengths, at_batch, at_column, kinds, indices, numbers, names)


def events_of(items: IntArray, times: IntArray | None, date_format: str) -> list[Event]:
    """A history's events, oldest first; ``times`` in seconds since 1970, or None; no format: no dates."""
    if times is None or not date_format:
        return [Event(int(item)) for item in items]
    return [Event(int(item), _date(int(time), date_format)) for item, time in zip(items, times, strict=True)]


def _date(seconds: int, date_format: str) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime(date_format)


def _template(name: str, list_: str, slots: dict[str, Slot]) -> Template:
    found = Template.load(name, more=slots)
    if f"{{{list_}}}" not in found.body:
        raise ConfigError(f"the template {found.name!r} has no slot {{{list_}}}")
    if not found.body.endswith(f"{{{OUT}}}") or found.body.count(f"{{{OUT}}}") > 1:
        raise ConfigError(f"the template {found.name!r} must end with {{{OUT}}}, whose state is read, and have one")
    return found
