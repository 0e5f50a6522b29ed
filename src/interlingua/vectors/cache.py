"""Vectors of texts on disk by content, written chunk by chunk: equal texts are encoded once, a killed run resumes."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from interlingua.contracts.batch import FloatArray
from interlingua.errors import ArtifactError
from interlingua.progress import say, task
from interlingua.storage import artifact, durable

CHUNK_ROWS = 512
"""texts between two writes: seconds of work on a CPU"""
KIND = "text"
FILE = "vectors.safetensors"

EncodeChunk = Callable[[list[str]], FloatArray]
"""texts of one chunk -> (n, T) float32"""
Loader = Callable[[Callable[[int], None]], EncodeChunk]
"""loads an encoder; it calls what it is given with the number of texts of a chunk that it has made since"""


def user_cache() -> Path:
    """The cache folder: ``$INTERLINGUA_CACHE``, else the system's cache folder."""
    given = os.environ.get("INTERLINGUA_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "interlingua"


def texts_hash(texts: Sequence[str]) -> str:
    """sha256 of a list of texts; the boundaries between them count."""
    digest = hashlib.sha256()
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "little"))
        digest.update(data)
    return digest.hexdigest()


def cached_vectors(
    name: str, parts: Mapping[str, Any], texts: Sequence[str], encode: Loader, cache: Path | None
) -> FloatArray:
    """(n, T) vectors of the texts, from the cache or encoded now. Equal texts are encoded once.

    Args:
        name: the encoder.
        parts: everything besides the texts that determines the vectors: configuration, model fingerprint.
        texts: n texts.
        encode: loads the model and returns the function that encodes one chunk; not called on a cache hit.
        cache: the folder; None is :func:`user_cache`.
    """
    position: dict[str, int] = {}
    inverse = np.array([position.setdefault(text, len(position)) for text in texts], np.int64)
    unique = list(position)
    if not unique:
        return np.zeros((0, 0), np.float32)
    root = (user_cache() if cache is None else Path(cache)) / KIND
    if not _writable(root):
        say(f"{root} cannot be written: the text vectors are not cached (set INTERLINGUA_CACHE to a writable folder)")
        chunks = list(_encode_chunks(unique, encode, None))
        return np.concatenate(chunks)[inverse]
    key = artifact.content_key({"kind": KIND, "name": name, "texts": texts_hash(unique), **parts})
    with artifact.locked(root, KIND, name, key):
        found = _find(root, name, key)
        if found is None:
            chunks = list(_encode_chunks(unique, encode, artifact.partial(root, KIND, name, key)))
            found = np.concatenate(chunks)
            fields = {"rows": len(unique), "dim": int(found.shape[1]), "parts": dict(parts)}
            with artifact.writing(root, KIND, name, key, parents={}, fields=fields) as folder:
                save_file({"vectors": np.ascontiguousarray(found)}, folder / FILE)
    return found[inverse]


def _writable(root: Path) -> bool:
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(root, os.W_OK)


def _find(root: Path, name: str, key: str) -> FloatArray | None:
    """The finished vectors; damaged ones are removed and made again (it is only a cache)."""
    try:
        found = artifact.find(root, KIND, name, key)
    except ArtifactError as error:
        say(f"{error} (a cache: encoded again now)")
        shutil.rmtree(root / artifact.folder_name(KIND, name, key), ignore_errors=True)
        return None
    return None if found is None else load_file(found.path / FILE)["vectors"]


def _encode_chunks(texts: list[str], encode: Loader, folder: Path | None) -> list[FloatArray]:
    """Chunks in order; with a folder each is kept there, and those that an earlier run wrote are read."""
    starts = range(0, len(texts), CHUNK_ROWS)
    done: dict[int, FloatArray] = {}
    for start in starts:
        stored = _read_chunk(folder, start, min(CHUNK_ROWS, len(texts) - start))
        if stored is not None:
            done[start] = stored
    with task("encode texts", len(texts)) as shown:
        shown.start_at(sum(len(chunk) for chunk in done.values()))
        run = encode(shown.advance) if len(done) < len(starts) else None
        for start in starts:
            if start in done or run is None:
                continue
            before = shown.done
            chunk = np.asarray(run(texts[start : start + CHUNK_ROWS]), np.float32)
            _write_chunk(folder, start, chunk)
            done[start] = chunk
            shown.advance(before + len(chunk) - shown.done)
    return [done[start] for start in starts]


def _write_chunk(folder: Path | None, start: int, chunk: FloatArray) -> None:
    if folder is None:
        return
    temporary = folder / f"chunk-{start:09d}.tmp"
    try:
        save_file({"vectors": np.ascontiguousarray(chunk)}, temporary)
        durable.replace(temporary, folder / f"chunk-{start:09d}.safetensors")
    except OSError as error:
        raise ArtifactError(
            f"cannot write {temporary}: {error.strerror or error}; free space or set INTERLINGUA_CACHE "
            "(the chunks written so far are kept)"
        ) from error


def _read_chunk(folder: Path | None, start: int, size: int) -> FloatArray | None:
    path = None if folder is None else folder / f"chunk-{start:09d}.safetensors"
    if path is None or not path.exists():
        return None
    try:
        chunk: FloatArray = load_file(path)["vectors"]
    except (OSError, ValueError, KeyError, RuntimeError):
        return None
    except Exception as error:  # safetensors raises its own type for a damaged header
        say(f"{path} is damaged ({error}): its texts are encoded again")
        return None
    return chunk if chunk.shape[0] == size else None
