"""One section of a recipe, resolved."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Section:
    """The class that a section names and its checked options."""

    kind: str
    name: str
    cls: Any
    config: Any

    def options(self) -> dict[str, Any]:
        """The section as plain values, defaults included."""
        return {"name": self.name, **self.config.model_dump(mode="json")}
