"""A place in every layer's attention of a model, through the interface that transformers offers for it.

A model whose attention can be exchanged gets one function that does what its own did, until a thread says otherwise: it
may then put keys and values in front (prompts in every layer), keep sequences apart that lie one after the other
(packing), or look on. What one thread asks for no other thread sees, and no argument of a private method is named.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from torch import Tensor, nn

from interlingua.errors import ConfigError

PREFIX = "interlingua-"
KINDS = ("sdpa", "eager")
"""kinds of attention that can be replaced"""
EAGER = "eager_attention_forward"
Attend = Callable[..., tuple[Tensor, Any]]
"""(module, query, key, value, mask, ...) -> ((B, T, A, E), weights or None); query is (B, A, T, E)"""


class Attending(Protocol):
    """What a thread wants done in place of a layer's attention."""

    masked: bool
    """whether the model shall make its masks"""

    def __call__(
        self, plain: Attend, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, options: Any
    ) -> tuple[Tensor, Any]:
        """The result of this layer; ``plain`` is what the model does by itself."""
        ...


_CURRENT: ContextVar[Attending | None] = ContextVar("what is done in place of attention", default=None)


@contextmanager
def attending(attention: Attending) -> Iterator[None]:
    """Inside this context, ``attention`` computes the attention of this thread."""
    token = _CURRENT.set(attention)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def attach(model: Any) -> bool:
    """Puts the function into a model; False where its family has attention of its own that cannot be exchanged."""
    own = str(model.config._attn_implementation)
    if attached(model.config):
        return True
    if own not in KINDS:
        return False
    _register()
    logger = logging.getLogger("transformers.modeling_utils")
    level = logger.level
    logger.setLevel(logging.ERROR)  # a family that cannot is no news
    try:
        model.set_attn_implementation(PREFIX + own)
    except (ValueError, KeyError, AttributeError):
        return False
    finally:
        logger.setLevel(level)
    return attached(model.config)


def attached(config: Any) -> bool:
    """Whether a model with this configuration asks the function that :func:`attach` puts in."""
    return str(config._attn_implementation).startswith(PREFIX)


def is_eager(config: Any) -> bool:
    """Whether the model's attention adds its mask instead of reading it as true and false."""
    return str(config._attn_implementation).endswith("eager")


class _Collect:
    """Looks on: which modules attend, in order."""

    masked = True

    def __init__(self) -> None:
        self.modules: list[nn.Module] = []

    def __call__(
        self, plain: Attend, module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, options: Any
    ) -> tuple[Tensor, Any]:
        self.modules.append(module)
        return plain(module, query, key, value, mask, **options)


def modules_of(run: Callable[[], object], name: str, layers: int) -> list[nn.Module]:
    """The attention of each layer, in order.

    Args:
        run: reads a few tokens.
        name: of the model, for the message.
        layers: how many there must be.

    Raises:
        ConfigError: some layer's attention cannot be reached.
    """
    seen = _Collect()
    with attending(seen):
        run()
    if len(seen.modules) != layers or len({id(module) for module in seen.modules}) != layers:
        raise ConfigError(
            f"{name}: only {len(seen.modules)} of {layers} layers have an attention that takes keys and values from "
            "outside; use ranker.injection = 'input', or a model with a yes in the column 'prompts' of the table in "
            "docs/results/language-models.md"
        )
    return seen.modules


def _register() -> None:
    from transformers import AttentionInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface

    known = AttentionInterface()
    for kind in KINDS:
        AttentionInterface.register(PREFIX + kind, _dispatch(known, kind))
        AttentionMaskInterface.register(PREFIX + kind, _masks(ALL_MASK_ATTENTION_FUNCTIONS[kind]))


def _dispatch(known: Any, kind: str) -> Attend:
    def attend(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any = None, **options: Any
    ) -> tuple[Tensor, Any]:
        if "attention_mask" in options:
            mask = options.pop("attention_mask")
        plain, attention = _plain(known, kind, module), _CURRENT.get()
        if attention is None:
            return plain(module, query, key, value, mask, **options)
        return attention(plain, module, query, key, value, mask, options)

    return attend


def _plain(known: Any, kind: str, module: nn.Module) -> Attend:
    """The attention of the module's family. Families keep the function for eager attention in their own file."""
    found: Attend = known[kind] if kind in known else vars(sys.modules[type(module).__module__])[EAGER]
    return found


def _masks(inner: Callable[..., Any]) -> Callable[..., Any]:
    def make(*args: Any, **kwargs: Any) -> Any:
        attention = _CURRENT.get()
        return inner(*args, **kwargs) if attention is None or attention.masked else None

    return make
