"""Text vectors from any server that speaks the OpenAI protocol's embeddings: what RLMRec used (text-embedding-ada-002).

Every vector is kept in the ledger of the cache as soon as it is there, under its text and model: a killed run asks only
for the rest, and the same text is never paid for twice, whatever data it comes from.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from interlingua.clients.asking import ServerError, run
from interlingua.clients.completion import CallError, estimated_tokens
from interlingua.clients.endpoint import Endpoint, checked_url
from interlingua.clients.ledger import Ledger, opened
from interlingua.clients.pace import Limits, Pace, WaitError
from interlingua.contracts.batch import FloatArray
from interlingua.errors import ConfigError, DataError
from interlingua.storage.artifact import content_key
from interlingua.vectors.cache import EncodeChunk, cached_vectors, user_cache
from interlingua.vectors.fields import TextConfig
from interlingua.vectors.frozen import FrozenRows

LEDGER = "http-ledger.sqlite"
BLANK = "-"
"""sent instead of an empty text: servers refuse empty input"""


class HttpConfig(TextConfig):
    """Options of the text source ``http``."""

    base_url: str
    """the server, e.g. ``http://localhost:8000/v1``"""
    model: str = "text-embedding-3-small"
    """the server's name of the encoder (RLMRec: ``text-embedding-ada-002``, 1,536 dimensions)"""
    dimensions: int | None = Field(default=None, ge=1)
    """shorter vectors, from servers that can make them"""
    key_variable: str = "OPENAI_API_KEY"
    """environment variable that holds the key; a server on this machine needs none"""
    prompt: str = ""
    """written before every text; some encoders need one (e5: ``passage: ``)"""
    max_chars: int = Field(default=20_000, ge=1)
    """texts are cut after so many characters: servers refuse what is longer than their encoder reads"""
    batch_size: int = Field(default=64, ge=1)
    """texts of one call"""
    limits: Limits = Limits()
    """rate limits and number of tries"""


def encode_texts(config: HttpConfig, texts: Sequence[str], cache: Path | None = None) -> FloatArray:
    """(n, T) vectors of any texts, cached by content.

    Args:
        config: which server and model.
        texts: n texts of any length; blank ones are legal.
        cache: folder of the cache (None: the user's).

    Raises:
        ServerError: the server refuses or is down; vectors so far are kept.
        DataError: it refuses one text (named), or answers with vectors of different widths.
    """
    sent = [_sendable(config.prompt + text, config.max_chars) for text in texts]
    ledger = (user_cache() if cache is None else Path(cache)) / "text" / LEDGER
    identity: dict[str, object] = {
        "model": config.model,
        "base_url": checked_url(config.base_url),
        "dimensions": config.dimensions,
    }

    def loaded(made: Callable[[int], None]) -> EncodeChunk:
        def encode(chunk: list[str]) -> FloatArray:
            with opened(ledger) as base:
                return run(_vectors(config, base, identity, chunk))

        return encode

    return cached_vectors("http", identity, sent, loaded, cache)


def _sendable(text: str, limit: int) -> str:
    clean = text.encode("utf-8", "replace").decode("utf-8")[:limit]  # lone surrogates are no JSON
    return clean if clean.strip() else BLANK


async def _vectors(config: HttpConfig, ledger: Ledger, identity: dict[str, object], texts: Sequence[str]) -> FloatArray:
    """Vectors of different texts: those that the ledger lacks are asked for, batch by batch."""
    keys = [content_key({"kind": "vector", "of": identity, "text": text}) for text in texts]
    known = ledger.found(keys)
    missing = [(key, text) for key, text in zip(keys, texts, strict=True) if key not in known]
    batches = iter([missing[i : i + config.batch_size] for i in range(0, len(missing), config.batch_size)])
    endpoint = Endpoint(
        config.base_url, config.model, key_variable=config.key_variable, timeout_s=config.limits.timeout_s
    )
    pace = Pace(config.limits)

    async def work(shared: Iterator[list[tuple[str, str]]]) -> None:
        for batch in shared:
            await _batch(config, endpoint, ledger, pace, batch)

    try:
        async with asyncio.TaskGroup() as group:  # the first error stops the others
            for _ in range(config.limits.concurrency):
                group.create_task(work(batches))
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    finally:
        await endpoint.close()
    found = ledger.found(keys)
    vectors = [np.frombuffer(found[key].value, np.float32) for key in keys]
    widths = {len(row) for row in vectors}
    if len(widths) > 1:
        raise DataError(f"{config.base_url} made vectors of different widths for {config.model}: {sorted(widths)}")
    return np.stack(vectors)


async def _batch(
    config: HttpConfig, endpoint: Endpoint, ledger: Ledger, pace: Pace, batch: list[tuple[str, str]]
) -> None:
    """One call with its tries; a batch that is refused is halved until the text that is refused stands alone."""
    texts = [text for _, text in batch]
    tokens = sum(estimated_tokens(text) for text in texts)
    tried = 0
    while True:
        await pace.begin(tokens)
        payment = ledger.pay(batch[0][0], tokens, 0, 0.0)
        try:
            vectors, used = await endpoint.embed(texts, config.dimensions)
            break
        except CallError as error:
            ledger.settle(payment, tokens if error.billed else 0, 0, 0.0)
            tried += 1
            if error.kind == "failed" and len(batch) > 1:
                middle = len(batch) // 2
                await _batch(config, endpoint, ledger, pace, batch[:middle])
                await _batch(config, endpoint, ledger, pace, batch[middle:])
                return
            if error.kind == "failed":
                raise DataError(
                    f"{config.base_url} refuses the text {texts[0][:60]!r} ({len(texts[0]):,} characters): "
                    f"{error.reason}; shorten it with text.max_chars"
                ) from None
            if error.kind == "fatal" or tried >= config.limits.tries:
                raise ServerError(
                    f"no vectors from {config.base_url} after {tried} calls: {error.reason}; those so far are kept: "
                    "run again to continue"
                ) from None
            try:
                await pace.after_failure(tried, error.retry_after)
            except WaitError as wait:
                raise ServerError(
                    f"{config.base_url}: {wait}; vectors so far are kept: run again later to continue"
                ) from None
    pace.answered()
    ledger.settle(payment, used or tokens, 0, 0.0)
    for (key, _), vector in zip(batch, vectors, strict=True):
        ledger.done(key, config.model, "", vector.tobytes(), "", tried + 1)


class Http(FrozenRows):
    """Vectors of item (and user) texts from a server; see :class:`interlingua.contracts.text.Text`."""

    kind = "text"
    Config = HttpConfig

    def __init__(
        self,
        config: HttpConfig,
        texts: Sequence[str],
        *,
        item_ids: Sequence[str] | None = None,
        user_texts: Sequence[str] | None = None,
        cache: Path | None = None,
    ) -> None:
        """Asks for what neither the cache nor its ledger has.

        Args:
            config: options.
            texts: (I,) item texts in row order.
            item_ids: unused here; the text source ``npy`` joins by them.
            user_texts: (U,) user texts in row order, where there are any.
            cache: folder of the cache (None: the user's).
        """
        if not config.model:
            raise ConfigError("text.model is empty: name the server's encoder")
        users = None if user_texts is None else encode_texts(config, user_texts, cache)
        super().__init__(encode_texts(config, texts, cache), users)
        self.config, self._cache = config, cache

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(n, T) vectors of other texts (new items)."""
        return torch.from_numpy(encode_texts(self.config, texts, self._cache))
