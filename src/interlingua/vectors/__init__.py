"""Tables of vectors with external ids: files, caches, and what is done to all rows of text vectors.

Not here: models that make vectors (backbones/, text/, lm/).
"""
