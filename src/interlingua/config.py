"""Recipes: TOML plus ``--set`` overrides, checked by frozen pydantic models that reject unknown keys.

A component's options are one ``Config`` subclass in the component's own file. All errors of a recipe are collected and
raised at once, each with the nearest known key.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from interlingua.errors import ConfigError, unknown


class Config(BaseModel):
    """Parent of every options class: frozen, unknown keys rejected, one docstring under each field."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )

    files: ClassVar[tuple[str, ...]] = ()
    """options that name files: what the files hold belongs to a stage's key, not only where they lie"""


class FitConfig(Config):
    """How a module is trained by :func:`interlingua.fit.fit_best`."""

    learning_rate: float = Field(default=1e-3, gt=0)
    """Adam's step size"""
    weight_decay: float = Field(default=0.0, ge=0)
    """coupled L2, as torch.optim.Adam has it: equals a loss term of half this size over all parameters"""
    beta2: float = Field(default=0.999, ge=0, lt=1)
    """Adam's second moment decay (the A-LLMRec and SASRec authors use 0.98)"""
    batch_size: int = Field(default=128, ge=1)
    """rows of a batch"""
    epochs: int = Field(default=100, ge=0)
    """at most this many passes, or rounds of ``steps_per_epoch`` steps"""
    steps_per_epoch: int | None = Field(default=None, ge=1)
    """end a round after this many steps (None: a full pass); a checkpoint is written after each round"""
    warmup_steps: int = Field(default=0, ge=0)
    """linear learning-rate warm-up"""
    schedule: str = "constant"
    """``constant`` or ``cosine`` (to zero at the last epoch)"""
    clip_norm: float | None = Field(default=None, gt=0)
    """gradient norm limit"""
    evaluate_every: int = Field(default=1, ge=1)
    """validate after every so many epochs"""
    patience: int | None = Field(default=None, ge=1)
    """stop after so many validations without a better metric; None: train all epochs, keep the last"""
    metric: str = "ndcg@10"
    """validation metric that decides early stopping"""


C = TypeVar("C", bound=Config)


def build(model: type[C], values: Mapping[str, Any], where: str = "") -> C:
    """Validates ``values`` against ``model``; every problem is listed in one :class:`ConfigError`."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(model, problem, where) for problem in error.errors())) from None


def _explain(model: type[BaseModel], problem: Any, where: str) -> str:
    path = ".".join(str(part) for part in problem["loc"])
    place = f"{where}.{path}" if where and path else where or path
    if problem["type"] == "extra_forbidden":
        owner = _model_at(model, problem["loc"][:-1])
        return unknown("key", problem["loc"][-1], owner.model_fields, where or owner.__name__)
    return f"{place}: {problem['msg']} (got {problem.get('input')!r})"


def _model_at(model: type[BaseModel], path: Sequence[Any]) -> type[BaseModel]:
    for part in path:
        field = model.model_fields.get(str(part))
        inner = getattr(field, "annotation", None)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
    return model


def read_toml(path: Path) -> dict[str, Any]:
    """A TOML file with ``extends`` (one level) resolved relative to the file."""
    values = _plain_toml(path)
    parent = values.pop("extends", None)
    if parent is None:
        return values
    base = _plain_toml(path.parent / parent, f" (extended by {path})")
    if "extends" in base:
        raise ConfigError(f"{path} extends {parent}, which extends another recipe: only one level is allowed")
    return merge(base, values)


def _plain_toml(path: Path, why: str = "") -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(f"no recipe at {path}{why}; interlingua list recipes shows those that ship with it") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}{why} is not valid TOML: {error}") from None


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid over ``base``, table by table. A section whose ``name`` changes starts anew."""
    out = dict(base)
    for key, value in over.items():
        old = out.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            fresh = "name" in value and "name" in old and value["name"] != old["name"]
            out[key] = dict(value) if fresh else merge(old, value)
        else:
            out[key] = value
    return out


def parse_sets(sets: Sequence[str]) -> dict[str, Any]:
    """``["align.latent_dim=64"]`` as nested tables; the value is TOML, or a plain string where it is not."""
    out: dict[str, Any] = {}
    for text in sets:
        path, sign, value = text.partition("=")
        if not sign or not path.strip():
            raise ConfigError(f"--set {text!r} is not of the form section.key=value")
        parts = path.strip().split(".")
        table = out
        for part in parts[:-1]:
            table = table.setdefault(part, {})
            if not isinstance(table, dict):
                raise ConfigError(f"--set {text!r}: {part!r} was given a plain value before")
        table[parts[-1]] = _toml_value(value.strip())
    return out


def _toml_value(text: str) -> Any:
    if text == "null":
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def to_toml(values: Mapping[str, Any]) -> str:
    """Nested tables as TOML text (None values are left out: TOML has no null)."""
    lines: list[str] = []

    def write(table: Mapping[str, Any], prefix: str) -> None:
        plain = {k: v for k, v in table.items() if v is not None and not isinstance(v, Mapping)}
        if prefix and (plain or not table):
            lines.append(f"[{prefix}]")
        lines.extend(f"{_toml_key(key)} = {_toml_literal(value)}" for key, value in plain.items())
        if plain:
            lines.append("")
        for key, value in table.items():
            if isinstance(value, Mapping):
                write(value, f"{prefix}.{_toml_key(key)}" if prefix else _toml_key(key))

    write(values, "")
    return "\n".join(lines).rstrip() + "\n"


def _toml_key(key: str) -> str:
    bare = key.isascii() and key.replace("-", "").replace("_", "").isalnum()
    return key if bare else _toml_literal(key)


def _toml_literal(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml_literal(v) for v in value) + "]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_toml_key(k)} = {_toml_literal(v)}" for k, v in value.items() if v is not None) + "}"
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, Path):
        value = str(value)
    # JSON's escapes are TOML's, but JSON leaves the delete character as it is
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
