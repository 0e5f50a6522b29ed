"""Choosing a recipe's options on the validation part: a search space, trials in a study that can be gone on with.

Not here: what one run is (``runs/``), comparisons of methods (``bench/``), or anything that reads the test part.
"""
