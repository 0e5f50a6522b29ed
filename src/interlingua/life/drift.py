"""What changed between two versions: vectors, neighbours, norms, lists; and whether what reads the vectors must change.

Whatever holds vectors of the old version (a vector database, another system, an aligner or a language model that was
trained on them) reads those of the new one only if both are in one space. Training again gives the same geometry in
other axes at best. Measured over the items that both have:

- the orthogonal matrix R with the least |R old - new| (orthogonal Procrustes; Schönemann, Psychometrika 31, 1966): a
  rotation, or one with a reflection; scores, which are dot products, are the same after it;
- the share of an item's nearest neighbours, by cosine, that is the same;
- the ratio of the norms, new to old;
- the rank-biased overlap of the lists that users get, each version asked by its own data and without a ranker.

``reuse``: the vectors differ by no more than the tolerance. ``rotate``: they do after R: new vectors times R's inverse
are in the old space, and nothing else needs to change. ``re-align``: no rotation brings them together, and what was
trained on the old vectors has to be trained again. Versions without vectors are judged by their lists: ``reuse`` where
these overlap by all but the tolerance.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from interlingua.errors import ConfigError
from interlingua.life.overlap import neighbour_overlap, rank_biased_overlap, sample
from interlingua.runs.neighbours import item_vectors
from interlingua.storage.artifact import disk
from interlingua.vectors.tables import save_tensors

if TYPE_CHECKING:
    from interlingua.recommender import Recommender

Float64 = npt.NDArray[np.float64]
TOLERANCE = 0.05
"""relative difference of the tables that is no change: cosines move by some hundredths at most"""
NEIGHBOURS, ITEMS = 10, 1000
"""nearest items that are compared, of so many items"""


@dataclass(frozen=True)
class Drift:
    """The report. ``None``: there was nothing to measure it on."""

    old: str
    new: str
    """versions"""
    decision: str
    """``reuse``, ``rotate`` or ``re-align``"""
    reason: str
    items: int
    """that both have"""
    items_gone: int
    items_new: int
    difference: float | None
    """|old - new| / |new|, Frobenius, as they are"""
    difference_rotated: float | None
    """the same after the best rotation"""
    neighbours: float | None
    """share of the 10 nearest items that both agree on"""
    norms: dict[str, float] | None
    """new / old: ``p5``, ``median``, ``p95``"""
    users: int
    """whose lists were compared"""
    lists: float | None
    """mean rank-biased overlap"""
    lists_low: float | None
    """of the tenth of the users with the least"""
    rotation: Float64 | None
    """(D, D) R: old rows times R are near new rows"""

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the matrix."""
        return {name: value for name, value in asdict(self).items() if name != "rotation"}


def procrustes(old: Float64, new: Float64) -> Float64:
    """(D, D) orthogonal R with the least Frobenius norm of ``old @ R - new``; both (N, D).

    Where the items do not fill the space several do: a small multiple of the identity takes the one that turns least.
    """
    product = old.T @ new
    still = 1e-10 * (np.linalg.norm(product, 2) or 1.0)
    left, _, right = np.linalg.svd(product + still * np.eye(len(product)))
    return np.asarray(left @ right, np.float64)


def relative(one: Float64, other: Float64) -> float:
    """Frobenius norm of the difference over that of ``other``."""
    size = float(np.linalg.norm(other))
    return float(np.linalg.norm(one - other)) / size if size else float(np.linalg.norm(one) > 0)


