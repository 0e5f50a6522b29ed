"""Items as tokens of their attributes (key words, then value words), and histories of such items as one sequence.

Shape key: I items, W tokens of an item at most, B rows, L events of a history, S tokens of a sequence.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from interlingua.data.catalogue import Catalogue, values_in
from interlingua.data.queries import PAD
from interlingua.errors import ConfigError, unknown

NONE = -1
"""where an item has no token"""
START, KEY, VALUE, BEHIND = 0, 1, 2, 3
"""token types: the first token of a sequence, of a key, of a value, and padding"""
SPECIAL = ("<pad>", "<s>", "<mask>", "<unk>")
_WORD = re.compile(r"[^\W_]+|[^\w\s]")

Attributes = list[tuple[str, str]]
"""(key, value) of one item, in order"""


def columns_of(catalogue: Catalogue, fields: Sequence[str] | None, usual: Sequence[str]) -> list[str]:
    """The columns that are read: ``fields``, which must exist; None: those of ``usual`` that do.

    Raises:
        ConfigError: a field that the catalogue does not have, or none at all.
    """
    found = [catalogue.column(field) for field in (usual if fields is None else fields)]
    missing = [field for field, column in zip(fields or (), found, strict=False) if column is None]
    if missing:
        known = [*catalogue.items.columns, *catalogue.names.values()]
        raise ConfigError(unknown("catalogue column", missing[0], known, "backbone.fields", ", ".join(catalogue.named)))
    columns = list(dict.fromkeys(column for column in found if column is not None))
    if not columns:
        named = " or ".join(usual if fields is None else fields) or "(none was named)"
        raise ConfigError(
            f"the catalogue has no column {named}: name some of its own in backbone.fields "
            f"({', '.join(catalogue.named)})"
        )
    return columns


def attributes_of(catalogue: Catalogue, columns: Sequence[str]) -> list[Attributes]:
    """(I,) the attributes of each item; what is missing is left out, several values stand as ``A, B``."""
    items = catalogue.items
    said = {
        column: [", ".join(values_in(column, cell)) for cell in items[column].to_list()]
        for column in columns
        if column in items.columns
    }
    return [
        [(column.replace("_", " "), texts[row]) for column, texts in said.items() if texts[row]]
        for row in range(items.height)
    ]


def words_of(text: str) -> list[str]:
    """Lower-cased words and signs."""
    return _WORD.findall(text.lower())


class Words:
    """A vocabulary of whole words; others are ``<unk>``."""

    pad, start, mask, unknown = range(len(SPECIAL))

    def __init__(self, words: Sequence[str]) -> None:
        self.words = list(words)
        self._ids = {word: number for number, word in enumerate((*SPECIAL, *words))}

    @classmethod
    def of(cls, items: Sequence[Attributes], most: int) -> Words:
        """The ``most`` frequent words of the items, keys included, in order of the alphabet."""
        counts = Counter(word for item in items for pair in item for text in pair for word in words_of(text))
        return cls(sorted(sorted(counts, key=lambda word: (-counts[word], word))[:most]))

    def ids(self, text: str) -> list[int]:
        """Token ids of a text."""
        return [self._ids.get(word, self.unknown) for word in words_of(text)]

    def __len__(self) -> int:
        return len(self._ids)


def written(columns: Sequence[str], words: Sequence[str]) -> Tensor:
    """(n,) bytes that say what is read and by which vocabulary, for a model's state."""
    text = json.dumps({"columns": list(columns), "words": list(words)}, ensure_ascii=False)
    return torch.from_numpy(np.frombuffer(text.encode("utf-8"), np.uint8).copy())


def read_back(stored: Tensor) -> tuple[list[str], list[str]]:
    """Columns and words of :func:`written`."""
    found = json.loads(bytes(stored.cpu().numpy().astype(np.uint8)).decode("utf-8"))
    return list(found["columns"]), list(found["words"])


@dataclass(frozen=True)
class ItemTokens:
    """Token ids and types of items, both (I, W); :data:`NONE` and :data:`BEHIND` where an item has none."""

    ids: Tensor
    types: Tensor


def item_tokens(items: Sequence[Attributes], ids_of: Callable[[str], list[int]], most: int) -> ItemTokens:
    """The tokens of items: for each attribute its key's, then its value's, cut to ``most`` together."""
    made: list[tuple[list[int], list[int]]] = []
    for item in items:
        ids, types = list[int](), list[int]()
        for key, value in item:
            head = ids_of(key)
            own = [*head, *ids_of(value)][:most]
            ids += own
            types += [KEY if number < len(head) else VALUE for number in range(len(own))]
        made.append((ids, types))
    width = max((len(ids) for ids, _ in made), default=0)
    out = ItemTokens(torch.full((len(made), width), NONE), torch.full((len(made), width), BEHIND))
    for row, (ids, types) in enumerate(made):
        out.ids[row, : len(ids)] = torch.tensor(ids, dtype=torch.int64)
        out.types[row, : len(types)] = torch.tensor(types, dtype=torch.int64)
    return out


def joined(first: Tensor, second: Tensor, empty: int) -> Tensor:
    """(m + n, W) two tables one below the other, the narrower one filled up with ``empty``."""
    width = max(first.shape[1], second.shape[1])
    filled = [
        torch.nn.functional.pad(each, (0, width - each.shape[1]), value=empty) for each in (first, second.to(first))
    ]
    return torch.cat(filled)


@dataclass(frozen=True)
class Sequences:
    """Histories as tokens, all (B, S); padding stands behind."""

    ids: Tensor
    types: Tensor
    places: Tensor
    """0 for the first token, 1 for those of the newest item, 2 for the one before, ..."""
    mask: Tensor
    """bool: no padding"""


def sequences(histories: Tensor, items: ItemTokens, start: int, pad: int, most: int) -> Sequences:
    """The first token, then the tokens of the newest item, of the one before, and so on; cut to ``most`` in all.

    Args:
        histories: (B, L) left-padded item indices, oldest first.
        items: tokens of all items.
        start: id of the first token.
        pad: id of padding.
        most: S at most.
    """
    newest = histories.flip(1)
    own = items.ids[newest.clamp(min=0)]  # (B, L, W)
    mask = ((own != NONE) & (newest != PAD)[..., None]).flatten(1)
    at = mask.cumsum(1)
    owners, columns = (mask & (at < most)).nonzero(as_tuple=True)
    to = at[owners, columns]
    width = 1 + (int(to.max()) if len(to) else 0)
    shape = (len(histories), width)
    ids, types = histories.new_full(shape, pad), histories.new_full(shape, BEHIND)
    places, real = histories.new_zeros(shape), torch.zeros(shape, dtype=torch.bool, device=histories.device)
    ids[:, 0], types[:, 0], real[:, 0] = start, START, True
    ids[owners, to] = own.flatten(1)[owners, columns].to(ids)
    types[owners, to] = items.types[newest.clamp(min=0)].flatten(1)[owners, columns].to(types)
    places[owners, to] = columns // max(items.ids.shape[1], 1) + 1
    real[owners, to] = True
    return Sequences(ids, types, places, real)
