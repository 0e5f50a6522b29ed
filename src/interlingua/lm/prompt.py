"""Prompts as id arrays: a template with named slots is compiled once against a tokenizer and a catalogue's titles.

Every literal and every title is tokenised once; a batch of prompts is then one gather over a flat pool of ids, and the
places of vectors are listed for one indexed write. Shape key: B prompts, T tokens, L history items, C candidates,
S vector places, P pieces.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interlingua.data.domain import Domain
from interlingua.data.queries import PAD, IntArray
from interlingua.errors import ConfigError
from interlingua.lm.models import LanguageModel
from interlingua.lm.template import Piece, Template

USER, HISTORY, CANDIDATE, TARGET = 0, 1, 2, 3
"""what a vector place is for: the numbers in :attr:`PromptBatch.slot_kinds`"""
LISTS = {"history": HISTORY, "candidates": CANDIDATE, "target": TARGET}
_VECTOR = -1
"""stands in the pool of ids where a vector will be"""
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True)
class PromptBatch:
    """A batch of prompts. ``slot_*`` list the places of vectors, sorted by prompt and position."""

    input_ids: Ids
    """(B, T) token ids; the pad id at padding and at vector places"""
    attention_mask: Ids
    """(B, T) 1 at tokens and vectors, 0 at padding"""
    lengths: Ids
    """(B,) tokens and vectors of each prompt"""
    slot_batch: Ids
    """(S,) prompt of each vector place"""
    slot_positions: Ids
    """(S,) column of each vector place"""
    slot_kinds: Ids
    """(S,) USER, HISTORY, CANDIDATE or TARGET"""
    slot_rows: Ids
    """(S,) item row of each vector place; the prompt's number for USER"""

    @property
    def item_rows(self) -> Ids:
        """Item rows of all item places, in order: what ``items`` of :func:`embed_prompts` must follow."""
        return self.slot_rows[self.slot_kinds != USER]

    def places(self, kind: int) -> Ids:
        """(S_kind, 2) prompt and column of the places of one kind."""
        chosen = self.slot_kinds == kind
        return np.stack([self.slot_batch[chosen], self.slot_positions[chosen]], axis=1)


def embed_prompts(
    lm: LanguageModel, prompts: PromptBatch, users: Tensor | None = None, items: Tensor | None = None
) -> Tensor:
    """(B, T, H) input embeddings with the vectors in their places; gradients flow to ``users`` and ``items``.

    Args:
        lm: whose embedding table is used.
        prompts: assembled prompts.
        users: (B, H) one vector per prompt, where the prompts have a ``user`` slot.
        items: (S, H) one vector per item place, in the order of :attr:`PromptBatch.item_rows`.

    Raises:
        ConfigError: vectors without places, or places without vectors.
    """
    embeds = lm.embed(torch.as_tensor(prompts.input_ids))
    is_user = prompts.slot_kinds == USER
    for name, vectors, chosen in (("user", users, is_user), ("item", items, ~is_user)):
        count = int(chosen.sum())
        got = 0 if vectors is None else len(vectors)
        if got != count:
            raise ConfigError(f"the prompts have {count} places for {name} vectors, but {got} vectors were given")
        if vectors is not None and count:
            rows = torch.as_tensor(prompts.slot_batch[chosen], device=embeds.device)
            columns = torch.as_tensor(prompts.slot_positions[chosen], device=embeds.device)
            embeds = embeds.index_put((rows, columns), vectors.to(embeds))
    return embeds


