"""Checks, before anything runs, whether a sentence encoder and its packages are on this machine."""

from __future__ import annotations

from pathlib import Path

from interlingua.lm.chunked import chunked
from interlingua.lm.sentence_model import how_to_install, in_wheel
from interlingua.runtime.missing import Missing, hub_model, package


def missing(model: str, revision: str | None = None) -> list[Missing]:
    """Missing packages and files of an encoder with these options."""
    out = package("sentence_transformers", "text", f"sentence encoder {model}")
    path = Path(model).expanduser()
    if path.is_dir():
        return out
    if model.startswith((".", "/", "~")):
        return [*out, Missing(f"the sentence encoder at {path}", get="set text.model to a folder that exists")]
    if in_wheel(model) is not None or chunked(model) is not None:
        return out
    name = model if "/" in model else f"sentence-transformers/{model}"
    return out + hub_model(name, revision, "sentence encoder", how_to_install(model))
