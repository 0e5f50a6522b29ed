"""Readers of datasets: one file each, named by ``[data].name`` or found by a path.

Not here: parts that several readers share (data/files).
"""
