"""The dataset ``songs``: a generated world whose things are songs that people hear."""

from __future__ import annotations

from interlingua.data.datasets import NamedDataset
from interlingua.data.domain import Domain

SONGS = NamedDataset(
    name="songs",
    reader="planted",
    domain=Domain("song", "hear", "heard"),
    licence="generated, no rights reserved",
    url="",
    generated=True,
    about="a generated world of songs, for trying things out",
)
