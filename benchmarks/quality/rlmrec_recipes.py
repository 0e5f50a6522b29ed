"""What RLMRec's benchmarks run: datasets and splits, the paper's settings of each backbone, alignments and controls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from interlingua.data.clean import CleanConfig
from interlingua.data.filter import FilterConfig
from interlingua.data.prepare import prepare
from interlingua.data.prepared import Dataset
from interlingua.data.splitting import SplitConfig
from interlingua.runs import recipe as recipes

THREE_ONE_ONE = SplitConfig(name="ratio", valid=0.2, test=0.2)
AS_FILED = CleanConfig(ties="file")
"""events at one time in the file's order: which of them a random split holds out stays as in all tables so far"""
SOURCES: dict[str, dict[str, Any]] = {
    "movielens-small": {"clean": AS_FILED, "filter": FilterConfig(min_user=5, min_item=5), "split": THREE_ONE_ONE},
    "amazon-beauty-2014": {"clean": AS_FILED, "filter": FilterConfig(min_user=7, min_item=7), "split": THREE_ONE_ONE},
    "xrec-yelp-profiles": {"split": SplitConfig(name="given")},
    "movielens-dense": {
        "name": "movielens-small", "clean": AS_FILED, "filter": FilterConfig(min_user=20, min_item=60),
        "split": THREE_ONE_ONE,
    },
}  # fmt: skip
"""``movielens-dense``: the stated sample, small enough that a language model on this machine profiles every item"""
SPLIT_SEED = 7
TEXT = {
    "movielens-small": {"fields": ["title", "categories"], "users": "items"},
    "amazon-beauty-2014": {"fields": ["title", "categories"], "users": "items"},
    "xrec-yelp-profiles": {"fields": ["description"], "users": "texts", "user_fields": ["profile"]},
    "movielens-dense": {"fields": ["title", "categories"], "users": "items"},
}
SETTINGS: dict[str, dict[str, Any]] = {
    "lightgcn": {"num_layers": 3, "layers": "sum", "keep_rate": 0.8},
    "gccf": {"num_layers": 2, "transform": False, "self_loops": True},
    "sgl": {
        "num_layers": 3, "layers": "sum", "views": "step", "repeats": True,
        "contrast_negatives": True, "cl_weight": 0.1, "temperature": 0.2,
    },
    "simgcl": {
        "num_layers": 3, "layers": "sum", "skip_input": False, "eps": 0.9, "contrast": "all", "repeats": True,
        "cl_weight": 0.1, "temperature": 0.2,
    },
}  # fmt: skip
"""RLMRec's settings for Amazon-book, SGL's views as SGL's paper has them; DCCF and AutoCF are read from recipes"""
CONTRASTIVE = ("sgl", "simgcl", "dccf", "autocf")
"""backbones with a contrastive loss of their own"""
PATIENCE_STEPS = 1000
"""optimiser steps without a better validation Recall@20 that end a training: RLMRec's five validations are 450 steps on
its Amazon-book, 75 to 225 on these datasets, where they stop by luck"""
DECAY = {"lightgcn": 2e-7, "gccf": 2e-6, "sgl": 2e-5, "simgcl": 2e-5, "dccf": 2e-4, "autocf": 2e-6}
CON = {"name": "contrastive", "weight": 0.01, "temperature": 0.2}
GEN = {"name": "masked", "weight": 0.1, "temperature": 0.5, "mask_ratio": 0.15}
VARIANTS: dict[str, dict[str, Any]] = {
    "base": {},
    "Con": {"align": CON, "text": {"reduce": 128}},
    "Gen": {"align": GEN, "text": {"reduce": 128}},
    "Con, shuffled texts": {"align": CON, "text": {"reduce": 128, "control": "shuffled"}},
    "Gen, shuffled texts": {"align": GEN, "text": {"reduce": 128, "control": "shuffled"}},
    "Con, new items by text": {"align": CON, "text": {"reduce": 128}, "evaluate": {"candidate_source": "aligned"}},
    "Con, 512 anchors": {"align": CON | {"contrast_anchors": 512}, "text": {"reduce": 128}},
    "Gen, 512 anchors": {"align": GEN | {"contrast_anchors": 512}, "text": {"reduce": 128}},
    "Con, full texts, 512 anchors": {"align": CON | {"contrast_anchors": 512}, "text": {}},
    "Gen, full texts, 512 anchors": {"align": GEN | {"contrast_anchors": 512}, "text": {}},
    "Con, LSA, 512 anchors": {"align": CON | {"contrast_anchors": 512}, "text": {"name": "lsa", "model": None}},
    "text only (AlphaRec's way)": {"align": {"name": "replace"}, "text": {}, "backbone": {"loss": "softmax"}},
    "same loss without texts": {"backbone": {"loss": "softmax"}},
    "text only, shuffled texts": {
        "align": {"name": "replace"}, "text": {"control": "shuffled"}, "backbone": {"loss": "softmax"},
    },
    "LLMInit (variance)": {"align": {"name": "init", "pick": "variance"}, "text": {}},
    "LLMInit (PCA)": {"align": {"name": "init", "pick": "pca"}, "text": {}},
    "Con, written profiles": {"align": CON, "text": {"reduce": 128, "profiles": True}},
    "Gen, written profiles": {"align": GEN, "text": {"reduce": 128, "profiles": True}},
    "Con, written profiles, shuffled": {
        "align": CON, "text": {"reduce": 128, "profiles": True, "control": "shuffled"},
    },
    "Con, LSA": {"align": CON, "text": {"name": "lsa", "model": None}},
    "KAR": {"align": {"name": "kar"}, "text": {"reduce": 128}},
}  # fmt: skip


