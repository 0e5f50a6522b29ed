"""Interactions and item texts: filters, splits, queries, the prepared dataset.

Not here: opening files (data/files), datasets by name (data/sources), batches (training/).
"""
