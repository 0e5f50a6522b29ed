"""Interactions and item texts: filters, splits, queries, what a prepared dataset is.

Not here: how files are opened (data/files), datasets by name (data/sources), batches (training/).
"""
