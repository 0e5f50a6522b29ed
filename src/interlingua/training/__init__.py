"""The one training loop, its batches, its checkpoints and its record.

Not here: methods, and what a run is.
"""
