"""A frozen causal language model that reads vectors instead of token ids.

Shape key: B rows, T tokens, S tokens in the cache before, H width of the input embeddings.
"""

from __future__ import annotations

import inspect
import itertools
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from interlingua.errors import ConfigError
from interlingua.lm.abilities import Abilities
from interlingua.lm.attention import is_eager, modules_of
from interlingua.lm.cache_argument import cache_name, cache_of
from interlingua.runtime import cancel

Precision = Literal["fp32", "bf16", "4bit"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "4bit": torch.bfloat16}


@dataclass(frozen=True)
class ModelOutput:
    """The last layer's output, and the key/value cache if it was requested."""

    states: Tensor
    """(B, T, H')"""
    cache: Any = None
    layers: tuple[Tensor, ...] = ()
    """(B, T, H) the input of the first layer and the output of each, if they were requested"""


@dataclass(frozen=True)
class LanguageModel:
    """A frozen causal language model with its tokenizer. Not an ``nn.Module``: its weights never enter an artifact."""

    model: nn.Module
    """the transformers model, in evaluation mode; no parameter requires a gradient (but see ``lm.adapters``)"""
    tokenizer: Any
    name: str
    """the reference from which it was loaded"""
    revision: str
    """hub commit, or a hash of the files: part of an artifact's key"""
    precision: str = "fp32"
    abilities: Abilities = Abilities()
    """its abilities, measured when it was loaded"""
    whole: LanguageModel | None = None
    """the model whose weights this one shares (:func:`interlingua.lm.variants.truncated`): both are in one place"""

    @property
    def config(self) -> Any:
        """The transformers configuration; of a model of several kinds of input that of its language part."""
        config: Any = self.model.config
        return config.get_text_config()

    @property
    def device(self) -> torch.device:
        """Device of the input embeddings."""
        return self._embedding.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the embeddings that :meth:`forward` takes."""
        return self._embedding.weight.dtype

    @property
    def hidden_size(self) -> int:
        """H, the width of an input embedding (for OPT-350m not the width of its layers)."""
        return int(self._embedding.weight.shape[1])

    @property
    def num_layers(self) -> int:
        """Number of transformer layers."""
        return int(self.config.num_hidden_layers)

    @property
    def max_positions(self) -> int:
        """Longest input that the model was built for."""
        return int(getattr(self.config, "max_position_embeddings", None) or 1 << 30)

    @property
    def bos_token_id(self) -> int | None:
        """The token that the tokenizer itself puts before a text, or None (SmolLM2, Qwen and GPT-2 put none)."""
        plain = self.tokenizer("a", add_special_tokens=True)["input_ids"]
        bare = self.tokenizer("a", add_special_tokens=False)["input_ids"]
        return int(plain[0]) if len(plain) > len(bare) and plain[0] != bare[0] else None

    @property
    def eos_token_id(self) -> int:
        """The token that ends an answer."""
        found = self.tokenizer.eos_token_id
        if found is None:
            found = self.config.eos_token_id
        if found is None:
            raise ConfigError(f"the tokenizer of {self.name} names no end-of-text token, which every ranker needs")
        return int(found[0] if isinstance(found, list) else found)

    @property
    def pad_token_id(self) -> int:
        """A token for padded places; the mask hides them, so any valid id does."""
        found = self.tokenizer.pad_token_id
        return self.eos_token_id if found is None or found >= self._embedding.weight.shape[0] else int(found)

    @cached_property
    def embedding_norm(self) -> float:
        """Median length of the input embedding of a token: the scale that a soft token should have."""
        count = min(4096, self._embedding.weight.shape[0])
        indices = torch.linspace(0, self._embedding.weight.shape[0] - 1, count).long().to(self.device)
        return float(self.embed(indices).float().norm(dim=-1).median())

    @cached_property
    def attentions(self) -> list[nn.Module]:
        """The self-attention of each layer, in order; a ConfigError where they cannot be reached."""
        ids = torch.tensor([[self.pad_token_id, self.pad_token_id]])
        with torch.no_grad():
            return modules_of(lambda: self.forward(self.embed(ids)), self.name, self.num_layers)

    @property
    def decoder(self) -> Any:
        """The layers without the output matrix."""
        model: Any = self.model
        found = (model.base_model, model.get_decoder(), model._modules.get("model", model))  # Llama 4: the third
        return next((each for each in found if each is not model), model)

    @cached_property
    def _takes(self) -> frozenset[str]:
        """Arguments that the layers take."""
        return frozenset(inspect.signature(self.decoder.forward).parameters)

    @property
    def _embedding(self) -> Any:
        return self.model.get_input_embeddings()  # type: ignore[operator]

    def embed(self, ids: Tensor) -> Tensor:
        """(...,) token ids -> (..., H) input embeddings, Gemma's factor sqrt(H) included."""
        learns = torch.is_grad_enabled() and self._embedding.weight.requires_grad  # of a model that is tuned whole
        with torch.set_grad_enabled(learns):
            return self._embedding(ids.to(self.device))

    def forward(
        self,
        embeds: Tensor,
        mask: Tensor | None = None,
        *,
        cache: Any = None,
        use_cache: bool = False,
        positions: Tensor | None = None,
        layers: bool = False,
    ) -> ModelOutput:
        """Runs the layers without the output matrix. Differentiable with respect to ``embeds``.

        Args:
            embeds: (B, T, H) input embeddings of the new tokens.
            mask: (B, S + T) 1 where there is a token, 0 where padding, on either side; or (B, 1, T, S + T) boolean,
                True where attention is allowed. None: no padding.
            cache: key/value cache of S tokens from an earlier call. It is extended in place.
            use_cache: return the cache.
            positions: (B, T) position of each new token; counted from the mask if None.
            layers: return every layer's output.
        """
        cancel.check()
        alone = cache is None and not use_cache and positions is None
        if alone and mask is not None and mask.dim() == 2 and self.abilities.padding < embeds.shape[1]:
            return self._from_the_front(embeds, mask, layers)
        options: dict[str, Any] = {"use_cache": use_cache or cache is not None, "output_hidden_states": layers}
        if mask is not None and mask.dim() == 4 and is_eager(self.config):
            least = torch.finfo(self.dtype).min  # eager attention adds the mask
            mask = torch.zeros_like(mask, dtype=self.dtype).masked_fill(~mask.bool(), least)
        if "attention_mask" in self._takes:
            options["attention_mask"] = mask
        if "position_ids" in self._takes:
            options["position_ids"] = self._positions(embeds, mask, cache) if positions is None else positions
        if cache is not None:
            options[str(cache_name(self.decoder))] = cache
        out = self.decoder(inputs_embeds=embeds.to(self.dtype), **options)
        new_cache = cache_of(out) if use_cache or cache is not None else None
        return ModelOutput(out.last_hidden_state, new_cache, tuple(out.hidden_states) if layers else ())

    def _from_the_front(self, embeds: Tensor, mask: Tensor, layers: bool) -> ModelOutput:
        """Padding behind a row is never seen by a causal model: rows are read from the front and put back."""
        order = torch.argsort(mask.to(embeds.device).long(), dim=1, descending=True, stable=True)
        indices = torch.arange(len(mask), device=embeds.device)[:, None]
        back = torch.argsort(order, dim=1)
        out = self.forward(embeds[indices, order], layers=layers)
        return ModelOutput(out.states[indices, back], None, tuple(each[indices, back] for each in out.layers))

    def _positions(self, embeds: Tensor, mask: Tensor | None, cache: Any) -> Tensor:
        new = embeds.shape[1]
        if mask is None:
            before = 0 if cache is None else cache.get_seq_length()
            return torch.arange(before, before + new, device=embeds.device).expand(embeds.shape[0], new)
        if mask.dim() != 2:
            raise ConfigError("a 4-dimensional attention mask needs explicit positions")
        return (mask.long().cumsum(1) - 1).clamp_min(0)[:, -new:]

    def logits(self, states: Tensor) -> Tensor:
        """(..., H') hidden states -> (..., V) float32 logits of the next token."""
        return self.scaled(self.products(states))

    def products(self, states: Tensor) -> Tensor:
        """(..., V) float32 products of states (..., H') with the output matrix."""
        out: Tensor = self.model.get_output_embeddings()(states.to(self.dtype)).float()  # type: ignore[operator]
        return out

    def scaled(self, out: Tensor) -> Tensor:
        """Logits of such products: some families scale or cap them."""
        scale = getattr(self.config, "logit_scale", None)
        if scale is not None:  # Cohere
            out = out * scale
        scaling = getattr(self.config, "logits_scaling", None)
        if scaling is not None:  # Granite
            out = out / scaling
        cap = getattr(self.config, "final_logit_softcapping", None)
        return out if cap is None else torch.tanh(out / cap) * cap  # Gemma 2

    def tokenize(self, text: str) -> list[int]:
        """Token ids of a piece of text, without special tokens."""
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"]) if text else []

    def to(self, device: torch.device | str) -> LanguageModel:
        """The same model on another device, moved in place together with the one whose weights it shares."""
        if self.whole is not None:
            self.whole.to(device)
        self.model.to(device)
        return self

    def place(self, device: torch.device) -> LanguageModel:
        """:meth:`to`, unless all of it is there; 4-bit weights stay where they were loaded."""
        tensors = itertools.chain(self.model.parameters(), self.model.buffers())
        if self.precision != "4bit" and any(each.device != device for each in tensors):
            self.to(device)
        return self