class CompiledTemplate:
    """A template whose words, titles and target answers are token ids. Made by :func:`compile_template`."""

    def __init__(
        self, template: Template, lm: LanguageModel, titles: Sequence[str], domain: Domain, slots: Collection[str],
        max_title_tokens: int | None,
    ) -> None:  # fmt: skip
        self.template, self.num_items = template, len(titles)
        self.slots = frozenset(slots)
        self._pad_id, self._eos_id = lm.pad_token_id, lm.eos_token_id
        self._tokens = _Tokens(lm, titles, max_title_tokens)
        layout = template.resolve(self.slots, domain, getattr(lm.tokenizer, "apply_chat_template", None))
        pool = _Pool()
        self._empty = pool.add([])
        self._separator = pool.add(self._tokens.literal(layout.separator))
        self._nothing = pool.add(self._tokens.literal(layout.nothing))
        self._columns: list[tuple[str, int]] = []
        bos = lm.bos_token_id
        if bos is not None:
            self._columns.append(("literal", pool.add([bos])))
        for piece in layout.body:
            self._columns.append(self._column(pool, piece, layout.entries))
        self._flat, self._starts, self._sizes = pool.arrays()
        self._targets = [self._tokens.entry(layout.entries["target"], row) for row in range(self.num_items)]

    def _column(self, pool: _Pool, piece: Piece, entries: dict[str, list[Piece]]) -> tuple[str, int]:
        if piece.kind == "text":
            return "literal", pool.add(self._tokens.literal(piece.text, special=True))
        if piece.kind == "user":
            return "user", pool.add([_VECTOR])
        first = len(pool.sizes)
        for row in range(self.num_items):
            pool.add(self._tokens.entry(entries[piece.kind], row))
        return piece.kind, first

    @property
    def needs(self) -> frozenset[str]:
        """The lists that :meth:`assemble` must be given: of ``history``, ``candidates``, ``target``."""
        return frozenset(kind for kind, _ in self._columns if kind in LISTS)

    def target_ids(self, rows: IntArray, *, eos: bool = True) -> tuple[Ids, Ids]:
        """The answers that name the given items: (N, K) ids, right-padded, and (N,) lengths.

        Args:
            rows: (N,) item rows.
            eos: end each answer with the end-of-text token.
        """
        tail = [self._eos_id] if eos else []
        answers = [self._targets[row] + tail for row in np.asarray(rows).tolist()]
        lengths = np.fromiter((len(a) for a in answers), np.int64, len(answers))
        out = np.full((len(answers), int(lengths.max(initial=1))), self._pad_id, np.int64)
        out[np.arange(out.shape[1]) < lengths[:, None]] = np.fromiter(
            (token for a in answers for token in a), np.int64, int(lengths.sum())
        )
        return out, lengths

    def lengths(self, history: IntArray, candidates: IntArray | None = None, target: IntArray | None = None) -> Ids:
        """(B,) length of each prompt, without assembling it: for bucketing."""
        pieces, _, _ = self._pieces(history, candidates, target)
        return self._sizes[pieces].sum(1)

    def assemble(
        self,
        history: IntArray,
        candidates: IntArray | None = None,
        target: IntArray | None = None,
        *,
        has_user: bool | None = None,
        side: str = "left",
        max_length: int | None = None,
    ) -> PromptBatch:
        """Prompts of a batch.

        Args:
            history: (B, L) item rows, oldest first, PAD anywhere for "no item".
            candidates: (B, C) item rows in the order shown; PAD for "no item".
            target: (B,) the one item of a ``{target}`` slot.
            has_user: whether user vectors will be given; checked against the template. None: no check.
            side: padding side, ``left`` or ``right``.
            max_length: the model's limit.

        Raises:
            ConfigError: a list that the template needs is missing, or one is given that it has no slot for; a prompt
                longer than ``max_length``.
        """
        if has_user is not None and has_user != ("user" in self.slots):
            given, wants = ("given", "no") if has_user else ("missing", "a")
            raise ConfigError(f"user vectors are {given}, but the template {self.template.name} has {wants} user slot")
        pieces, rows, kinds = self._pieces(history, candidates, target)
        sizes = self._sizes[pieces]
        lengths = sizes.sum(1)
        longest = int(lengths.max(initial=0))
        if max_length is not None and longest > max_length:
            raise ConfigError(
                f"a prompt of {longest} tokens is longer than the model's {max_length}; "
                "lower max_history, the number of candidates or max_title_tokens"
            )
        batch = len(lengths)
        inner = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(sizes.ravel()) - sizes.ravel(), sizes.ravel())
        tokens = self._flat[np.repeat(self._starts[pieces].ravel(), sizes.ravel()) + inner]
        places = np.arange(longest)[None, :]
        where = places >= longest - lengths[:, None] if side == "left" else places < lengths[:, None]
        ids = np.full((batch, longest), self._pad_id, np.int64)
        ids[where] = np.where(tokens == _VECTOR, self._pad_id, tokens)
        is_slot = tokens == _VECTOR
        at_batch, at_column = np.nonzero(where)
        return PromptBatch(
            ids, where.astype(np.int64), lengths, at_batch[is_slot], at_column[is_slot],
            np.repeat(np.broadcast_to(kinds, pieces.shape).ravel(), sizes.ravel())[is_slot],
            np.repeat(rows.ravel(), sizes.ravel())[is_slot],
        )  # fmt: skip

    def _pieces(self, history: IntArray, candidates: IntArray | None, target: IntArray | None) -> tuple[Ids, Ids, Ids]:
        """(B, P) pool numbers, (B, P) row that each piece speaks of, (P,) kind of each piece."""
        history = np.asarray(history, np.int64)
        given = {"history": history, "candidates": candidates, "target": target}
        batch = len(history)
        pieces: list[Ids] = []
        rows: list[Ids] = []
        kinds: list[int] = []
        for kind, number in self._columns:
            if kind not in LISTS:
                pieces.append(np.full((batch, 1), number))
                rows.append(np.arange(batch)[:, None])
                kinds.append(USER)
                continue
            values = given[kind]
            if values is None:
                raise ConfigError(f"the template {self.template.name} has a slot {{{kind}}}, but no {kind} was given")
            items = np.asarray(values, np.int64).reshape(batch, -1)
            shown, of = self._list(items, number)
            pieces.append(shown)
            rows.append(of)
            kinds += [LISTS[kind]] * shown.shape[1]
        for kind, values in given.items():
            if values is not None and kind not in self.needs and np.size(values):
                raise ConfigError(f"{kind} was given, but the template {self.template.name} has no slot {{{kind}}}")
        return np.concatenate(pieces, 1), np.concatenate(rows, 1), np.asarray(kinds)

    def _list(self, items: Ids, first: int) -> tuple[Ids, Ids]:
        """Separator and entry alternate; an empty list says so in words."""
        there = items != PAD
        before = np.cumsum(there, axis=1) - there > 0
        entries = np.where(there, first + items, self._empty)
        separators = np.where(there & before, self._separator, self._empty)
        shown = np.stack([separators, entries], axis=2).reshape(len(items), -1)
        of = np.repeat(items, 2, axis=1)
        nothing = np.where(there.any(axis=1), self._empty, self._nothing)[:, None]
        return np.concatenate([nothing, shown], 1), np.concatenate([np.full_like(nothing, PAD), of], 1)


