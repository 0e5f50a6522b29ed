"""Prompts that tell a session's graph: its distinct items by number, vector and title, and its edges by number.

A template says it: an entry of ``{history}`` may hold ``{number}`` (1 is the item that came first), ``{item}`` (the
vector) and ``{title}``; the body may hold ``{edges}``, such as ``1 -> 2, 2 -> 1``, and ``{last}``, the number of the
latest item. What stands in ``[[...]]`` with ``{edges}`` is left out where edges are not told.

Shape key: B prompts, L events, I items.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from interlingua.contracts.slots import Slot
from interlingua.data.domain import Domain
from interlingua.data.queries import PAD, IntArray
from interlingua.errors import ConfigError
from interlingua.injection.output_prompts import Text, batch_of
from interlingua.lm.models import LanguageModel
from interlingua.lm.prompt import PromptBatch
from interlingua.lm.template import Piece, Template
from interlingua.lm.token_pool import TitleIds, plain_ids

ITEM = "item"
OF_ITEMS = Slot("item", texts=())
OF_SESSIONS = Slot("query", texts=())


def session_edges(events: Sequence[int]) -> tuple[list[int], list[tuple[int, int]]]:
    """Distinct items in the order of their first events, and distinct steps between them by number (from 1)."""
    nodes = list(dict.fromkeys(events))
    number = {item: place for place, item in enumerate(nodes, start=1)}
    return nodes, list(dict.fromkeys((number[one], number[other]) for one, other in pairwise(events)))


def graph_slots(edges: bool = True) -> dict[str, Slot]:
    """What the prompts fill; ``edges``: whether they tell edges."""
    slots = {ITEM: Slot("item"), "number": OF_ITEMS, "last": OF_SESSIONS}
    return slots | ({"edges": OF_SESSIONS} if edges else {})


class GraphPrompts:
    """A template and a catalogue's titles, tokenised once.

    Args:
        template: a template's name or path, with ``{history}``.
        lm: whose tokenizer, and whose longest input.
        titles: (I,) titles.
        domain: words for the catalogue's things.
        edges: False: no prompt tells its edges (control).
        max_title_tokens: longer titles are cut.

    Raises:
        ConfigError: a template without ``{history}``, or whose slots are not those that are filled.
    """

    def __init__(
        self, template: str, lm: LanguageModel, titles: Sequence[str], domain: Domain, *, edges: bool = True,
        max_title_tokens: int | None = None,
    ) -> None:  # fmt: skip
        slots = graph_slots(edges)
        found = Template.load(template, more=graph_slots())
        if "{history}" not in found.body:
            raise ConfigError(
                f"the template {found.name!r} has no slot {{history}}, where the items of a session stand"
            )
        self._lm, self._layout = lm, found.resolve(slots, domain)
        self._titles = TitleIds(lm, titles, max_title_tokens)
        self._ids: dict[str, list[int]] = {}

    def assemble(self, histories: IntArray) -> PromptBatch:
        """Prompts of (B, L) histories, oldest event first, PAD anywhere for none; padded on the right.

        Raises:
            ConfigError: a prompt is longer than the model reads.
        """
        texts = [self._text([int(item) for item in row if item != PAD]) for row in histories]
        longest = max((len(text.ids) for text in texts), default=0)
        if longest > self._lm.max_positions:
            raise ConfigError(
                f"a prompt of {longest} tokens is longer than the model's {self._lm.max_positions}; "
                "lower ranker.history_length or ranker.max_title_tokens"
            )
        return batch_of(texts, self._lm.pad_token_id, (ITEM,))

    def _text(self, events: Sequence[int]) -> Text:
        nodes, edges = session_edges(events)
        ids = [] if self._lm.bos_token_id is None else [self._lm.bos_token_id]
        items: list[int] = []
        for piece in self._layout.body:
            kind = piece.kind.strip()
            space = " " if kind != piece.kind else ""
            if kind == "history":
                ids += self._nodes(nodes, items)
            elif kind == "edges":
                ids += self._list(space, [f"{one} -> {other}" for one, other in edges])
            elif kind == "last":
                ids += self._list(space, [str(nodes.index(events[-1]) + 1)] if nodes else [])
            else:
                ids += self._of(piece.text)
        return Text(ids, items)

    def _nodes(self, nodes: Sequence[int], items: list[int]) -> list[int]:
        """Ids of all entries, a vector's place as -1; adds their items to ``items``."""
        if not nodes:
            return self._of(self._layout.nothing)
        ids: list[int] = []
        for number, item in enumerate(nodes, start=1):
            ids += self._of(self._layout.separator) if number > 1 else []
            for piece in self._layout.entries["history"]:
                ids += self._entry(piece, number, item)
                if piece.kind == ITEM:
                    items.append(item)
        return ids

    def _entry(self, piece: Piece, number: int, item: int) -> list[int]:
        kind = piece.kind.strip()
        space = " " if kind != piece.kind else ""
        if kind == "title":
            return self._titles.of(space)[item]
        if kind == "number":
            return self._of(f"{space}{number}")
        return [-1] if kind == ITEM else self._of(piece.text)

    def _list(self, space: str, parts: Sequence[str]) -> list[int]:
        """Ids of some words, or those for nothing."""
        ids = [token for place, part in enumerate(parts) for token in self._of(f", {part}" if place else space + part)]
        return ids or self._of(f"{space}none")

    def _of(self, text: str) -> list[int]:
        if text not in self._ids:
            self._ids[text] = plain_ids(self._lm, [text])[0] if text else []
        return self._ids[text]
