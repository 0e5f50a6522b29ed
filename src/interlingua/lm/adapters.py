"""A language model that learns: LoRA adapters beside its frozen weights (through peft), or all of its weights.

LoRA (Hu et al., ICLR 2022, arXiv 2106.09685): each chosen matrix W becomes W + (alpha / r) B A; B starts at zero, only
A and B learn. Adapters are kept alone, in peft's own layout, with the revision of the model that they belong to.

The model that is handed in is never changed: the tuned one shares its weights (LoRA) or has copies of them (full).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from interlingua.config import Config
from interlingua.errors import ArtifactError, ConfigError, MissingExtraError
from interlingua.lm.models import LanguageModel

Tune = Literal["none", "lora", "full"]
NAME = "default"
"""peft's name of the one adapter"""
PREFIX = "base_model.model."
"""prefix of a weight's name in peft's files"""
WEIGHTS, CARD = "adapter_model.safetensors", "adapter_config.json"


class LoraOptions(Config):
    """Options of LoRA."""

    rank: int = Field(default=8, ge=1)
    """r, the rank of an update (TALLRec: 8)"""
    alpha: int = Field(default=16, ge=1)
    """an update is multiplied by alpha / rank (TALLRec: 16)"""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """on what an adapter reads, while training (TALLRec: 0.05)"""
    modules: Literal["family", "all"] | list[str] = "family"
    """layers with an adapter: those that peft names for the model's family (mostly queries and values), ``all`` linear
    layers but the output matrix, or ends of names such as ``["q_proj", "v_proj"]``"""


class Tuned(nn.Module):
    """What learns of a language model, as parameters that a training loop, a checkpoint and an artifact see.

    The parameters are the model's own (their dots written as ``/``); the rest of the model is no child of this module.
    """

    def __init__(self, lm: LanguageModel, kind: Tune, base_name: str) -> None:
        super().__init__()
        self._lm, self.kind, self.base_name = [lm], kind, base_name
        for name, parameter in lm.model.named_parameters():
            if parameter.requires_grad:
                self.register_parameter(name.replace(".", "/"), parameter)
        self.train(False)

    @property
    def lm(self) -> LanguageModel:
        """The model with what was learned."""
        return self._lm[0]

    def train(self, mode: bool = True) -> Tuned:
        """Only dropout of adapters has a mode: the model itself stays in evaluation mode."""
        for name, module in self.lm.model.named_modules():
            if "lora_dropout" in name.split("."):
                module.train(mode)
        self.training = mode
        return self

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Tuned:
        """Moves the whole model: buffers and frozen weights are read together with what learns."""
        self.lm.model._apply(fn, recurse)
        return self

    def check_it_changes_something(self, where: str) -> None:
        """Refuses adapters with B = 0 everywhere: they change no answer.

        TALLRec's published evaluation ran like that (its adapter's keys met no module), and nobody saw it.

        Raises:
            ArtifactError: nothing was learned, or nothing was loaded.
        """
        ups = [p for name, p in self.named_parameters() if "lora_B" in name.split("/")]
        if self.kind == "lora" and not any(bool(p.detach().any()) for p in ups):
            raise ArtifactError(
                f"the LoRA adapters of {where} change nothing: all {len(ups)} matrices B are zero; train them for a "
                "step or more (fit.epochs, fit.learning_rate), or set tune = 'none'"
            )

    def save(self, folder: Path) -> dict[str, Any]:
        """Writes LoRA adapters in peft's layout (``PeftModel.from_pretrained`` reads it); returns a card's entry."""
        from safetensors.torch import save_file

        if self.kind != "lora":
            return {"kind": self.kind}
        folder.mkdir(parents=True, exist_ok=True)
        named = {_peft_name(name): p.detach().cpu().contiguous().clone() for name, p in self.named_parameters()}
        save_file(named, folder / WEIGHTS, metadata={"format": "pt"})
        config: Any = self.lm.model.peft_config
        card = config[NAME].to_dict() | {
            "base_model_name_or_path": self.base_name, "revision": self.lm.revision, "inference_mode": True,
            "task_type": "CAUSAL_LM",
        }  # fmt: skip
        text = json.dumps(card, indent=1, sort_keys=True, default=_plain)
        (folder / CARD).write_text(text + "\n", encoding="utf-8")
        return {"kind": "lora", "folder": folder.name, "base": self.base_name, "revision": self.lm.revision}

    def load(self, folder: Path) -> None:
        """Puts stored LoRA adapters into the model: each key meets a module, and each module gets its key.

        Raises:
            ArtifactError: of another revision of the model, keys that meet no module, lacking keys, other shapes, or
                adapters that change nothing.
        """
        card, tensors = _read(folder)
        stored = card.get("revision")
        if stored is not None and stored != self.lm.revision:
            raise ArtifactError(
                f"the adapters in {folder} belong to revision {stored} of {card.get('base_model_name_or_path')}, and "
                f"{self.base_name} is revision {self.lm.revision}: set ranker.model and ranker.revision to theirs"
            )
        expected = {_peft_name(name): p for name, p in self.named_parameters()}
        stray, lacking = sorted(set(tensors) - set(expected)), sorted(set(expected) - set(tensors))
        shapes = [name for name in expected if name in tensors and expected[name].shape != tensors[name].shape]
        for found, words in ((stray, "meet no module"), (lacking, "are lacking"), (shapes, "have other shapes")):
            if found:
                raise ArtifactError(
                    f"the adapters in {folder} do not fit {self.base_name}: {len(found)} keys {words}, "
                    f"e.g. {found[0]}; set ranker.lora (rank, modules) as in {CARD}"
                )
        with torch.no_grad():
            for name, parameter in expected.items():
                parameter.copy_(tensors[name])
        self.check_it_changes_something(str(folder))


