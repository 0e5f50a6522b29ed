"""Any server that speaks the OpenAI protocol: chat answers and embeddings, through the ``openai`` package.

The key is read from the environment when a call is made, and stands in no object, message, log or file of ours:
whatever a server sends is cleaned of it (:mod:`interlingua.clients.redact`). A reply's size is bounded as it comes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import numpy as np

from interlingua.clients.completion import Answer, CallError, Request, Sampling, estimated_tokens
from interlingua.clients.redact import redactor
from interlingua.clients.reply_size import MEGABYTE, ReplySizeError, at_most, bounded
from interlingua.contracts.batch import FloatArray
from interlingua.errors import ConfigError, MissingExtraError

Structured = Literal["auto", "json_schema", "json_object", "none"]
LOCAL = ("localhost", "127.0.0.1", "::1", "0.0.0.0")
NEWER_LENGTH = "max_completion_tokens"
"""what newer OpenAI models call the length limit; other servers know ``max_tokens`` only"""
MOST_CHARS = 20
"""characters per token of an answer that are kept at most: what is longer ignored the length limit, and is cut"""
MOST_TOKENS = 10**9
"""a count of tokens above this is no count"""
WIDEST = 1 << 14
"""numbers of a vector at most, where ``dimensions`` does not say it"""
BYTES_OF_A_NUMBER = 32
"""in JSON, at most"""
T = TypeVar("T")


def checked_url(url: str) -> str:
    """The base URL without a trailing slash.

    Raises:
        ConfigError: no http(s) URL, or one with a secret in it.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"base_url {url!r} is no http or https address; e.g. http://localhost:8000/v1")
    if parts.username or parts.password or parts.query:
        raise ConfigError(
            f"base_url for {parts.hostname} carries a user, a password or a query: put the key into an environment "
            "variable and name that in key_variable, so that it is written nowhere"
        )
    return url.rstrip("/")


