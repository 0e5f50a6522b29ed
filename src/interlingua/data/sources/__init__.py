"""Readers of datasets: one file each, named by ``[data].name`` or found by a path.

Not here: nothing that several readers share: that lives in data/files.
"""
