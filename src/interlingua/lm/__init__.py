"""Frozen language models and sentence encoders: found, loaded, probed, prompted, scored and continued.

Not here: no recommender.
"""
