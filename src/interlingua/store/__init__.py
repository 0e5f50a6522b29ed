"""What a service remembers: items, events, users, versions of models and requests, in SQLite or Postgres.

Not here: what a model does with it, HTTP, and the folders of runs (``storage/``).
"""

from interlingua.store.records import Event, EventColumns, Item, Logged, ModelVersion, Promotion, User
from interlingua.store.sampling import sampled
from interlingua.store.steps import steps
from interlingua.store.store import Store

__all__ = [
    "Event", "EventColumns", "Item", "Logged", "ModelVersion", "Promotion", "Store", "User", "sampled", "steps",
]  # fmt: skip
