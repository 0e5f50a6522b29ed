"""Vectors into a frozen language model, and scores from its states: maps, projectors, heads, score fusion.

Not here: components and their options (rankers/), the language models themselves (lm/). A room of its own because two
rankers and other people's share it: `nn/` knows no language model, `lm/` no items.
"""
