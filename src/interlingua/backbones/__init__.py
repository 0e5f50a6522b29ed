"""Collaborative-filtering models and simple baselines: one file each."""
