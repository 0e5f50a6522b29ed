"""Checks, before anything runs, whether a language model and its packages are on this machine."""

from __future__ import annotations

from pathlib import Path

from interlingua.lm.chunked import CHUNKED, chunked
from interlingua.lm.locate import HUB, INSTALL, WHEELS, wheel_file
from interlingua.runtime.missing import Missing, hub_model, package


def missing(
    model: str, precision: str = "fp32", weights: str = "pretrained", option: str = "ranker.model"
) -> list[Missing]:
    """Missing packages and files of a language model with these options; ``option`` names it."""
    if weights == "none":
        return []
    purpose = f"language model {model}"
    out = package("transformers", "llm", purpose)
    if precision == "4bit" and (lacks := package("bitsandbytes", "", purpose)):
        out.append(Missing(lacks[0].what, command="pip install bitsandbytes"))
    path = Path(model).expanduser()
    if path.exists() or model.startswith((".", "/", "~")) or path.suffix.lower() == ".gguf":
        if not path.exists():
            return [
                *out,
                Missing(f"the language model at {path}", get=f"set {option} to a folder or file that exists"),
            ]
        return out + (package("gguf", "llm", purpose) if path.suffix.lower() == ".gguf" else [])
    gone = CHUNKED.get(model.lower())
    if gone is not None:
        if chunked(model) is None:
            return out + hub_model(gone.hub, None, "language model", gone.install)
        return out + (package("gguf", "llm", purpose) if gone.is_gguf else [])
    if model.lower() not in WHEELS:
        return out + hub_model(model, None, "language model")
    distribution, member = WHEELS[model.lower()]
    if wheel_file(distribution, member) is None:
        return out + hub_model(HUB[model.lower()], None, "language model", INSTALL[distribution])
    return out + (package("gguf", "llm", purpose) if member.endswith(".gguf") else [])
