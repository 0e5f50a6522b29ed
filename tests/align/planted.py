"""A small generated world whose texts know more than its few events."""

from __future__ import annotations

from dataclasses import dataclass

from interlingua.contracts.batch import Embeddings
from interlingua.data.prepared import Dataset
from interlingua.data.sources.planted import generate
from interlingua.text.lsa import Lsa, LsaConfig
from interlingua.vectors.fields import item_texts, user_texts
from interlingua.vectors.frozen import FrozenRows
from interlingua.vectors.rows import finish_rows


@dataclass(frozen=True)
class Planted:
    """300 users with about five training events each, 80 items, texts of both sides."""

    data: Dataset
    tables: Embeddings

    def text(self, control: str = "none") -> FrozenRows:
        """Vectors of the texts, or those of a control (``shuffled``)."""
        config = LsaConfig.model_validate({"users": "texts", "control": control})
        made, _ = finish_rows(self.tables, self.data.split.train, config, 5)
        return FrozenRows(made.items, made.users)


def make() -> Planted:
    """The world, always the same."""
    data = generate(num_users=300, num_items=80, seed=3, history=6)
    config = LsaConfig(users="texts", dim=24)
    encoder = Lsa(config, item_texts(data.catalogue, config), user_texts=user_texts(data.catalogue, config))
    return Planted(data, Embeddings(encoder.rows("users"), encoder.rows("items")))
