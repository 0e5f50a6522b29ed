"""How vectors enter a frozen language model and how its states become scores: maps, projectors, heads, mixtures.

Not here: components and their options (rankers/), the language models themselves (lm/). A room of its own because two
rankers and other people's share it: `nn/` knows no language model, `lm/` no items.
"""
