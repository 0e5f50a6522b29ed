"""Where what can be made or downloaded again is kept, across runs: datasets, converted models, measured abilities."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """``$INTERLINGUA_CACHE``, else ``$XDG_CACHE_HOME/interlingua``, else ``~/.cache/interlingua``."""
    own = os.environ.get("INTERLINGUA_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "interlingua"
