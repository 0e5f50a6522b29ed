"""The fixtures of the contract suite, for what is tested beside it."""

from interlingua.testing.conftest import (  # noqa: F401
    contract,
    folder,
    queries,
    small,
    supplied,
    table,
    texts,
    world,
)
