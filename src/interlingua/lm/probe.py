"""Measures a language model's abilities when it is loaded: compares this package's code with plain passes.

Prompts of two lengths with answers are read once as plainly as a model can be read (ids, one row, no mask, no cache)
and then in every other way that this package has. Where the configuration names an attention window, lengths beyond it
are tried too: with a window made small, where the model lets that happen, else at its own size up to :data:`LONGEST`.
All on the fewest first layers that hold one of each kind. What was measured is kept in the cache folder, by the hash of
the files.

Shape key: B = 2 prompts, T prompt tokens, K answer tokens, H' width of a state.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from interlingua.errors import ConfigError
from interlingua.lm.abilities import ANY, Abilities
from interlingua.lm.models import LanguageModel
from interlingua.lm.probe_store import remembered
from interlingua.lm.probe_ways import ANSWERS, WAYS, Case, plain, worst
from interlingua.lm.variants import truncated
from interlingua.runtime.cancel import Cancelled

SHORT = 24
"""T + K where nothing is known of a window"""
SMALL = 16
"""tokens of a window that is made small"""
WINDOW, NO_WINDOW = re.compile(r"window|attention_chunk_size"), re.compile(r"layer|pattern|use_")
"""how an entry of a configuration is called that says how far attention reaches, and how one that does not"""
LONGEST = 320
"""T + K at most"""
TABLE = "the table of families in docs/results/language-models.md says which models can be used"


def abilities_of(lm: LanguageModel) -> Abilities:
    """Measures a decoder, or reads the stored measurement of the same files.

    Raises:
        ConfigError: a model that does not read vectors as it reads tokens, or not from left to right.
    """
    return remembered(lm, lambda: measure(lm))


@torch.no_grad()
def measure(lm: LanguageModel) -> Abilities:
    """See :func:`abilities_of`."""
    small = _few_layers(lm)
    _check_logits(small)
    window = _window(small)
    short = _case(small, min(SHORT, window or SHORT))
    _check_reading(small, short)
    within = _try_all(small, short)
    if window is None:
        return within
    with _shrunk(small, window) as size:
        # two lengths: where attention goes by blocks, one may end in the same block by chance
        totals = [total for total in (2 * size + 12, 3 * size + 7) if 3 * size + 7 <= LONGEST]
        beyond = [_try_all(small, _case(small, total)) for total in totals]
    return _joined(within, beyond, window)


def _joined(within: Abilities, beyond: list[Abilities], window: int) -> Abilities:
    """Any length if both are exact; up to the window if only short prompts are."""
    lengths, reasons = {}, dict(within.reasons)
    for way in WAYS:
        near = getattr(within, way)
        # a prompt in every layer is seen from everywhere, also where tokens in its place would be out of the window
        far = near if way == "prompts" else min([getattr(each, way) for each in beyond], default=0)
        lengths[way] = 0 if not near else ANY if far else window
        if near and not far:
            reasons[way] = f"only up to the attention window of {window} tokens"
    return Abilities(**lengths, reasons=reasons)


def _try_all(lm: LanguageModel, case: Case) -> Abilities:
    lengths, reasons = {}, {}
    for way, run in WAYS.items():
        try:
            error = run(lm, case)
            lengths[way] = ANY if error <= _tolerance(lm) else 0
            if not lengths[way]:
                reasons[way] = f"states differ by {error:.2g}"
        except Cancelled:
            raise
        except Exception as problem:  # any family may fail in any way; what it cannot do it does not do
            first = str(problem).strip().splitlines() or [""]
            lengths[way], reasons[way] = 0, f"{type(problem).__name__}: {first[0][:120]}"
    return Abilities(**lengths, reasons=reasons)


def _tolerance(lm: LanguageModel) -> float:
    """Of the root mean square of states: rounding is far below, another mask or position far above."""
    return 1e-3 if lm.dtype == torch.float32 else 4e-2


def _check_logits(lm: LanguageModel) -> None:
    """The output matrix, its scales and caps are as the model itself applies them, on a few tokens."""
    ids = _tokens(lm, 1, 4)
    kind = type(lm.model).__name__
    try:
        model: Any = lm.model
        expected = model(input_ids=ids).logits.float()
        got = lm.logits(lm.forward(lm.embed(ids)).states)
    except (AttributeError, TypeError, ValueError, RuntimeError, IndexError, KeyError, NotImplementedError) as error:
        first = (str(error).strip().splitlines() or [""])[0][:160]
        raise ConfigError(
            f"{lm.name} ({kind}) cannot be read by vectors in place of tokens "
            f"({type(error).__name__}: {first}); {TABLE}"
        ) from None
    off = float((expected - got.to(expected.device)).abs().max())
    if not off <= 1e-2 * max(1.0, float(expected.abs().max())):
        raise ConfigError(
            f"{lm.name} ({kind}) cannot be read by vectors in place of tokens: "
            f"its logits differ by {off:.3g} then; {TABLE}"
        )


def _check_reading(lm: LanguageModel, case: Case) -> None:
    """Vectors give the states of tokens, and what stands behind a prompt changes nothing in it."""
    embeds = lm.embed(case.ids)
    states = lm.forward(embeds).states
    pairs = [(states[row, :length], case.states[row]) for row, length in enumerate(case.lengths)]
    if worst(pairs) > _tolerance(lm):
        raise ConfigError(
            f"{lm.name} ({type(lm.model).__name__}) does not read from left to right: what stands behind a prompt "
            f"changes its states by {worst(pairs):.2g} of their size; use a decoder; {TABLE}"
        )


# ---- lengths and windows ------------------------------------------------------------------------------------------


def _case(lm: LanguageModel, total: int) -> Case:
    """Two prompts, the longer one of ``total`` tokens with its answer, both longer than half of it."""
    longer = max(total - ANSWERS, 2)
    shorter = max(longer - max(longer // 4, 1), 1)
    ids = _tokens(lm, 2, longer)
    answers = _tokens(lm, 3, ANSWERS)
    answers[1, :2] = answers[0, :2]  # two of three begin alike
    states = [plain(lm, ids[row, :length]) for row, length in enumerate((longer, shorter))]
    return Case(ids, (longer, shorter), answers, states)


def _tokens(lm: LanguageModel, batch_size: int, length: int) -> Tensor:
    """Token ids, always the same ones, none of them the padding."""
    generator = torch.Generator().manual_seed(batch_size * 1000 + length)
    size = int(lm.model.get_input_embeddings().weight.shape[0])  # type: ignore[operator]
    ids = torch.randint(0, max(size - 1, 1), (batch_size, length), generator=generator)
    return torch.where(ids >= lm.pad_token_id, ids + 1, ids).clamp_max(size - 1).to(lm.device)


def windows(config: Any) -> dict[str, int]:
    """Entries of a configuration that say how far attention reaches."""
    found = {}
    for name, value in config.to_dict().items():
        named = WINDOW.search(name) and not NO_WINDOW.search(name)
        if named and isinstance(value, int) and not isinstance(value, bool) and value > 1:
            found[name] = value
    return found


def _window(lm: LanguageModel) -> int | None:
    found = windows(lm.config)
    return min(found.values()) if found else None


@contextmanager
def _shrunk(lm: LanguageModel, window: int) -> Iterator[int]:
    """Makes the windows small while open, where the model then reads otherwise; yields the window that holds."""
    if window <= SMALL:
        yield window
        return
    names, config = windows(lm.config), lm.config
    ids = _tokens(lm, 1, 3 * SMALL)[0]
    before = plain(lm, ids)
    for name in names:
        setattr(config, name, SMALL)
    try:
        follows = worst([(plain(lm, ids), before)]) > _tolerance(lm)
        if not follows:
            for name, value in names.items():
                setattr(config, name, value)
        yield SMALL if follows else window
    finally:
        for name, value in names.items():
            setattr(config, name, value)


# ---- few layers ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Stack:
    kinds: list[tuple[Any, ...]]

    def enough(self) -> int:
        """The first so many layers hold one of each kind; two at least."""
        first = {kind: at for at, kind in reversed(list(enumerate(self.kinds)))}
        return min(max(2, 1 + max(first.values())), len(self.kinds))


def _few_layers(lm: LanguageModel) -> LanguageModel:
    """A copy (its weights shared) of as few layers as show everything, whose configuration may be changed."""
    everything = replace(lm, abilities=Abilities())
    try:
        stack = next(m for m in lm.model.modules() if isinstance(m, nn.ModuleList) and len(m) == lm.num_layers)
        kinds = list(getattr(lm.config, "layer_types", None) or [""] * lm.num_layers)
        few = _Stack([(kinds[at], *_kind(layer)) for at, layer in enumerate(stack)]).enough()
        if few < lm.num_layers:
            short = truncated(everything, few)
            plain(short, _tokens(lm, 1, 2)[0])
            return short
    except (ConfigError, StopIteration, AttributeError, TypeError, ValueError, LookupError, RuntimeError):
        pass  # a stack of another make: read whole
    memo: dict[int, Any] = {id(p): p for p in lm.model.parameters()}
    return replace(everything, model=copy.deepcopy(lm.model, memo))


def _kind(layer: nn.Module) -> tuple[Any, ...]:
    """What tells layers apart that are not alike: their modules, and the words, switches and windows in them."""
    kinds = []
    for name, module in layer.named_modules():
        facts = {k: v for k, v in vars(module).items() if isinstance(v, (str, bool)) or v is None or "window" in k}
        kinds.append((name, type(module).__name__, tuple(sorted((k, str(v)) for k, v in facts.items()))))
    return tuple(kinds)
