"""Recipes: TOML plus ``--set`` overrides, checked by frozen pydantic models that reject unknown keys.

A component's options are one ``Config`` subclass in the component's own file. All errors of a recipe are collected and
raised at once, each with the nearest known key.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

import tomli_w
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

from interlingua.errors import ConfigError, shown, unknown
from interlingua.runtime.missing import Missing


class Config(BaseModel):
    """Parent of every options class: frozen, unknown keys rejected, one docstring under each field."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True, allow_inf_nan=False
    )

    files: ClassVar[tuple[str, ...]] = ()
    """options that name files or folders: what they hold belongs to a stage's key, not only where they lie"""
    begins_with: ClassVar[tuple[str, ...]] = ()
    """those of ``files`` that training began with: what was trained holds what came of them"""
    named_models: ClassVar[Mapping[str, Callable[[str, str | None], str]]] = {}
    """options that name models -> function of (name, revision) that says which one it is, by contents or commit"""
    revision_option: ClassVar[str] = "revision"
    """the option, where there is one, with the commit or tag of the models that ``named_models`` lists"""
    named_templates: ClassVar[Mapping[str, Path]] = {}
    """options that name templates (a path or a shipped one's name) -> folder of those that ship"""

    @classmethod
    def all_files(cls) -> tuple[str, ...]:
        """``files`` of this class and of its parents."""
        own = [name for each in cls.__mro__ for name in each.__dict__.get("files", ())]
        return tuple(dict.fromkeys(own))

    only_with: ClassVar[Mapping[str, tuple[str, tuple[Any, ...]]]] = {}
    """option -> (the option that decides, its values for which this one is read); set further another, it is refused"""

    def lacks(self) -> list[Missing]:
        """What these options want and this machine has not: files that they name; models and packages in subclasses."""
        return [
            Missing(f"the file {value} ({name})", get=f"set {name} to a file that exists")
            for name in self.all_files()
            for value in paths_in(getattr(self, name))
            if not Path(value).expanduser().exists()
        ]

    def training(self) -> FitConfig | None:
        """How what these options describe is trained: their ``fit``, where they have one."""
        found = dict(self).get("fit")
        return found if isinstance(found, FitConfig) else None

    def check_models(self) -> None:
        """Loads the models that these options name and refuses what those cannot do; called before anything runs.

        Raises:
            ConfigError: a model that cannot be used as the options ask.
        """

    @property
    def needs(self) -> frozenset[str]:
        """Words (see :mod:`interlingua.contracts.component`) that these options ask of the other parts of a recipe."""
        return frozenset()

    @model_validator(mode="after")
    def _only_what_is_read(self) -> Self:
        unread = [name for name in self.only_with if name in self.model_fields_set and not self.is_read(name)]
        if unread:
            raise ValueError("; ".join(self._why_unread(name) for name in unread))
        return self

    def _why_unread(self, name: str) -> str:
        by, values = self.only_with[name]
        words = " or ".join(repr(value) for value in values)
        return (
            f"{name} is read with {by} = {words} only, and {by} is {getattr(self, by)!r}: change one, or leave it out"
        )

    def is_read(self, name: str) -> bool:
        """Whether an option has a meaning further the others."""
        by, values = self.only_with.get(name, ("", ()))
        return not by or getattr(self, by) in values

    @classmethod
    def read_part(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Stored options without those that are not read (files of earlier versions hold all of them)."""
        given = {name: values.get(by, cls.model_fields[by].default) for name, (by, _) in cls.only_with.items()}
        return {k: v for k, v in values.items() if k not in given or given[k] in cls.only_with[k][1]}

    @model_serializer(mode="wrap")
    def _without_unread(self, inner: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """What is not read is not stored: it is no part of what made a stage."""
        return {name: value for name, value in inner(self).items() if self.is_read(name)}


def paths_in(value: str | list[str] | None) -> list[str]:
    """The paths that an option of ``Config.files`` names: none, one, or several."""
    return [] if not value else [value] if isinstance(value, str) else list(value)


class FitConfig(Config):
    """How a module is trained by :func:`interlingua.training.loop.fit_best`."""

    only_with = {"decay": ("schedule", ("exponential",))}

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
    """linear learning-rate warm-up over the first so many steps"""
    schedule: str = "constant"
    """``constant``, ``cosine`` or ``linear`` (both to zero at the end), ``exponential`` (``decay`` after each)"""
    decay: float = Field(default=0.95, gt=0, le=1)
    """``exponential``: the step size is multiplied by it after every epoch, or round of ``steps_per_epoch`` steps"""
    clip_norm: float | None = Field(default=None, gt=0)
    """gradient norm limit"""
    evaluate_every: int = Field(default=1, ge=1)
    """validate after every so many epochs"""
    patience: int | None = Field(default=None, ge=1)
    """stop after so many validations without a better metric (and not before ``patience_steps``), keep the best; None:
    train all epochs, keep the last"""
    patience_steps: int = Field(default=500, ge=0)
    """nor stop before so many optimiser steps without a better metric: on small data only a few lie between two
    validations (0: validations alone)"""
    metric: str = "ndcg@10"
    """validation metric that decides early stopping"""

    decoupled: ClassVar[bool] = False
    """True: AdamW, whose weight decay is no part of the gradient"""

    def groups(self, named: Iterable[tuple[str, Any]]) -> list[dict[str, Any]]:
        """Parameters (name in the module that is trained, tensor) as groups of one optimiser, each with its options."""
        return [{"params": [parameter for _, parameter in named]}]

    def may_stop(self, epoch: int) -> bool:
        """Whether patience may end the training after this epoch (from 1)."""
        return True

    def goes_back(self, epoch: int) -> bool:
        """Whether training goes on from the best state so far after this epoch (from 1), where patience keeps one."""
        return False

    def validates(self, epoch: int) -> bool:
        """Whether the module is measured on the validation part after this epoch (from 1)."""
        return epoch % self.evaluate_every == 0 or epoch == self.epochs


class PretrainedFit(FitConfig):
    """Training whose first epochs have an objective of their own, which the validation metric does not judge."""

    pretrain_epochs: int = Field(default=0, ge=0)
    """of ``epochs``, so many come before the fine-tuning"""

    def validates(self, epoch: int) -> bool:
        """From the fine-tuning on."""
        return epoch > self.pretrain_epochs and super().validates(epoch)


C = TypeVar("C", bound=Config)


def build(model: type[C], values: Mapping[str, Any], where: str = "", further: Sequence[str] = ()) -> C:
    """Validates ``values`` against ``model``; every problem is listed in one :class:`ConfigError`.

    ``further``: further keys of the same table, which whoever calls has read; an error names them too.
    """
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        problems = (_explain(model, problem, where, further) for problem in error.errors())
        raise ConfigError("\n".join(problems)) from None


def _explain(model: type[BaseModel], problem: Any, where: str, further: Sequence[str]) -> str:
    path = ".".join(str(part) for part in problem["loc"])
    place = f"{where}.{path}" if where and path else where or path
    if problem["type"] == "extra_forbidden":
        owner = _model_at(model, problem["loc"][:-1])
        keys = {*owner.model_fields, *(further if len(problem["loc"]) == 1 else ())}
        return unknown("key", problem["loc"][-1], keys, where or owner.__name__)
    return f"{place}: {problem['msg']} (got {shown(problem.get('input'))})"


def _model_at(model: type[BaseModel], path: Sequence[Any]) -> type[BaseModel]:
    for part in path:
        field = model.model_fields.get(str(part))
        inner = getattr(field, "annotation", None)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            model = inner
    return model


Translate = Callable[[Mapping[str, Any], str], dict[str, Any]]


def read_toml(path: Path, translate: Translate = lambda values, where: dict(values)) -> dict[str, Any]:
    """A TOML file with ``extends`` (one level) resolved relative to the file.

    ``translate`` (values, where) -> values is applied to each file before they are joined.
    """
    values = _plain_toml(path)
    parent = values.pop("extends", None)
    own = translate(values, str(path))
    if parent is None:
        return own
    base = _plain_toml(path.parent / parent, f" (extended by {path})")
    if (path.parent / parent).resolve() == path.resolve():
        raise ConfigError(f"{path} extends itself ({path} -> {parent}); name another recipe, or leave extends out")
    if "extends" in base:
        raise ConfigError(f"{path} extends {parent}, which extends another recipe: only one level is allowed")
    return merge(translate(base, str(path.parent / parent)), own)


def _plain_toml(path: Path, why: str = "") -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(f"no recipe at {path}{why}; interlingua list recipes shows those that ship with it") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}{why} is not valid TOML: {error}") from None


OF_SECTION = ("members",)
"""options that belong to a section, whatever component it names"""


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid over ``base``, section by section. A table whose ``name`` changes starts anew, but for its members.

    Inside a section a word that meets a table is the table's name: ``split = "ratio"`` is ``split = {name = "ratio"}``.
    """
    out = dict(base)
    for key, value in over.items():
        old = out.get(key)
        out[key] = _table_over(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return out


def _table_over(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    if "name" in over and "name" in base and over["name"] != base["name"]:
        return {**{key: base[key] for key in OF_SECTION if key in base}, **over}
    out = dict(base)
    for key, value in over.items():
        old, new = _named(out.get(key), value), _named(value, out.get(key))
        out[key] = _table_over(old, new) if isinstance(old, Mapping) and isinstance(new, Mapping) else new
    return out


def _named(value: Any, other: Any) -> Any:
    """A word that meets a table, as a table."""
    return {"name": value} if isinstance(value, str) and isinstance(other, Mapping) else value


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """``["align.latent_dim=64"]`` as nested tables; the value is TOML, or a plain string where it is not.

    Different options may come in any order; of one option that is given twice the later value stays.
    """
    if isinstance(overrides, str | Mapping) or not all(isinstance(each, str) for each in overrides):
        raise ConfigError(f"overrides are {shown(overrides)}; give a list of texts, e.g. ['backbone.dim=64']")
    out: dict[str, Any] = {}
    for text in overrides:
        path, sign, value = text.partition("=")
        parts = [part.strip() for part in path.split(".")]
        if not sign or not all(parts):
            raise ConfigError(f"--set {text!r} is not of the form section.key=value")
        nested: Any = _toml_value(value.strip())
        for part in reversed(parts):
            nested = {part: nested}
        _add(out, nested, text, top=True)
    return out


def _add(table: dict[str, Any], more: Mapping[str, Any], text: str, *, top: bool = False) -> None:
    for key, value in more.items():
        old, new = table.get(key), value
        if key in table and not top:
            old, new = _named(old, new), _named(new, old)
        if key in table and isinstance(old, dict) != isinstance(new, dict):
            raise ConfigError(f"--set {text!r}: {key!r} was given a plain value and options of its own")
        if isinstance(old, dict):
            _add(old, new, text)
        table[key] = old if isinstance(old, dict) else new


def _toml_value(text: str) -> Any:
    if text == "null":
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def to_toml(values: Mapping[str, Any]) -> str:
    """Nested tables as TOML text (None values are left out: TOML has no null)."""
    return tomli_w.dumps(_writable(values))


def _writable(value: Any) -> Any:
    """Without None, paths as text, mappings as plain dictionaries."""
    if isinstance(value, Mapping):
        return {key: _writable(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple):
        return [_writable(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value
