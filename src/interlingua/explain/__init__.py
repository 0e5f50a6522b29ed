"""Reasons: the history items that mattered, and sentences that state only known facts.

Not here: ranking.
"""