def check_learned(model: Tuned | None, where: str) -> None:
    """See :meth:`Tuned.check_it_changes_something`; None: nothing was tuned."""
    if model is not None:
        model.check_it_changes_something(where)


def tuned(
    lm: LanguageModel, kind: Tune, options: LoraOptions, *, words: bool = True, start: Path | None = None
) -> Tuned | None:
    """A language model that learns and shares or copies the given one's weights; None for ``none``.

    Draws A from PyTorch's global generator (LoRA).

    Args:
        lm: the frozen model.
        kind: what learns.
        options: of LoRA.
        words: the ranker reads and writes words; False: the embeddings and the output matrix stay frozen in ``full``,
            since no gradient would reach them.
        start: a folder of stored adapters to begin with (LoRA).

    Raises:
        MissingExtraError: peft is not installed.
        ConfigError: modules that the model does not have, or 4-bit weights that are to learn.
        ArtifactError: see :meth:`Tuned.load`.
    """
    if kind == "none":
        return None
    if kind == "full":
        return Tuned(_full(lm, words), kind, lm.name)
    model = sharing(lm.model)
    _inject(model, lm, options)
    made = Tuned(replace(lm, model=model, name=f"{lm.name} (lora)", whole=lm), kind, lm.name)
    if start is not None:
        made.load(start)
    return made


def _full(lm: LanguageModel, words: bool) -> LanguageModel:
    if lm.precision == "4bit":
        raise ConfigError("ranker.tune = 'full' cannot change 4-bit weights: set precision = 'bf16' or tune = 'lora'")
    model: Any = copy.deepcopy(lm.model).requires_grad_(True)
    if not words:
        for module in (model.get_input_embeddings(), model.get_output_embeddings()):
            if module is not None:
                module.requires_grad_(False)
    return replace(lm, model=model, name=f"{lm.name} (full)", whole=None)


def sharing(model: nn.Module) -> nn.Module:
    """A copy of the modules around the same weights."""
    memo: dict[int, Any] = {id(each): each for each in (*model.parameters(), *model.buffers())}
    copied: nn.Module = copy.deepcopy(model, memo)
    return copied


def _inject(model: Any, lm: LanguageModel, options: LoraOptions) -> None:
    try:
        import peft
    except ImportError:
        raise MissingExtraError("peft", "llm", "ranker.tune = 'lora'") from None
    config = peft.LoraConfig(
        r=options.rank, lora_alpha=options.alpha, lora_dropout=options.dropout,
        target_modules=module_names(lm, options),
        fan_in_fan_out=any(type(module).__name__ == "Conv1D" for module in model.modules()),  # GPT-2's transposed W
    )  # fmt: skip
    try:
        peft.inject_adapter_in_model(config, model, adapter_name=NAME)
    except ValueError as error:
        raise ConfigError(f"ranker.lora.modules = {options.modules!r} with {lm.name}: {error}") from None
    for parameter in model.parameters():
        if parameter.requires_grad:  # Adam needs more digits than bf16 has
            parameter.data = parameter.data.float()
    model.eval()


def module_names(lm: LanguageModel, options: LoraOptions) -> list[str] | str:
    """Names for peft; a family that it does not know gets adapters on the linear layers of its attention."""
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING as KNOWN

    if options.modules == "all":
        return "all-linear"
    if options.modules != "family":
        return list(options.modules)
    found = KNOWN.get(str(lm.config.model_type))
    if found is not None:
        return list(found)
    names = {name for layer in lm.attentions for name, part in layer.named_children() if isinstance(part, nn.Linear)}
    return sorted(names)


def _peft_name(name: str) -> str:
    """``model/layers/0/../lora_A/default/weight`` -> ``base_model.model.model.layers.0...lora_A.weight``."""
    return PREFIX + name.replace("/", ".").replace(f".{NAME}.", ".")


def _read(folder: Path) -> tuple[Mapping[str, Any], dict[str, Tensor]]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        card = dict(json.loads((folder / CARD).read_text(encoding="utf-8")))
        return card, load_file(folder / WEIGHTS)
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise ArtifactError(
            f"cannot read LoRA adapters in {folder}: {error}; the folder must hold {CARD} and {WEIGHTS} (peft's layout)"
        ) from None


def _plain(value: Any) -> Any:
    """Sets and enumerations of peft's options, for JSON."""
    return sorted(value) if isinstance(value, set | frozenset) else str(value)