class Endpoint:
    """One model behind one base URL."""

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        key_variable: str = "OPENAI_API_KEY",
        timeout_s: float = 120.0,
        structured: Structured = "auto",
    ) -> None:
        """Prepares, connects to nothing.

        Args:
            base_url: e.g. ``http://localhost:8000/v1``.
            model: the server's name for it.
            key_variable: environment variable that holds the key; a server on this machine needs none.
            timeout_s: longest wait for a whole reply.
            structured: how a JSON answer is asked for; ``auto`` tries ``json_schema``, ``json_object`` and plain text
                in that order until the server accepts one.

        Raises:
            ConfigError: an address that cannot be used, or no key.
            MissingExtraError: ``openai`` is not installed.
        """
        self.base_url, self.model, self.timeout_s = checked_url(base_url), model, timeout_s
        self._key_variable, self._structured = key_variable, structured
        self._mode = "json_schema" if structured == "auto" else structured
        self._length = "max_tokens"
        self._sdk = _sdk()
        key = redactor(self._key())
        if key.clean(f"{self.base_url} {model}") != f"{self.base_url} {model}":
            raise ConfigError(f"base_url or model holds the key of {key_variable}, and both are written into cards")
        self._client: Any = None

    @property
    def identity(self) -> dict[str, Any]:
        """Model, address and the way JSON is asked for."""
        return {"model": self.model, "base_url": self.base_url, "structured": self._structured}

    def tokens(self, text: str) -> int:
        """An estimate: the server has the tokenizer."""
        return estimated_tokens(text)

    def clean(self, text: str) -> str:
        """A text without the key, and without halves of characters, which no file can hold."""
        return redactor(os.environ.get(self._key_variable, "")).clean(text.encode("utf-8", "replace").decode())

    async def complete(self, request: Request, sampling: Sampling) -> Answer:
        """One chat answer (see :class:`interlingua.clients.completion.Completer`)."""
        options: dict[str, Any] = {"model": self.model, "messages": request.messages()}
        options |= {k: v for k, v in sampling.model_dump(exclude={"max_tokens"}).items() if v is not None}
        while True:
            mode = self._mode
            shape = self._format(request, mode)
            length = self._length
            extra = options | {length: sampling.max_tokens} | ({} if shape is None else {"response_format": shape})
            try:
                reply = await self._call(partial(self._open().chat.completions.create, **extra))
                return self._answer(reply, request, MOST_CHARS * sampling.max_tokens + 1000)
            except CallError as error:
                renamed = error.kind == "failed" and NEWER_LENGTH in error.reason and length != NEWER_LENGTH
                if renamed:
                    self._length = NEWER_LENGTH
                elif not self._plainer(error, mode):
                    raise

    async def embed(self, texts: Sequence[str], dimensions: int | None = None) -> tuple[FloatArray, int]:
        """(n, T) vectors of texts, and the tokens that were counted.

        Raises:
            CallError: none came, or not one per text.
        """
        options: dict[str, Any] = {"model": self.model, "input": list(texts), "encoding_format": "float"}
        if dimensions is not None:
            options["dimensions"] = dimensions
        size = MEGABYTE + len(texts) * (dimensions or WIDEST) * BYTES_OF_A_NUMBER
        reply = await self._call(partial(self._open().embeddings.create, **options), size)
        try:
            entries = sorted(reply.data, key=lambda entry: entry.index)
            vectors = np.array([entry.embedding for entry in entries], np.float32)
        except (AttributeError, TypeError, ValueError, OverflowError) as error:
            raise CallError(self._line(f"the reply holds no vectors: {error}"), billed=True) from None
        if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
            raise CallError(f"{len(texts)} texts were sent, vectors of shape {vectors.shape} came back", billed=True)
        return vectors, _count(getattr(reply, "usage", None), "prompt_tokens")

    async def close(self) -> None:
        """Closes the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    def _open(self) -> Any:
        if self._client is None:  # made inside the running loop, as its connections belong to it
            self._client = self._sdk.AsyncOpenAI(
                base_url=self.base_url, api_key=self._key(), timeout=self.timeout_s, max_retries=0,
                default_headers={"Accept-Encoding": "identity"},  # what is compressed has no size until it is read
                http_client=self._sdk.DefaultAsyncHttpxClient(event_hooks={"response": [bounded]}),
            )  # fmt: skip
        return self._client

    def _key(self) -> str:
        found = os.environ.get(self._key_variable, "")
        if not found and urlsplit(self.base_url).hostname not in LOCAL:
            raise ConfigError(
                f"the environment variable {self._key_variable} is not set: put the key for {self.base_url} into it, "
                "or name another variable with key_variable (--key-variable)"
            )
        return found or "none"

    def _format(self, request: Request, mode: str) -> dict[str, Any] | None:
        if not request.fields or mode == "none":
            return None
        if mode == "json_object":
            return {"type": "json_object"}
        schema = {"name": "answer", "strict": True, "schema": request.schema()}
        return {"type": "json_schema", "json_schema": schema}

    def _plainer(self, error: CallError, mode: str) -> bool:
        """Whether the server refused the way JSON was asked for, and a plainer way is now set."""
        words = error.reason.lower()
        refused = error.kind == "failed" and any(w in words for w in ("response_format", "json_schema", "json_object"))
        if self._structured != "auto" or not refused or mode == "none":
            return False
        if self._mode == mode:  # another call in flight may have changed it already
            self._mode = "json_object" if mode == "json_schema" else "none"
        return True

    def _answer(self, reply: Any, request: Request, most: int) -> Answer:
        usage = getattr(reply, "usage", None)
        used = (_count(usage, "prompt_tokens"), _count(usage, "completion_tokens"))
        try:
            choice = reply.choices[0]
            text, finish = choice.message.content, getattr(choice, "finish_reason", None)
        except (AttributeError, LookupError, TypeError):
            raise CallError("the reply holds no answer", billed=True, usage=used if usage else None) from None
        if not isinstance(text, str) or not text.strip():
            refusal = getattr(choice.message, "refusal", None)
            why = f"the model refused: {refusal}" if refusal else f"empty answer ({finish})"
            raise CallError(self._line(why), billed=True, usage=used if usage else None, replied=True)
        if not used[0]:  # a server that counts nothing
            used = (sum(self.tokens(message["content"]) for message in request.messages()), self.tokens(text))
        cut = finish == "length" or len(text) > most
        return Answer(self.clean(text[:most]), *used, finish="length" if cut else "stop")

    async def _call(self, call: Callable[[], Awaitable[T]], size: int = 4 * MEGABYTE) -> T:
        """Awaits one call of the package, with a reply of at most ``size`` bytes, and turns its errors into ours."""
        sdk = self._sdk
        try:
            with at_most(size):
                return await asyncio.wait_for(call(), self.timeout_s + 1)
        except (sdk.APITimeoutError, TimeoutError):
            raise CallError(f"no reply within {self.timeout_s:g} s", billed=True) from None
        except sdk.APIStatusError as error:
            raise self._status(error) from None
        except sdk.APIConnectionError as error:
            cause = error.__cause__ or error
            if isinstance(cause, ReplySizeError):
                raise CallError(str(cause), billed=True) from None
            raise CallError(self._line(f"connection failed: {type(cause).__name__} {cause}"), billed=True) from None
        except RecursionError:
            raise CallError("unreadable reply: its JSON is nested too deep", billed=True) from None
        except Exception as error:  # no JSON, not of the protocol, or whatever else the package stumbles over in a body
            raise CallError(self._line(f"unreadable reply: {error or type(error).__name__}"), billed=True) from None

    def _status(self, error: Any) -> CallError:
        status = int(error.status_code)
        reason = self._line(f"HTTP {status}: {error.message}")
        if status in (401, 404) or "insufficient_quota" in reason:
            return CallError(reason, "fatal")
        if status in (408, 409, 429) or status >= 500:
            return CallError(reason, retry_after=_retry_after(error.response.headers))
        return CallError(reason, "failed")

    def _line(self, text: str) -> str:
        """One short line for a reason, without the key, which some servers repeat."""
        return self.clean(" ".join(text[:4000].split()))[:500]


def _count(usage: Any, name: str) -> int:
    found = getattr(usage, name, None)
    return int(min(found, MOST_TOKENS)) if isinstance(found, int | float) and found >= 0 else 0


def _retry_after(headers: Any) -> float | None:
    """Seconds from ``Retry-After`` (a number or an HTTP date) or ``retry-after-ms``."""
    from datetime import UTC, datetime
    from email.utils import parsedate_to_datetime

    try:
        if "retry-after-ms" in headers:
            return max(0.0, float(headers["retry-after-ms"]) / 1000)
        value = headers.get("retry-after")
        if value is None:
            return None
        try:
            return max(0.0, float(value))
        except ValueError:
            when = parsedate_to_datetime(value)
            return max(0.0, (when - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def _sdk() -> Any:
    try:
        import openai
    except ImportError:
        raise MissingExtraError("openai", "api", "a language model behind an OpenAI-compatible server") from None
    return openai
