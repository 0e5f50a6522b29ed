"""A question about one item that is answered by Yes or No, cut where the item begins.

What stands before the item is one prompt for all candidates of a query. What begins with it (title, the rest of the
question, Yes or No) is a tree of continuations, so that the likelihoods of both answers share every other token.

Shape key: B prompts, C candidates, K tokens from the item on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from interlingua.data.domain import Domain
from interlingua.data.queries import IntArray
from interlingua.errors import ConfigError
from interlingua.lm.models import LanguageModel
from interlingua.lm.prompt import CompiledTemplate, compile_template
from interlingua.lm.template import Template
from interlingua.lm.token_pool import Ids

SLOT = "{target}"
YES, NO, STOP = "Yes", "No", "."


@dataclass(frozen=True)
class End:
    """The tokens of a training text from the item on."""

    middle: list[int]
    """title and the rest of the question"""
    answer: list[int]
    """``Yes.`` or ``No.`` and the end of the text"""


class Question:
    """A template with one slot ``{target}`` and its two answers.

    Args:
        template: a name or a path.
        lm: the model that is asked.
        titles: (I,) titles.
        domain: words for the catalogue's things.
        max_title_tokens: longer titles are cut.

    Raises:
        ConfigError: the template does not name an item.
    """

    before: CompiledTemplate
    """the prompt up to the item; its targets are title and rest of the question"""

    def __init__(
        self, template: str, lm: LanguageModel, titles: Sequence[str], domain: Domain, max_title_tokens: int | None
    ) -> None:
        whole = Template.load(template)
        if SLOT not in whole.body:
            raise ConfigError(f"template {whole.name} asks about no item: its body needs the slot {SLOT}")
        before, _, after = whole.body.partition(SLOT)
        if any(f"{{{slot}}}" in after for slot in ("history", "disliked", "candidates", "user")):
            raise ConfigError(f"template {whole.name}: lists belong before {SLOT}, where all candidates share them")
        entry = whole.head.get("target", "{title}") + after
        cut = replace(whole, body=before.rstrip(" "), head={**whole.head, "target": entry})
        self.before = compile_template(cut, lm, titles, domain, slots=(), max_title_tokens=max_title_tokens)
        space = "" if after.endswith(("\n", " ")) else " "
        self.words = [lm.tokenize(space + word) for word in (YES, NO)]
        """token ids of the two answers"""
        self._tail = [*lm.tokenize(STOP), lm.eos_token_id]

    def training_ends(self, items: IntArray, yes: npt.NDArray[np.bool_]) -> list[End]:
        """From the item on: of B items (B,) with their answers (B,)."""
        ids, lengths = self.before.target_ids(items, eos=False)
        middles = [row[:length].tolist() for row, length in zip(ids, lengths, strict=True)]
        return [
            End(middle, [*self.words[0 if liked else 1], *self._tail])
            for middle, liked in zip(middles, yes.tolist(), strict=True)
        ]

    def both_answers(self, items: IntArray) -> tuple[Ids, Ids]:
        """Continuations of candidates (B, C): (B, 2C, K) ids, Yes and No in turn, right-padded, and (B, 2C) lengths."""
        ids, sizes = self.before.target_ids(items.ravel(), eos=False)
        texts = [[*row[:size].tolist(), *word] for row, size in zip(ids, sizes, strict=True) for word in self.words]
        lengths = np.array([len(text) for text in texts], np.int64)
        out = np.zeros((len(texts), int(lengths.max(initial=1))), np.int64)
        for row, text in enumerate(texts):
            out[row, : len(text)] = text
        return out.reshape(len(items), -1, out.shape[1]), lengths.reshape(len(items), -1)
