"""Named tensors: everything that one stage passes to the next. A component makes them, :func:`exported` checks them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from interlingua.contracts.component import Component
from interlingua.contracts.fitting import Fitting
from interlingua.errors import ConfigError

ONE_EACH = {
    "users": "users",
    "items": "items",
    "items_from_text": "items",
    "item_codes": "items",
    "text.users": "users",
    "text.items": "items",
}
"""word of :mod:`interlingua.contracts.component` that is a table -> what its rows are"""
CODES = "item_codes"


def exported(component: Component, config: Any, job: Fitting) -> dict[str, Tensor]:
    """The exports of a fitted component: exactly the tables that it declares, each with a row for every user or item.

    Args:
        component: fitted.
        config: its options.
        job: what it was fitted on, with the tables of the stages before it.

    Raises:
        ConfigError: names, shapes or numbers differ from what the component declares.
    """
    found, who = component.export(job), type(component).__name__
    declared = component.makes(config) & ONE_EACH.keys()
    if set(found) != declared:
        known = ", ".join(sorted(declared)) or "no table"
        raise ConfigError(
            f"{who} makes {known}, but exports {', '.join(sorted(found)) or 'nothing'}: its makes() and its export() "
            "must name the same"
        )
    counts = {"users": job.train.num_users, "items": job.train.num_items}
    for name, table in found.items():
        _check(f"{who} exports {name}", name, table, counts[ONE_EACH[name]])
    return found


def _check(where: str, name: str, table: Tensor, length: int) -> None:
    shape = tuple(table.shape)
    if name == CODES and table.is_floating_point():
        raise ConfigError(
            f"{where}, which must be a table of integers, one row per item; got {table.dtype} of shape {shape}"
        )
    if table.dim() != 2 or shape[0] != length:
        raise ConfigError(
            f"{where} of shape {shape}; it must be a table of {length} rows, one for each of {ONE_EACH[name]}"
        )
    if table.is_floating_point() and not bool(torch.isfinite(table).all()):
        bad = int((~torch.isfinite(table)).any(dim=1).sum())
        raise ConfigError(
            f"{where} with NaN or infinity in {bad} of {length} rows: train at a lower rate, or check the inputs"
        )
