"""Frozen language models and sentence encoders: finding, loading, probing, prompts, scores and generation.

Not here: vectors of users and items (injection/), servers (clients/).
"""
