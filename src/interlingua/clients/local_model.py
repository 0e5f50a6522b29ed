"""Answers of a causal language model on this machine, through the same interface as a server.

The model is handed in, loaded and frozen. Where fields are asked for, the object's braces, keys and quotes are written
for the model and it only fills in the texts: what structured output is for servers. Questions that wait at the same
time run as one batch.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from interlingua.clients.completion import Answer, CallError, Request, Sampling
from interlingua.clients.local_decode import Writing, write_answers

FORMAT = 1
"""raised when the way of asking changes, so that older answers are not taken for new ones"""
CLOSING = re.compile(r"""[^\s"\\]?["]""")
"""start of a token that ends a field: a quote, behind one sign at most"""
BARRED = re.compile(r"""["\\\n\r]""")
"""characters that no token inside a field may have"""
MOST_TOKENS = 240
"""an answer's length at most, whatever is allowed: small models that lose the thread fill whatever room there is"""

SPARE = 16
"""tokens that must be left for an answer"""


class LocalModel:
    """A transformers model with its tokenizer."""

    def __init__(
        self, model: Any, tokenizer: Any, *, name: str, revision: str, batch_size: int = 8, cache_limit: int = 1 << 30
    ) -> None:
        """Holds the model.

        Args:
            model: a transformers causal language model in evaluation mode.
            tokenizer: its tokenizer.
            name: the reference that it was loaded by.
            revision: hash or commit of its weights.
            batch_size: questions of one forward pass.
            cache_limit: see :func:`interlingua.clients.local_decode.write_answers`.
        """
        self._model, self._tokenizer, self._batch_size = model, tokenizer, batch_size
        self._cache_limit = cache_limit
        self._name, self._revision = name, revision
        self._waiting: list[tuple[Request, Sampling, asyncio.Future[Answer]]] = []
        self._running: asyncio.Task[None] | None = None
        self._closing: dict[bool, tuple[Tensor, Tensor]] = {}

    @property
    def identity(self) -> dict[str, Any]:
        """Name, revision of the weights, and the version of the way of asking."""
        return {"model": self._name, "revision": self._revision, "format": FORMAT}

    def tokens(self, text: str) -> int:
        """Length in the model's own tokens."""
        return len(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    async def complete(self, request: Request, sampling: Sampling) -> Answer:
        """One answer (see :class:`interlingua.clients.completion.Completer`)."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, sampling, future))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._drain())
        return await future

    def clean(self, text: str) -> str:
        """The same text: nothing secret was sent anywhere."""
        return text

    async def close(self) -> None:
        """Nothing to close."""

    async def _drain(self) -> None:
        while self._waiting:
            await asyncio.sleep(0)  # let every worker put its question in
            batch, self._waiting = self._waiting[: self._batch_size], self._waiting[self._batch_size :]
            same = [entry for entry in batch if entry[1] == batch[0][1]]
            self._waiting = [entry for entry in batch if entry[1] != batch[0][1]] + self._waiting
            same = [entry for entry in same if self._fits(*entry)]
            if not same:
                continue
            try:
                answers = await asyncio.to_thread(self._answer, [entry[0] for entry in same], same[0][1])
            except Exception as error:
                for *_, future in same:
                    future.set_exception(CallError(f"{type(error).__name__}: {error}", "failed"))
                continue
            for (*_, future), answer in zip(same, answers, strict=True):
                if not future.done():
                    future.set_result(answer)

    def _answer(self, requests: Sequence[Request], sampling: Sampling) -> list[Answer]:
        """Answers of one batch, in one pass over the model where all want the same fields."""
        names = requests[0].fields
        if any(request.fields != names for request in requests):
            return [self._answer([request], sampling)[0] for request in requests]
        prompts = [self._prompt(request) for request in requests]
        bridges = [self._ids(f'", {json.dumps(name)}: "') for name in names[1:]]
        writings = []
        for ids in prompts:
            room = self._room(len(ids), sampling)
            first = room if len(names) < 2 else -(-2 * room // 3)  # what is encoded gets most of the room
            rest = [max((room - first) // max(len(names) - 1, 1), 1)] * (len(names) - 1)
            writings.append(Writing([first, *rest], bridges))
        ends, banned = self._ends(bool(names))
        pad = self._tokenizer.pad_token_id
        write_answers(
            self._model, prompts, writings, ends, banned,
            self._tokenizer.eos_token_id if pad is None else pad, sampling, self._cache_limit,
        )  # fmt: skip
        answers = []
        for request, ids, writing in zip(requests, prompts, writings, strict=True):
            texts = [self._tokenizer.decode(part, skip_special_tokens=True) for part in writing.fields]
            made = sum(len(part) for part in writing.fields)
            if not names:
                finish = "length" if made >= writing.rooms[0] else "stop"
                answers.append(Answer(texts[0], len(ids), made, finish))
                continue
            texts[0] = request.opening + texts[0]
            found = {name: _field(text) for name, text in zip(names, texts, strict=False)}
            answers.append(Answer(json.dumps(found, ensure_ascii=False), len(ids), made))
        return answers

    def _fits(self, request: Request, _: Sampling, future: asyncio.Future[Answer]) -> bool:
        """Whether the model reads so long a prompt; one that is too long fails alone, not its whole batch."""
        length = len(self._prompt(request))
        if length + SPARE > self._most and not future.done():
            reason = f"the prompt has {length} tokens, the model reads {self._most}"
            future.set_exception(CallError(f"{reason}: show it less (fewer or shorter texts)", "failed", replied=True))
        return length + SPARE <= self._most

    @property
    def _most(self) -> int:
        return int(getattr(self._model.config, "max_position_embeddings", None) or 1 << 30)

    def _room(self, length: int, sampling: Sampling) -> int:
        return min(sampling.max_tokens, self._most - length - SPARE // 2, MOST_TOKENS)

    def _prompt(self, request: Request) -> list[int]:
        messages = request.messages()
        if getattr(self._tokenizer, "chat_template", None):
            text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        else:
            said = [f"Answer: {m['content']}" if m["role"] == "assistant" else m["content"] for m in messages]
            text = "\n\n".join([*said, "Answer: "])
        if request.fields:
            text += "{" + json.dumps(request.fields[0]) + ': "' + request.opening
        return self._ids(text)

    def _ids(self, text: str) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def _ends(self, fields: bool) -> tuple[Tensor, Tensor]:
        """(V,) which tokens end a text, and (V,) which are never chosen.

        A text ends with the end-of-text token; a field also with a quote behind a word. A quote that opens something
        inside a field would have to be escaped, which small models do not do; a line break is what they copy from the
        instructions' lines. Neither is ever chosen.
        """
        if fields not in self._closing:
            device = self._model.get_input_embeddings().weight.device
            size = int(self._model.get_output_embeddings().weight.shape[0])
            ends, banned = torch.zeros(size, dtype=torch.bool), torch.zeros(size, dtype=torch.bool)
            if fields:
                count = min(len(self._tokenizer), size)
                texts = self._tokenizer.batch_decode([[token] for token in range(count)])
                ends[:count] = torch.tensor([CLOSING.match(text) is not None for text in texts])
                banned[:count] = torch.tensor([BARRED.search(text) is not None for text in texts]) & ~ends[:count]
            ends[self._tokenizer.eos_token_id], banned[self._tokenizer.eos_token_id] = True, False
            self._closing[fields] = (ends.to(device), banned.to(device))
        return self._closing[fields]


def _field(text: str) -> str:
    """A field's text without what closed it; an unfinished last sentence is left out."""
    text = " ".join(re.split(r'["\n]', text, maxsplit=1)[0].replace("\\", " ").split())
    ends = [m.end() for m in re.finditer(r"[.!?](?=\s|$)", text)]
    return text[: ends[-1]] if ends and len(text) - ends[-1] > 0 else text
