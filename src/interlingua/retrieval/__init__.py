"""The best items that are allowed: exact and approximate top-k, positions of targets, retrieve then rerank.

Not here: anything that learns.
"""
