"""``interlingua doctor``: what this machine has of everything that recipes may want."""

from __future__ import annotations

import json
import os
import platform
import shutil
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Annotated, Any

import typer

from interlingua.cli.options import AsJson

BASE = (
    "torch",
    "numpy",
    "scipy",
    "polars",
    "pydantic",
    "safetensors",
    "accelerate",
    "typer",
    "rich",
    "jinja2",
    "tomli-w",
)
EXTRAS = {
    "text": ("sentence-transformers", "transformers"),
    "llm": ("transformers", "gguf"),
    "api": ("openai",),
    "serve": ("fastapi", "uvicorn", "prometheus-client"),
    "ann": ("usearch",),
}
"""extra -> its packages, where the installed metadata do not say (a source tree on the path)"""


def doctor(
    out: Annotated[Path, typer.Option("--out", help="Folder of runs, whose disk is looked at.")] = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Show Python, packages, extras, device, models, datasets, disk, cores, and what to install for what is missing."""
    found = facts(out)
    if as_json:
        print(json.dumps(found, ensure_ascii=False))
        return
    print("\n".join(lines(found)))


def facts(out: Path) -> dict[str, Any]:
    """All facts that ``doctor`` reports."""
    import torch

    from interlingua import __version__
    from interlingua.data.datasets import named
    from interlingua.data.source import present
    from interlingua.errors import install_command
    from interlingua.lm.encoder_here import missing as no_encoder
    from interlingua.lm.here import missing as no_model
    from interlingua.runtime.missing import sentence
    from interlingua.storage.cached import cache_folder

    extras = {name: {each: _version(each) for each in packages} for name, packages in _extras().items()}
    lacking = [name for name, packages in extras.items() if None in packages.values()]
    models = {"smollm2-135m": no_model("smollm2-135m"), "all-minilm-l6-v2": no_encoder("all-minilm-l6-v2")}
    place = next(p for p in (out.absolute(), *out.absolute().parents) if p.exists())
    cuda, absent = torch.cuda.is_available(), "absent"
    return {
        "interlingua": __version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(0) if cuda else "mps" if torch.backends.mps.is_available() else "cpu",
        "packages": {name: _version(name) for name in BASE},
        "extras": extras,
        "install": install_command(*lacking) if lacking else "",
        "models": {name: sentence(lacks) if lacks else "found" for name, lacks in models.items()},
        "datasets": {
            name: "generated" if known.generated else str(present(known) or ("download" if known.download else absent))
            for name, known in named().items()
        },
        "cache": str(cache_folder()),
        "disk_free_bytes": shutil.disk_usage(place).free,
    }


def lines(found: dict[str, Any]) -> list[str]:
    """The facts as text; what is missing stands with what to do."""
    out = [
        f"interlingua {found['interlingua']}, Python {found['python']}, {found['system']}",
        f"device {found['device']}, {found['cores']} cores ({found['threads']} threads), "
        f"{found['disk_free_bytes'] / 2**30:.1f} GiB free, cache {found['cache']}",
        "packages: " + ", ".join(f"{name} {number or 'MISSING'}" for name, number in found["packages"].items()),
    ]
    for name, packages in found["extras"].items():
        has = ", ".join(f"{each} {number or 'MISSING'}" for each, number in packages.items())
        out.append(f"extra {name + ':':<9}{has}")
    out += [f"model {name}: {state}" for name, state in found["models"].items()]
    out += [f"data {name}: {state}" for name, state in found["datasets"].items()]
    out.append(f"to install what is missing: {found['install']}" if found["install"] else "every extra is installed")
    return out


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _extras() -> dict[str, tuple[str, ...]]:
    """Extra -> packages as the installed metadata list them; without metadata those of this file."""
    import re

    try:
        listed = requires("interlingua") or []
    except PackageNotFoundError:
        return EXTRAS
    out: dict[str, list[str]] = {name: [] for name in EXTRAS}
    for line in listed:
        package, extra = re.match(r"[\w.-]+", line), re.search(r"extra\s*==\s*['\"]([\w-]+)['\"]", line)
        if package and extra and extra[1] in out:
            out[extra[1]].append(package[0])
    return {name: tuple(packages) or EXTRAS[name] for name, packages in out.items()}


COMMANDS = {"doctor": doctor}
