"""Frozen language models and sentence encoders: found, loaded, probed, prompted, scored and continued.

Not here: vectors of users and items (injection/), servers (clients/).
"""
