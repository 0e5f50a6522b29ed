"""Facts about the machine for a card: memory used, versions of packages, the code's commit."""

from __future__ import annotations

import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def peak_memory_bytes() -> int | None:
    """Most memory that this process has had; None where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return _peak_by_psutil()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def _peak_by_psutil() -> int | None:
    try:
        import psutil
    except ImportError:
        return None
    counts = psutil.Process().memory_info()._asdict()
    found = counts.get("peak_wset", counts.get("rss"))
    return None if found is None else int(found)


@cache
def versions() -> dict[str, str]:
    """Versions of the packages that can change a number."""
    found = {}
    for package in ("interlingua", "torch", "numpy", "scipy", "polars", "transformers", "sentence-transformers"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


@cache
def git_commit() -> str | None:
    """Commit of a checkout of this package; None elsewhere."""
    here = Path(__file__).parent
    try:
        answer = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None
