"""How vectors enter a frozen language model and how its states become scores: maps, projectors, heads, mixtures.

Not here: components (rankers/), the language models themselves (lm/).
"""
