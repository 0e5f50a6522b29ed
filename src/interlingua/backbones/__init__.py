"""Collaborative-filtering models and simple baselines: one file each.

Not here: losses and graphs (nn/), batches and the loop (training/).
"""
