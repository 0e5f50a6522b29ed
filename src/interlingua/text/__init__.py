"""Item and user texts as vectors: one encoder per file.

Not here: the models behind them (lm/), tables and caches of vectors (vectors/), profiles (profiles/).
"""
