"""Comparisons that need many runs: which rows and scenarios, within which budget, and the tables that come of them.

Not here: what one run is (``runs/``), how two are compared (``evaluate/compare.py``), or scripts for results of ours
(``benchmarks/``).
"""