def drift(
    old: Recommender, new: Recommender, *, users: int = 1000, k: int = 50, tolerance: float = TOLERANCE, seed: int = 0
) -> Drift:
    """See the module.

    Args:
        old: the version that is in use.
        new: the other one.
        users: how many of those that both know are asked for lists.
        k: length of the lists.
        tolerance: see :data:`TOLERANCE`.
        seed: of the samples.

    Raises:
        ConfigError: the versions have no item in common.
    """
    ids = [each for each in old.train.item_ids.tolist() if each in new.train.item_indices]
    if not ids:
        raise ConfigError(f"the versions {old.version} and {new.version} have no item in common")
    places = [torch.tensor([each.train.item_indices[item] for item in ids]) for each in (old, new)]
    tables = [item_vectors(each.session) for each in (old, new)]
    vectors = [None if t is None else t[at].double() for t, at in zip(tables, places, strict=True)]
    overlaps = _lists(old, new, users, k, seed)
    lists = float(np.mean(overlaps)) if overlaps else None
    low = float(np.mean(sorted(overlaps)[: max(1, len(overlaps) // 10)])) if overlaps else None
    counts = {"items": len(ids), "items_gone": old.train.num_items - len(ids)}
    counts |= {"items_new": new.train.num_items - len(ids), "users": len(overlaps)}
    found: dict[str, Any] = {**counts, **_of_vectors(vectors[0], vectors[1], tolerance, seed)}
    if found["decision"] is None:
        similar = lists is not None and lists >= 1 - tolerance
        found["decision"] = "reuse" if similar else "re-align"
        found["reason"] += f"; by the lists (overlap {'not known' if lists is None else f'{lists:.3f}'})"
    return Drift(old.version, new.version, lists=lists, lists_low=low, **found)


def _of_vectors(old: Tensor | None, new: Tensor | None, tolerance: float, seed: int) -> dict[str, Any]:
    """The part of the report that vectors (N, D) of the same items tell."""
    nothing = dict.fromkeys(("decision", "difference", "difference_rotated", "neighbours", "norms", "rotation"))
    if old is None or new is None:
        return {**nothing, "reason": "a version has no vectors of items"}
    before, after = old.norm(dim=1), new.norm(dim=1)
    ratios = (after / before)[(before > 0) & (after > 0)].numpy()
    quantiles = np.quantile(ratios, [0.05, 0.5, 0.95]).tolist() if len(ratios) else [1.0] * 3
    same = neighbour_overlap(old.float(), new.float(), sample(len(old), ITEMS, seed), NEIGHBOURS)
    about: dict[str, Any] = {"neighbours": same, "norms": dict(zip(("p5", "median", "p95"), quantiles, strict=True))}
    if old.shape[1] != new.shape[1]:
        reason = f"vectors have {new.shape[1]} dimensions, and had {old.shape[1]}"
        return {**nothing, **about, "decision": "re-align", "reason": reason}
    first, second = old.numpy(), new.numpy()
    rotation = procrustes(first, second)
    plain, rotated = relative(first, second), relative(first @ rotation, second)
    if plain <= tolerance:
        decision, reason = "reuse", f"the vectors differ by {plain:.3g}, within {tolerance:g}"
    elif rotated <= tolerance:
        decision, reason = "rotate", f"the vectors differ by {plain:.3g}, and by {rotated:.3g} after a rotation"
    else:
        decision, reason = "re-align", f"the vectors differ by {rotated:.3g} after the best rotation too"
    numbers: dict[str, Any] = {"difference": plain, "difference_rotated": rotated, "rotation": rotation}
    return {**about, **numbers, "decision": decision, "reason": reason}


def _lists(old: Recommender, new: Recommender, users: int, k: int, seed: int) -> list[float]:
    """The overlap of each user's two lists."""
    known = [str(user) for user in old.train.user_ids.tolist() if user in new.train.user_indices]
    chosen = [known[place] for place in sample(len(known), users, seed)]
    if not chosen:
        return []
    found = []
    for each in (old, new):
        frame = each.recommend(users=chosen, k=k, rerank=False)
        lists = frame.group_by("user_id", maintain_order=True).agg("item_id")
        found.append(dict(zip(lists["user_id"].to_list(), lists["item_id"].to_list(), strict=True)))
    return [rank_biased_overlap(found[0].get(user, []), found[1].get(user, [])) for user in chosen]


def repaired(report: Drift, new: Tensor) -> Tensor:
    """(I, D) vectors of the new version in the old one's space.

    Raises:
        ConfigError: there is no rotation, because a version has no vectors or they have other dimensions.
    """
    if report.rotation is None:
        raise ConfigError(f"no rotation brings the versions together: {report.reason}")
    return (new.double() @ torch.from_numpy(report.rotation.T)).to(new.dtype)


def write(report: Drift, new: Recommender, folder: Path) -> Path:
    """Writes ``drift.json``; and where there is a rotation ``drift.safetensors`` with it (``rotation``) and the new
    version's item vectors in the old space (``items``), whose ids are in ``item_ids.json``.
    """  # fmt: skip
    with disk(folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "drift.json").write_text(json.dumps(report.to_json(), indent=1), encoding="utf-8")
        vectors = item_vectors(new.session)
        if report.rotation is not None and vectors is not None:
            tensors = {"rotation": torch.from_numpy(report.rotation), "items": repaired(report, vectors).contiguous()}
            save_tensors(tensors, folder / "drift.safetensors")
            ids = [str(item) for item in new.train.item_ids.tolist()]
            (folder / "item_ids.json").write_text(json.dumps(ids, ensure_ascii=False), encoding="utf-8")
    return folder
