"""Language models that rank: one file each.

Not here: what is no ranker's own: vectors into a language model (injection/), the models (lm/).
"""
