"""Reasons: which history items mattered, and sentences that say only what is known.

Not here: what ranks.
"""
