"""Texts for the two towers, from templates: a user's last items, and one item.

RA-Rec's hard prompt (arXiv 2402.04527v2): the task and the titles, beside the soft prompt made of ID vectors.

Shape key: B texts, T tokens, I items.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from interlingua.data.domain import Domain
from interlingua.data.queries import PAD, IntArray
from interlingua.errors import ConfigError
from interlingua.lm.models import LanguageModel
from interlingua.lm.template import Template

NONE = "none"
"""no words: one token stands where the text would be (the soft prompt alone)"""
MOST_CATEGORIES = 4


class HardPrompts:
    """Texts of users and items, and their tokens.

    Args:
        user: template of the user side (slot ``{history}``), or ``none``.
        item: template of the item side (slot ``{target}``), or ``none``.
        titles: (I,) titles.
        abouts: (I,) categories of each item, for templates that use ``{about}``.
        domain: words for the catalogue's things.
        max_words: longer titles are cut after so many words (None: never).
    """

    def __init__(
        self, user: str, item: str, titles: Sequence[str], abouts: Sequence[str | None] | None, domain: Domain,
        max_words: int | None = None,
    ) -> None:  # fmt: skip
        self._domain = domain
        self._user = None if user == NONE else Template.load(user)
        self._item = None if item == NONE else Template.load(item)
        for template, slot, side in ((self._user, "{history}", "user"), (self._item, "{target}", "item")):
            if template is not None and slot not in template.body:
                raise ConfigError(f"ranker.{side}_template {template.name!r} has no slot {slot}")
        categories = list(abouts) if abouts is not None else [None] * len(titles)
        self._entries = [
            {"title": " ".join(title.split()[:max_words]) or "untitled", "about": about_of(about)}
            for title, about in zip(titles, categories, strict=True)
        ]

    def users(self, histories: IntArray) -> list[str]:
        """One text per row of (B, L) histories, padded with PAD anywhere."""
        if self._user is None:
            return [""] * len(histories)
        described = [[self._entries[item] for item in row if item != PAD] for row in histories.tolist()]
        return [self._user.render(self._domain, {"history": entries}) for entries in described]

    def items(self, indices: Sequence[int]) -> list[str]:
        """One text per item index."""
        if self._item is None:
            return [""] * len(indices)
        return [self._item.render(self._domain, {"target": [self._entries[row]]}) for row in indices]


def about_of(categories: str | None) -> str:
    """``A|B`` or ``A, B`` as ``A, B``, the first few only; empty where there are none."""
    parts = [part.strip() for part in re.split(r"[|,]", categories or "") if part.strip()]
    return ", ".join(part for part in parts[:MOST_CATEGORIES] if not part.startswith("("))


def tokens(lm: LanguageModel, texts: Sequence[str], room: int = 0) -> list[list[int]]:
    """Token ids of each text, with the special tokens that the model's tokenizer sets; never empty.

    Titles are other people's text: what looks like a special token in them is split into characters.

    Args:
        lm: whose tokenizer.
        texts: B texts.
        room: places that must stay free in the model's longest input.

    Raises:
        ConfigError: a text longer than the model reads.
    """
    if not texts:
        return []
    found = [
        list(ids) or [lm.eos_token_id] for ids in lm.tokenizer(list(texts), split_special_tokens=True)["input_ids"]
    ]
    longest = max(len(ids) for ids in found) + room
    if longest > lm.max_positions:
        raise ConfigError(
            f"a prompt of {longest} tokens is longer than the {lm.max_positions} that {lm.name} reads; "
            "lower ranker.history_length or ranker.max_title_words"
        )
    return found


def padded(lists: Sequence[Sequence[int]], pad: int) -> tuple[Tensor, Tensor]:
    """(B, T) ids and mask, padded on the right: causal models then need no thought, and soft tokens go in front."""
    width = max(len(ids) for ids in lists)
    out = torch.full((len(lists), width), pad, dtype=torch.long)
    mask = torch.zeros(len(lists), width, dtype=torch.long)
    for row, ids in enumerate(lists):
        out[row, : len(ids)] = torch.as_tensor(ids)
        mask[row, : len(ids)] = 1
    return out, mask
