"""Results as folders that are whole or not there, hashes of what made them, and writing that survives.

Not here: nothing that knows what is stored.
"""
