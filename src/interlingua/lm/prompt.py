"""Prompts as id arrays: a template with named slots is compiled once against a tokenizer and a catalogue's titles.

Every literal and every title is tokenised once; a batch of prompts is then one gather over a flat pool of ids, and the
places of vectors are listed for one indexed write. Shape key: B prompts, T tokens, L history items, C candidates,
S vector places, P pieces.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interlingua.contracts.slots import Slot
from interlingua.data.domain import Domain
from interlingua.data.queries import PAD, IntArray
from interlingua.errors import ConfigError
from interlingua.lm.models import LanguageModel
from interlingua.lm.template import Piece, Template, given_slots
from interlingua.lm.token_pool import Ids, Pool, TitleIds, Tokens

USER, HISTORY, CANDIDATE, TARGET, DISLIKED, NEIGHBOUR = 0, 1, 2, 3, 4, 5
"""what a vector place is for: the numbers in :attr:`PromptBatch.slot_kinds`"""
SLOTS = ("history", "candidates", "target", "disliked", "neighbours")
LISTS = dict(zip(SLOTS, (HISTORY, CANDIDATE, TARGET, DISLIKED, NEIGHBOUR), strict=True))


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
    """(S,) USER, HISTORY, CANDIDATE, TARGET, DISLIKED or NEIGHBOUR"""
    slot_indices: Ids
    """(S,) item index of each vector place; the prompt's number for USER"""
    slot_numbers: Ids
    """(S,) which of :attr:`slot_names` each vector place is"""
    slot_names: tuple[str, ...]
    """names of the slots for vectors"""

    @property
    def item_indices(self) -> Ids:
        """Item indices of all item places, in order: what ``items`` of :func:`embed_prompts` must follow."""
        return self.rows_of("item")

    def chosen(self, name: str) -> npt.NDArray[np.bool_]:
        """(S,) the places of one slot."""
        if name not in self.slot_names:
            return np.zeros(len(self.slot_numbers), bool)
        return self.slot_numbers == self.slot_names.index(name)

    def rows_of(self, name: str) -> Ids:
        """(S_name,) item index (or the prompt's number) of each place of one slot, in order."""
        return self.slot_indices[self.chosen(name)]

    def places(self, kind: int) -> Ids:
        """(S_kind, 2) prompt and column of the places of one kind."""
        chosen = self.slot_kinds == kind
        return np.stack([self.slot_batch[chosen], self.slot_positions[chosen]], axis=1)


