"""From bytes to frames: encodings, columns, dates, times, parquet and the authors' pickles.

Not here: datasets by name (data/sources).
"""