def compile_template(
    template: Template | str,
    lm: LanguageModel,
    titles: Sequence[str],
    domain: Domain | None = None,
    *,
    slots: Collection[str],
    max_title_tokens: int | None = None,
) -> CompiledTemplate:
    """Tokenises a template and all titles once.

    Args:
        template: a template, its name or its path.
        lm: the model that reads the prompts.
        titles: (I,) printable titles.
        domain: words for the catalogue's things.
        slots: the vectors that the ranker will fill: of ``user``, ``item``.
        max_title_tokens: longer titles are cut (None: never).

    Raises:
        ConfigError: the template has a slot outside ``[[ ]]`` that is not among ``slots``, or lacks one that is.
    """
    found = Template.load(template) if isinstance(template, str) else template
    return CompiledTemplate(found, lm, titles, domain or Domain(), slots, max_title_tokens)


def buckets(lengths: IntArray, batch_size: int, generator: np.random.Generator) -> list[Ids]:
    """Batches of similar lengths in random order: little padding, and still a new order each epoch."""
    order = generator.permutation(len(lengths))
    chunk = batch_size * 32
    batches: list[Ids] = []
    for start in range(0, len(order), chunk):
        part = order[start : start + chunk]
        part = part[np.argsort(np.asarray(lengths)[part], kind="stable")]
        batches += [part[at : at + batch_size] for at in range(0, len(part), batch_size)]
    return [batches[i] for i in generator.permutation(len(batches))]


class _Pool:
    """Grows the flat pool of ids."""

    def __init__(self) -> None:
        self.flat: list[int] = []
        self.sizes: list[int] = []

    def add(self, ids: Sequence[int]) -> int:
        self.flat.extend(ids)
        self.sizes.append(len(ids))
        return len(self.sizes) - 1

    def arrays(self) -> tuple[Ids, Ids, Ids]:
        sizes = np.asarray(self.sizes, np.int64)
        return np.asarray(self.flat, np.int64), np.cumsum(sizes) - sizes, sizes


class _Tokens:
    """Token ids of literals and titles, each text tokenised once."""

    def __init__(self, lm: LanguageModel, titles: Sequence[str], max_title_tokens: int | None) -> None:
        self._lm, self._titles, self._limit = lm, titles, max_title_tokens
        self._literals: dict[tuple[str, bool], list[int]] = {}
        self._title_ids: dict[bool, list[list[int]]] = {}

    def literal(self, text: str, *, special: bool = False) -> list[int]:
        """A piece of the template; only there may the markers of a chat be written."""
        key = (text, special)
        if key not in self._literals:
            self._literals[key] = self._plain([text], special=special)[0] if text else []
        return self._literals[key]

    def entry(self, pieces: Sequence[Piece], row: int) -> list[int]:
        """One item as the entry's pieces say it."""
        out: list[int] = []
        for piece in pieces:
            if piece.kind == "text":
                out += self.literal(piece.text)
            elif piece.kind == "item":
                out.append(_VECTOR)
            else:
                out += self._title(row, spaced=piece.kind == " title")
        return out

    def _title(self, row: int, *, spaced: bool) -> list[int]:
        if spaced not in self._title_ids:
            texts = [f" {title}" if spaced else title for title in self._titles]
            self._title_ids[spaced] = [ids[: self._limit] for ids in self._plain(texts)]
        return self._title_ids[spaced][row]

    def _plain(self, texts: list[str], *, special: bool = False) -> list[list[int]]:
        """Titles are other people's text: ``<|im_end|>`` in one is ten characters, not the end of the turn."""
        if not texts:
            return []
        return list(self._lm.tokenizer(texts, add_special_tokens=False, split_special_tokens=not special)["input_ids"])
