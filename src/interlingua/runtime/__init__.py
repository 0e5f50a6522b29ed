"""A process and its machine: equal bits from equal seeds, work that can be stopped, packages that are missing.

Not here: data, models, files (storage/). A room of its own because every other one, `config.py` too, stands on it.
"""
