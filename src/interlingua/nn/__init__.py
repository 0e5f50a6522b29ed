"""Mathematics as pure functions and small modules: losses, contrasts, graphs, sparse sums.

Not here: nothing that reads options of a recipe or files.
"""
