"""Options of attention: the heads share the width, so that their number divides it; said when a recipe is read."""

from __future__ import annotations

from typing import Self

from pydantic import model_validator

from interlingua.config import Config


class WithHeads(Config):
    """Parent of options with an ``embedding_dim`` and options of heads (``num_heads``, ``cross_heads``)."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        dim = int(vars(self)["embedding_dim"])
        for name in (each for each in type(self).model_fields if each.endswith("heads") and self.is_read(each)):
            if dim % (heads := int(vars(self)[name])):
                raise ValueError(f"embedding_dim = {dim} is not divisible by {name} = {heads}; change one of them")
        return self
