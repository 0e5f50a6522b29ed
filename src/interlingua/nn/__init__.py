"""Mathematics as pure functions and small modules: losses, contrasts, graphs, sparse sums.

Not here: files, and options of a recipe.
"""
