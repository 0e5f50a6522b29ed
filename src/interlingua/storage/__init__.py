"""Results as folders that are whole or not there, hashes of what made them, and writing that survives.

Not here: what the results mean.
"""