def embed_prompts(
    lm: LanguageModel,
    prompts: PromptBatch,
    users: Tensor | None = None,
    items: Tensor | None = None,
    slot_vectors: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """(B, T, H) input embeddings with the vectors in their places; gradients flow to the vectors.

    Args:
        lm: whose embedding table is used.
        prompts: assembled prompts.
        users: (B, H) one vector per prompt, where the prompts have a ``user`` slot.
        items: (S, H) one vector per item place, in the order of :attr:`PromptBatch.item_indices`.
        slot_vectors: the same for every further slot, in the order of :meth:`PromptBatch.rows_of`.

    Raises:
        ConfigError: vectors without places, or places without vectors.
    """
    embeds = lm.embed(torch.as_tensor(prompts.input_ids))
    given: dict[str, Tensor | None] = {"user": users, "item": items, **(slot_vectors or {})}
    for name in dict.fromkeys((*given, *prompts.slot_names)):
        vectors, chosen = given.get(name), prompts.chosen(name)
        count = int(chosen.sum())
        got = 0 if vectors is None else len(vectors)
        if got != count:
            raise ConfigError(f"the prompts have {count} places for {name} vectors, but {got} vectors were given")
        if vectors is not None and count:
            indices = torch.as_tensor(prompts.slot_batch[chosen], device=embeds.device)
            columns = torch.as_tensor(prompts.slot_positions[chosen], device=embeds.device)
            embeds = embeds.index_put((indices, columns), vectors.to(embeds))
    return embeds


class CompiledTemplate:
    """A template whose words, titles and target answers are token ids. Made by :func:`compile_template`."""

    def __init__(
        self, template: Template, lm: LanguageModel, titles: TitleIds, domain: Domain, slots: Mapping[str, Slot]
    ) -> None:
        self.template, self.num_items = template, len(titles)
        self.slots = frozenset(slots)
        self.vectors = tuple(name for name, slot in slots.items() if slot.texts is None)
        texts = {name: slot.texts for name, slot in slots.items() if slot.texts is not None}
        marks = {name: [-1 - number] * slots[name].length for number, name in enumerate(self.vectors)}
        self._texts = {name: text for name, text in texts.items() if slots[name].of == "query"}
        self._marks = marks
        self._pad_id, self._eos_id = lm.pad_token_id, lm.eos_token_id
        self._tokens = Tokens(lm, titles, texts, marks)
        layout = template.resolve(slots, domain, getattr(lm.tokenizer, "apply_chat_template", None))
        pool = Pool()
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

    def _column(self, pool: Pool, piece: Piece, entries: dict[str, list[Piece]]) -> tuple[str, int]:
        if piece.kind == "text":
            return "literal", pool.add(self._tokens.literal(piece.text, special=True))
        if piece.kind in self._marks:
            return piece.kind, pool.add(self._marks[piece.kind])
        first = len(pool.sizes)
        if piece.kind.strip() in self._texts:
            for row in range(len(self._texts[piece.kind.strip()])):
                pool.add(self._tokens.entry([piece], row))
            return piece.kind.strip(), first
        for row in range(self.num_items):
            pool.add(self._tokens.entry(entries[piece.kind], row))
        return piece.kind, first

    @property
    def needs(self) -> frozenset[str]:
        """The lists that :meth:`assemble` must be given: some of :data:`LISTS`."""
        return frozenset(kind for kind, _ in self._columns if kind in LISTS)

    def target_ids(self, indices: IntArray, *, eos: bool = True) -> tuple[Ids, Ids]:
        """The answers that name the given items: (N, K) ids, right-padded, and (N,) lengths.

        Args:
            indices: (N,) item indices.
            eos: end each answer with the end-of-text token.
        """
        tail = [self._eos_id] if eos else []
        answers = [self._targets[row] + tail for row in np.asarray(indices).tolist()]
        lengths = np.fromiter((len(a) for a in answers), np.int64, len(answers))
        out = np.full((len(answers), int(lengths.max(initial=1))), self._pad_id, np.int64)
        out[np.arange(out.shape[1]) < lengths[:, None]] = np.fromiter(
            (token for a in answers for token in a), np.int64, int(lengths.sum())
        )
        return out, lengths

    def lengths(
        self, history: IntArray, candidates: IntArray | None = None, target: IntArray | None = None,
        text_indices: Mapping[str, IntArray] | None = None,
    ) -> Ids:  # fmt: skip
        """(B,) length of each prompt, without assembling it: for bucketing."""
        pieces, _, _ = self._pieces(history, candidates, target, text_indices or {})
        return self._sizes[pieces].sum(1)

    def entry_spans(self, history: IntArray) -> tuple[Ids, Ids]:
        """(B, L) places in its prompt, padding not counted, of each entry's first token and behind its last; or PAD."""
        pieces, _, kinds = self._pieces(history, None, None, {})
        sizes = self._sizes[pieces]
        begins = np.cumsum(sizes, 1) - sizes
        entries = np.flatnonzero(kinds == HISTORY)[2::2]  # words for no entry, then separator and entry by turns
        none = np.asarray(history) == PAD
        return np.where(none, PAD, begins[:, entries]), np.where(none, PAD, (begins + sizes)[:, entries])

    def assemble(
        self,
        history: IntArray,
        candidates: IntArray | None = None,
        target: IntArray | None = None,
        *,
        further: Mapping[str, IntArray] | None = None,
        text_indices: Mapping[str, IntArray] | None = None,
        has_user: bool | None = None,
        side: str = "left",
        max_length: int | None = None,
    ) -> PromptBatch:
        """Prompts of a batch.

        Args:
            history: (B, L) item indices, oldest first, PAD anywhere for "no item".
            candidates: (B, C) item indices in the order shown; PAD for "no item".
            target: (B,) the one item of a ``{target}`` slot.
            further: other lists by name (``disliked``, ``neighbours``): (B, M) items, as ``history``.
            text_indices: of each slot with texts of queries: (B,) which of its texts, PAD for none.
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
        pieces, of, kinds = self._pieces(history, candidates, target, text_indices or {}, further or {})
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
        is_slot = tokens < 0
        ids[where] = np.where(is_slot, self._pad_id, tokens)
        at_batch, at_column = np.nonzero(where)
        return PromptBatch(
            ids, where.astype(np.int64), lengths, at_batch[is_slot], at_column[is_slot],
            np.repeat(np.broadcast_to(kinds, pieces.shape).ravel(), sizes.ravel())[is_slot],
            np.repeat(of.ravel(), sizes.ravel())[is_slot], -1 - tokens[is_slot], self.vectors,
        )  # fmt: skip

    def _pieces(
        self, history: IntArray, candidates: IntArray | None, target: IntArray | None, texts: Mapping[str, IntArray],
        further: Mapping[str, IntArray] | None = None,
    ) -> tuple[Ids, Ids, Ids]:  # fmt: skip
        """(B, P) pool numbers, (B, P) row that each piece speaks of, (P,) kind of each piece."""
        history = np.asarray(history, np.int64)
        given = {"history": history, "candidates": candidates, "target": target, **(further or {})}
        batch = len(history)
        pieces: list[Ids] = []
        batch_indices: list[Ids] = []
        kinds: list[int] = []
        for kind, number in self._columns:
            if kind not in LISTS:
                pieces.append(self._chosen_text(kind, number, texts, batch))
                batch_indices.append(np.arange(batch)[:, None])
                kinds.append(USER)
                continue
            values = given.get(kind)
            if values is None:
                raise ConfigError(f"the template {self.template.name} has a slot {{{kind}}}, but no {kind} was given")
            items = np.asarray(values, np.int64).reshape(batch, -1)
            shown, of = self._list(items, number)
            pieces.append(shown)
            batch_indices.append(of)
            kinds += [LISTS[kind]] * shown.shape[1]
        for kind, values in given.items():
            if values is not None and kind not in self.needs and np.size(values):
                raise ConfigError(f"{kind} was given, but the template {self.template.name} has no slot {{{kind}}}")
        return np.concatenate(pieces, 1), np.concatenate(batch_indices, 1), np.asarray(kinds)

    def _chosen_text(self, kind: str, number: int, texts: Mapping[str, IntArray], batch: int) -> Ids:
        """(B, 1) pool numbers of a literal, a vector, or each query's own text."""
        if kind not in self._texts:
            return np.full((batch, 1), number)
        if kind not in texts:
            raise ConfigError(f"the template {self.template.name} has a slot {{{kind}}}, but no rows of it were given")
        indices = np.asarray(texts[kind], np.int64).reshape(batch, 1)
        return np.where(indices == PAD, self._empty, number + indices)

    def _list(self, items: Ids, first: int) -> tuple[Ids, Ids]:
        """Separator and entry alternate; an empty list says so in words."""
        real = items != PAD
        before = np.cumsum(real, axis=1) - real > 0
        entries = np.where(real, first + items, self._empty)
        separators = np.where(real & before, self._separator, self._empty)
        shown = np.stack([separators, entries], axis=2).reshape(len(items), -1)
        of = np.repeat(items, 2, axis=1)
        nothing = np.where(real.any(axis=1), self._empty, self._nothing)[:, None]
        return np.concatenate([nothing, shown], 1), np.concatenate([np.full_like(nothing, PAD), of], 1)


def compile_template(
    template: Template | str,
    lm: LanguageModel,
    titles: Sequence[str],
    domain: Domain | None = None,
    *,
    slots: Collection[str] | Mapping[str, Slot],
    max_title_tokens: int | None = None,
) -> CompiledTemplate:
    """Tokenises a template and all titles once.

    Args:
        template: a template, its name or its path.
        lm: the model that reads the prompts.
        titles: (I,) printable titles.
        domain: words for the catalogue's things.
        slots: what the ranker fills (:meth:`interlingua.contracts.ranker.Ranker.slots`), or the names of the usual
            vectors, ``user`` and ``item``.
        max_title_tokens: longer titles are cut (None: never).

    Raises:
        ConfigError: the template has a slot outside ``[[ ]]`` that is not among ``slots``, or lacks one that is.
    """
    return compile_templates([(template, slots)], lm, titles, domain, max_title_tokens=max_title_tokens)[0]


def compile_templates(
    templates: Sequence[tuple[Template | str, Collection[str] | Mapping[str, Slot]]],
    lm: LanguageModel,
    titles: Sequence[str],
    domain: Domain | None = None,
    *,
    max_title_tokens: int | None = None,
) -> list[CompiledTemplate]:
    """:func:`compile_template` for several templates of one catalogue: titles are tokenised once for all of them.

    Args:
        templates: each with what the ranker fills in it.
        lm: see :func:`compile_template`.
        titles: see :func:`compile_template`, also for what follows.
        domain: words.
        max_title_tokens: longest title.

    Returns:
        One for each template; equal ones are one object.
    """
    ids = TitleIds(lm, titles, max_title_tokens)
    made: list[CompiledTemplate] = []
    for place, (template, slots) in enumerate(templates):
        earlier = templates.index((template, slots))
        filled = given_slots(slots)
        found = Template.load(template, more=filled) if isinstance(template, str) else template
        made.append(made[earlier] if earlier < place else CompiledTemplate(found, lm, ids, domain or Domain(), filled))
    return made
