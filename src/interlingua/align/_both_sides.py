"""What aligners do for items, and for users where the backbone has a table of them.

Shape key: n rows of a side, D width of the backbone's inputs, T text width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from torch import Tensor

from interlingua.align._profile_map import need_users, needed
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.batch import Embeddings, Side
from interlingua.contracts.text import Text


def texts_for(backbone: Backbone, text: Text | None, name: str) -> Text:
    """The text source, with user vectors where the backbone has a user table.

    Raises:
        ConfigError: there is none, or it has no user vectors.
    """
    source = needed(text, name)
    if backbone.input_embeddings().users is not None:
        need_users(source, name)
    return source


def plus_texts(inputs: Embeddings, text: Text | None, name: str, adapt: Callable[[Tensor, Side], Tensor]) -> Embeddings:
    """ID vectors plus adapted texts; for users too if there is a user table.

    Args:
        inputs: the backbone's (n, D).
        text: must have user vectors where ``inputs`` have.
        name: the aligner's, for messages.
        adapt: from texts (n, T) of a side to (n, D).
    """
    source, users = needed(text, name), inputs.users
    if users is not None:
        need_users(source, name)
        users = users + adapt(source.rows("users"), "users")
    return Embeddings(users, inputs.items + adapt(source.rows("items"), "items"))


def summed(sides: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Losses of several sides by name, added where both have one."""
    sums: dict[str, Tensor] = {}
    for losses in sides:
        for name, value in losses.items():
            sums[name] = sums[name] + value if name in sums else value
    return sums
