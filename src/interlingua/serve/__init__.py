"""Recommendations over HTTP: the application, its limits, its queue and its counts.

Not here: anything that ranks or reads a run's files (recommender).
"""
