"""BinLLM: collaborative vectors as bits in the text of a question, which a language model answers by Yes or No.

Zhang et al., "Text-like Encoding of Collaborative Information in Large Language Models for Recommendation", ACL 2024;
the form is that of the authors' code. A user's and an item's code of 32 bits (backbone ``hash-mf``) are printed, as
digits or as four decimal numbers of eight bits each with dots between them. Stage 1 trains LoRA adapters on titles
alone, stage 2 trains them on with the codes in the question. The loss is CoLLM's (:mod:`interlingua.rankers.collm`).

Shape key: B pairs, T tokens, H input width, K bits.

**Deviations:**
- Bits are the signs of the backbone's vectors, whatever backbone it is: 1 above zero. An item that the backbone has not
  learned (and no text makes), and a user without a history, have no code: the prompt leaves it out.
- Labels, what is kept if stage 2 makes the validation part worse, and training: as in :mod:`interlingua.rankers.collm`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, model_validator
from torch import Tensor

from interlingua.config import FitConfig
from interlingua.contracts.ranker import RankerInputs
from interlingua.contracts.slots import Slot
from interlingua.data.queries import PAD, IntArray, Queries
from interlingua.errors import ConfigError
from interlingua.injection.hard_prompt import padded, tokens
from interlingua.injection.item_vectors import unlearned
from interlingua.lm.adapters import LoraOptions
from interlingua.lm.template import Template
from interlingua.rankers._yes_no_ranker import YesNoOptions, YesNoRanker

Form = Literal["bits", "decimals"]
BYTE = 8


class BinllmConfig(YesNoOptions):
    """Options of :class:`Binllm`."""

    template: str = "binllm"
    """the question: a template's name or path, with ``{user}`` and ``{code}`` in ``[[...]]``"""
    codes: Form = "bits"
    """``bits``: a string of digits (paper: 32); ``decimals``: numbers of eight bits, joined by dots (paper: four)"""
    max_title_words: int | None = Field(default=None, ge=1)
    """longer titles are cut"""
    lora: LoraOptions = LoraOptions(rank=8, alpha=16, dropout=0.05)
    """adapters (paper: rank 8, alpha 16, dropout .05, queries and values)"""
    fit: FitConfig = FitConfig(
        learning_rate=1e-4, weight_decay=1e-3, batch_size=4, steps_per_epoch=50, epochs=10, metric="auc"
    )
    """training of stage 2, and of stage 1 but for what ``first_`` says (paper: rounds of 50 steps)"""

    @model_validator(mode="after")
    def _something_to_learn(self) -> BinllmConfig:
        if self.tune == "none":
            raise ValueError("tune = 'none' leaves binllm nothing to train: choose 'lora' or 'full'")
        return self

    @property
    def needs(self) -> frozenset[str]:
        """User vectors."""
        return frozenset({"users"})


class Binllm(YesNoRanker):
    """A question with two codes in it."""

    Config = BinllmConfig
    version = 1

    def __init__(self, config: BinllmConfig, inputs: RankerInputs) -> None:
        super().__init__(config, inputs)
        if inputs.user_embeddings is None:
            raise ConfigError("the ranker 'binllm' prints the backbone's user vectors, and this backbone has none")
        self.template = Template.load(config.template, more=("code",))
        self._titles = [" ".join(title.split()[: config.max_title_words]) or "untitled" for title in inputs.titles]
        has_code = ~unlearned(inputs) | torch.as_tensor(inputs.items_from_text is not None)
        written = written_codes((inputs.items > 0).cpu().numpy(), config.codes)
        self.item_codes = [code if known else "" for code, known in zip(written, has_code.tolist(), strict=True)]

    def slots(self) -> dict[str, Slot]:
        """``{user}``, written anew for each query, and ``{code}``."""
        return {"user": Slot("query", texts=()), "code": Slot("item", self.item_codes)}

    def second(self) -> list[Tensor]:
        """The adapters, which stage 2 trains on."""
        assert self.tuned is not None
        return list(self.tuned.parameters())

    @torch.no_grad()
    def user_codes(self, queries: Queries) -> list[str]:
        """The B users' codes as they are printed; empty for an empty history."""
        assert self.inputs.user_embeddings is not None
        vectors = self.inputs.user_embeddings(queries).detach().float().cpu().numpy()
        written = written_codes(vectors > 0, self.config.codes)
        return [code if length else "" for code, length in zip(written, queries.lengths(), strict=True)]

    def texts(self, queries: Queries, owners: IntArray, items: IntArray) -> list[str]:
        """The B questions about items (B,), each of the query that ``owners`` (B,) names."""
        more = bool(self.says_more)
        users = self.user_codes(queries) if more else [""] * len(queries)
        histories = queries.padded(self.config.history_length).tolist()
        out = []
        for owner, item in zip(np.asarray(owners).tolist(), np.asarray(items).tolist(), strict=True):
            body = self.template.body.replace("{user}", users[owner]) if users[owner] else self.template.body
            target = {"title": self._titles[item], "code": self.item_codes[item] if more else ""}
            entries = [{"title": self._titles[each]} for each in histories[owner] if each != PAD]
            lists = {"history": entries, "target": [target]}
            out.append(replace(self.template, body=body).render(self.inputs.domain, lists))
        return out

    def embedded(self, queries: Queries, owners: IntArray, items: IntArray) -> tuple[Tensor, Tensor]:
        """(B, T, H) prompts and (B, T) mask (see :class:`YesNoRanker`)."""
        ids, mask = padded(tokens(self.lm, self.texts(queries, owners, items)), self.lm.pad_token_id)
        return self.lm.embed(ids), mask


def written_codes(bits: npt.NDArray[np.bool_], form: Form) -> list[str]:
    """(B, K) bits as text, the first bit first: ``0110...``, or numbers of eight bits: ``101.7.255.0``."""
    if form == "bits":
        return ["".join("1" if bit else "0" for bit in row) for row in bits.tolist()]
    return [".".join(str(byte) for byte in row) for row in np.packbits(bits, axis=1).tolist()]
