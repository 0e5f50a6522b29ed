"""How events are divided into train, valid and test: one split per file, named by its file.

Not here: the options (``data/split_options.py``), or what follows from the parts (``data/splitting.py``).
"""
