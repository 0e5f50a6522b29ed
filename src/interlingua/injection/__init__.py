"""How vectors enter a frozen language model and how its states become scores: maps, projectors, heads, mixtures.

Not here: no component: those are in rankers/.
"""
