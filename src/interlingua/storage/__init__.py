"""Results as complete folders, hashes of their inputs, and durable writing.

Not here: the meaning of the results.
"""
