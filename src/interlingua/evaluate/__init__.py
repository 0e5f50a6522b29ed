"""Honest measurement: metrics, protocols, slices, intervals, paired tests.

Not here: folders of runs (runs/), pages and charts (report/).
"""
