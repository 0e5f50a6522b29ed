"""A process and its machine: equal bits from equal seeds, work that can be stopped, packages that are missing.

Not here: data, models.
"""
