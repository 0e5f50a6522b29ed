"""Measurements of a language model, stored in the cache folder under the hash of its files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable

from interlingua.lm.abilities import Abilities
from interlingua.lm.models import LanguageModel
from interlingua.progress import say
from interlingua.storage.cached import cache_folder

VERSION = 2
"""raised when the measurement changes, so that older ones are made again"""
UNKNOWN = ("local", "unknown", "")
"""revisions that name no files"""


def remembered(lm: LanguageModel, measure: Callable[[], Abilities]) -> Abilities:
    """The kept measurement, or a new one: the same files, precision, device, attention and versions of libraries."""
    if lm.revision in UNKNOWN:
        return measure()
    import torch
    import transformers

    attention = str(getattr(lm.config, "_attn_implementation", None))
    made_of = f"{lm.revision}-{lm.precision}-{lm.device.type}-{attention}"
    versions = f"transformers-{transformers.__version__}-torch-{torch.__version__}-v{VERSION}"
    file = cache_folder() / "probes" / f"{made_of}-{versions}.json".replace("/", "-")
    try:
        return Abilities.from_dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        found = measure()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_name(f".{file.name}.{os.getpid()}.tmp")
        fresh.write_text(json.dumps(found.to_dict(), indent=1), encoding="utf-8")
        fresh.replace(file)
    except OSError as error:
        say(f"{file} cannot be written ({error.strerror}): {lm.name} is measured at every start")
    return found
