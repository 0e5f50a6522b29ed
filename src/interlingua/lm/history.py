"""Histories as right-padded rows, and the query for each of their positions.

Shape key: B rows, L positions.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from interlingua.data.queries import PAD, IntArray, Queries

USER_HISTORY = 50
"""events before the answer that the backbone reads for the user slot while a prompt is trained"""


def shifted(values: Tensor, histories: Tensor) -> tuple[Tensor, Tensor]:
    """Moves left-padded rows to the front, because a causal model then needs no mask.

    Args:
        values: (B, L) values to move: the histories themselves, or their targets.
        histories: (B, L) left-padded with PAD; says where a row begins.

    Returns:
        (B, L) values with PAD behind, and (B, L) True where a row has an item.
    """
    width = histories.shape[1]
    lengths = (histories != PAD).sum(1)
    places = torch.arange(width, device=histories.device)[None, :]
    where = places < lengths[:, None]
    source = (places + (width - lengths)[:, None]).clamp_max(width - 1)
    return torch.where(where, values.gather(1, source), PAD), where


def queries_of(histories: Tensor | IntArray, users: IntArray | None = None) -> Queries:
    """One query per row of (B, L) left-padded histories."""
    padded = histories.cpu().numpy() if isinstance(histories, Tensor) else np.asarray(histories)
    lengths = (padded != PAD).sum(1)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    who = np.full(len(padded), -1, np.int64) if users is None else np.asarray(users, np.int64)
    return Queries(who, padded[padded != PAD].astype(np.int32), offsets)


def prefix_queries(histories: Tensor, keep: Tensor) -> Queries:
    """One query per chosen position: the row's items up to and including it.

    Args:
        histories: (B, L) left-padded.
        keep: (B, L) chosen positions, counted as :func:`shifted` does.
    """
    padded = histories.cpu().numpy()
    lengths = (padded != PAD).sum(1)
    batch, place = np.nonzero(keep.cpu().numpy())
    flat = padded[padded != PAD]
    begins = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)[:-1]
    everything = Queries(np.full(len(padded), -1, np.int64), flat.astype(np.int32), np.append(begins, len(flat)))
    sizes = place + 1
    offsets = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    inner = np.arange(offsets[-1]) - np.repeat(offsets[:-1], sizes)
    items = everything.items[np.repeat(begins[batch], sizes) + inner]
    return Queries(np.full(len(batch), -1, np.int64), items, offsets)


def shuffled(targets: Tensor, negatives: Tensor) -> IntArray:
    """(B, C) the answers (B,) or (B, M) among their negatives, in a new random order for each row and step."""
    shown = torch.cat([targets.reshape(len(targets), -1), negatives.reshape(len(targets), -1)], 1)
    order = torch.rand(shown.shape).argsort(1).to(shown.device)
    return shown.gather(1, order).cpu().numpy()