def dataset(data: str) -> Dataset:
    """The events, texts and split that a benchmark's dataset stands for."""
    values = dict(SOURCES[data])
    return prepare(values.pop("name", data), seed=SPLIT_SEED, **values)


def recipe_of(
    backbone: str, variant: str, data: str, folder: Path, anchors: int | None = None, profiles: Path | None = None
) -> dict[str, Any]:
    """One run's sections; ``profiles``: the folder that "written profiles" are read from."""
    parts = VARIANTS[variant]
    settings = SETTINGS.get(backbone)
    if settings is None:
        shipped = recipes.load(f"paper/rlmrec/amazon-{backbone}").resolved()["backbone"]
        settings = {k: v for k, v in shipped.items() if k not in ("name", "fit", "embedding_dim", "l2")}
    fit = {
        "learning_rate": 1e-3, "weight_decay": DECAY[backbone], "batch_size": 4096, "epochs": 1000,
        "evaluate_every": 3, "patience": 5, "patience_steps": PATIENCE_STEPS, "metric": "recall@20",
    }  # fmt: skip
    own = {"name": backbone, "embedding_dim": 32, **settings, **parts.get("backbone", {}), "fit": fit}
    if backbone != "autocf":  # which has none
        own["l2"] = 0.0
    values: dict[str, Any] = {"data": {"name": str(folder)}, "backbone": own, "evaluate": {"protocols": ["rlmrec"]}}
    values["evaluate"] |= parts.get("evaluate", {})
    if "align" in parts:
        values["align"] = dict(parts["align"])
        if backbone == "autocf" and parts["align"]["name"] == "contrastive":
            values["align"]["negatives"] = False  # the authors' AutoCF has no negatives
        values["text"] = text_of(data, parts["text"], profiles)
    if anchors is not None:
        if backbone in CONTRASTIVE:
            own["contrast_anchors"] = anchors
        if parts.get("align", {}).get("name") in ("contrastive", "masked"):
            values["align"]["contrast_anchors"] = anchors
    return values


def text_of(data: str, changes: dict[str, Any], profiles: Path | None = None) -> dict[str, Any]:
    """The dataset's texts as vectors."""
    values = {"name": "sbert", "model": "all-minilm-l6-v2", **TEXT[data], **changes}
    if values.get("profiles"):
        if profiles is None:
            raise SystemExit("written profiles: name their folder with --profiles (`interlingua profiles` writes it)")
        values |= {"profiles": str(profiles), "fields": None}
    return {k: v for k, v in values.items() if v is not None}
