"""Asking a language model for a text: one interface for a server and for a model on this machine.

What is asked is a :class:`Request`; its content, the sampling options and the model's identity make the key under which
the answer is kept, so that equal questions are asked once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from pydantic import Field

from interlingua.config import Config
from interlingua.storage.artifact import content_key

PER_MESSAGE = 8
"""tokens that a chat format adds to each message, at most: for the estimate of a prompt's length"""


class Sampling(Config):
    """Options of sampling. Every field is part of the key under which the answer is kept."""

    max_tokens: int = Field(default=600, ge=1)
    """length limit of an answer, in tokens"""
    temperature: float | None = Field(default=None, ge=0)
    """None: the server's default (RLMRec gives none); a model on this machine then answers greedily"""
    top_p: float | None = Field(default=None, gt=0, le=1)
    """nucleus sampling; None: the server's default"""
    seed: int | None = None
    """sent where it is given; few servers promise equal answers for equal seeds"""


@dataclass(frozen=True)
class Request:
    """One question."""

    system: str
    """instructions"""
    user: str
    """the input, JSON"""
    fields: tuple[str, ...] = ()
    """names of the answer's text fields, in order, where a JSON object is wanted"""
    opening: str = ""
    """first words of the first field; a model on this machine continues them, a server is not told"""
    earlier: tuple[tuple[str, str], ...] = ()
    """turns of the conversation before this question, oldest first: what was asked, and what was answered"""

    def messages(self) -> list[dict[str, str]]:
        """The conversation as chat models take it: ``role`` and ``content`` of each message."""
        turns = [(role, text) for turn in self.earlier for role, text in zip(("user", "assistant"), turn, strict=True)]
        said = [("system", self.system), *turns, ("user", self.user)]
        return [{"role": role, "content": text} for role, text in said]

    def key(self, identity: dict[str, Any], sampling: Sampling) -> str:
        """sha256 of everything that decides the answer."""
        parts: dict[str, Any] = {"system": self.system, "user": self.user, "fields": list(self.fields)}
        parts["opening"] = self.opening
        if self.earlier:  # only then: answers that older ledgers keep stay good
            parts["earlier"] = [list(turn) for turn in self.earlier]
        return content_key({"kind": "answer", "model": identity, "sampling": sampling.model_dump(), **parts})

    def schema(self) -> dict[str, Any]:
        """JSON schema of the answer."""
        return {
            "type": "object",
            "properties": {name: {"type": "string"} for name in self.fields},
            "required": list(self.fields),
            "additionalProperties": False,
        }


@dataclass(frozen=True)
class Answer:
    """An answer and its cost."""

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish: str = "stop"
    """``stop`` or ``length`` (cut at the limit)"""


@dataclass
class CallError(Exception):
    """A call without a usable reply.

    ``retry``: worth another try; ``fatal``: every other call would fail alike (a wrong key, an unknown model), so the
    run stops and nothing is marked as failed; ``billed``: the server may have counted it although nothing came back.
    """

    reason: str
    kind: Literal["retry", "failed", "fatal"] = "retry"
    retry_after: float | None = None
    """seconds that the server asked to wait"""
    billed: bool = False
    usage: tuple[int, int] | None = field(default=None)
    """tokens (prompt, answer) where the server said them in spite of the failure"""
    replied: bool = False
    """it is this question's alone: the model replied with nothing, or cannot read so long a question"""

    def __str__(self) -> str:
        return self.reason


class Completer(Protocol):
    """A language model that answers requests."""

    @property
    def identity(self) -> dict[str, Any]:
        """Everything else that determines the answers: model, server or revision. No secrets."""
        ...

    async def complete(self, request: Request, sampling: Sampling) -> Answer:
        """One answer.

        Raises:
            CallError: none came.
        """
        ...

    def tokens(self, text: str) -> int:
        """Length of a text in tokens: exact where a tokenizer is at hand, else an estimate for people."""
        ...

    def clean(self, text: str) -> str:
        """A text that is to be kept, without any secret that was sent to the server."""
        ...

    async def close(self) -> None:
        """Lets go of connections."""
        ...


def estimated_tokens(text: str) -> int:
    """About four bytes per token: what English prose has; other scripts have fewer bytes per token."""
    return max(1, len(text.encode("utf-8", "replace")) // 4)


def most_tokens(request: Request) -> int:
    """More tokens than the prompt can have: byte-level vocabularies have no token shorter than a byte.

    The budget reserves this many before a call, so that it cannot be exceeded by an estimate that was too low.
    """
    schema = sum(len(name) + 40 for name in request.fields)
    messages = request.messages()
    said = sum(len(message["content"].encode("utf-8", "replace")) for message in messages)
    return said + schema + (2 + len(messages)) * PER_MESSAGE
