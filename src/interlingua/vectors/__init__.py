"""Tables of vectors with external ids: files, caches, and operations on all text vectors.

Not here: models that make vectors (backbones/, text/, lm/).
"""
