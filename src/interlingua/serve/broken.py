"""What is logged of an exception."""

from __future__ import annotations

import traceback
from typing import Any

FRAMES = 6
"""places of a traceback that are logged"""


def broken(error: BaseException) -> dict[str, Any]:
    """What is logged of an exception: its type and where it came from, innermost first; not what it says."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    at = [f"{'/'.join(each.filename.rsplit('/', 2)[-2:])}:{each.lineno} {each.name}" for each in reversed(frames)]
    return {"error": type(error).__name__, "at": at}
