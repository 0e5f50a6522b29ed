"""Frozen language models of either kind: decoders, and encoders of the BERT family behind the same interface.

Shape key: B rows, T tokens, H width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from interlingua.errors import ConfigError
from interlingua.lm.abilities import ANY, Abilities
from interlingua.lm.attention import attach
from interlingua.lm.load import load
from interlingua.lm.locate import identity, locate
from interlingua.lm.models import DTYPES, LanguageModel, Precision
from interlingua.lm.variants import shuffled, truncated
from interlingua.runtime.repeatable import undisturbed

DECODERS = ("ForCausalLM", "LMHeadModel")
"""endings of the names of architectures that read from left to right"""


@dataclass(frozen=True)
class EncoderModel(LanguageModel):
    """A frozen encoder: every token sees every other. It has states and no logits."""

    @property
    def _first_position(self) -> int:
        """RoBERTa counts its positions from behind the padding index."""
        return int(getattr(getattr(self.model.base_model, "embeddings", None), "padding_idx", -1)) + 1

    @property
    def max_positions(self) -> int:
        """Longest input that the model was built for."""
        return super().max_positions - self._first_position

    def _positions(self, embeds: Tensor, mask: Tensor | None, cache: Any) -> Tensor:
        return super()._positions(embeds, mask, cache) + self._first_position


def causal(lm: LanguageModel) -> bool:
    """Whether a token sees earlier ones only."""
    return not isinstance(lm, EncoderModel)


@lru_cache(maxsize=2)
@undisturbed()
def load_any(
    reference: str, precision: Precision = "fp32", revision: str | None = None, contents: str = ""
) -> LanguageModel:
    """A frozen decoder or encoder, on the CPU.

    Args:
        reference: a folder, a GGUF file, a name carried by a wheel (``smollm2-135m``, ``all-minilm-l6-v2``) or a hub
            name.
        precision: see :func:`interlingua.lm.load.load`; encoders have no ``4bit``.
        revision: commit or tag of a hub model.
        contents: of the model (:func:`interlingua.lm.locate.identity`): other contents are read anew.

    Raises:
        MissingExtraError: transformers is not installed.
        ConfigError: not found, or not readable.
    """
    from interlingua.lm.load import _transformers

    transformers = _transformers()
    source = locate(reference, revision)
    where, extra = source.arguments
    try:
        names = transformers.AutoConfig.from_pretrained(where, **extra).architectures or []
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        tried = "; ".join([*source.tried, f"{where}: {first}"])
        raise ConfigError(f"language model {reference!r} not found or not readable. Tried: {tried}") from None
    if any(name.endswith(DECODERS) for name in names):
        return load(reference, precision=precision, device="cpu", revision=revision)
    if precision == "4bit":
        raise ConfigError(f"{reference!r} is an encoder ({', '.join(names)}): use precision fp32 or bf16")
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(where, **extra)
        model = transformers.AutoModel.from_pretrained(where, dtype=DTYPES[precision], use_safetensors=True, **extra)
    except (OSError, ValueError) as error:
        raise ConfigError(f"encoder {reference!r} is not readable ({where}): {error}") from None
    return hold_encoder(model, tokenizer, name=reference, revision=source.revision or "unknown", precision=precision)


def hold_encoder(
    model: Any, tokenizer: Any, *, name: str = "local", revision: str = "local", precision: str = "fp32"
) -> EncoderModel:
    """Freezes an encoder that is already in memory and wraps it.

    Raises:
        ConfigError: one whose states this file would compute wrongly.
    """
    model.eval().requires_grad_(False)
    attach(model)
    held = EncoderModel(model, tokenizer, name, revision, precision)
    other = (held.pad_token_id + 1) % int(model.get_input_embeddings().weight.shape[0])
    ids = torch.tensor([[other, other, other]], device=held.device)
    with torch.no_grad():
        expected = model(input_ids=ids).last_hidden_state.float()
        got = held.forward(held.embed(ids)).states.float()
    worst = float((expected - got).abs().max())
    if not worst <= 1e-2 * max(1.0, float(expected.abs().max())):
        raise ConfigError(
            f"{name} ({type(model).__name__}) cannot be read by its input embeddings (states differ by {worst:.3g}); "
            "use a decoder, or an encoder of the BERT or RoBERTa kind"
        )
    return replace(held, abilities=_abilities(held))


@torch.no_grad()
def _abilities(lm: EncoderModel) -> Abilities:
    """Padding on either side is tried; prompts need an attention in every layer that can be reached."""
    size = int(lm.model.get_input_embeddings().weight.shape[0])  # type: ignore[operator]
    ids = torch.randint(0, size, (1, 7), generator=torch.Generator().manual_seed(1)).to(lm.device)
    alone = lm.forward(lm.embed(ids)).states[0]
    for before, behind in ((3, 0), (0, 3)):
        padded = functional.pad(ids, (before, behind), value=int(ids[0, 0]))
        mask = functional.pad(torch.ones_like(ids), (before, behind))
        off = (lm.forward(lm.embed(padded), mask).states[0][mask[0].bool()] - alone).float().square().mean().sqrt()
        if not off <= (1e-3 if lm.dtype == torch.float32 else 4e-2) * alone.float().square().mean().sqrt():
            raise ConfigError(
                f"{lm.name} ({type(lm.model).__name__}) does not hide padding (states differ by {float(off):.2g}); "
                "use an encoder of the BERT or RoBERTa kind"
            )
    try:
        return Abilities(cache=0, gap=0, tree=0, packed=0, prompts=ANY if lm.attentions else 0)
    except ConfigError as error:
        return Abilities(cache=0, gap=0, tree=0, packed=0, prompts=0, reasons={"prompts": str(error)})


def frozen(
    reference: str, precision: Precision, num_layers: int | None, weights: str, revision: str | None = None
) -> LanguageModel:
    """The model that a ranker needs: possibly only its first layers, or the control with shuffled weights."""
    found = load_any(reference, precision, revision, identity(reference, revision))
    if num_layers is not None:
        found = truncated(found, min(num_layers, found.num_layers))
    return shuffled(found, seed=0) if weights == "shuffled" else found
