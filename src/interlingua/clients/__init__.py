"""Asking any language model for text, on a server or on this machine: pace, ledger, prices, answers.

Not here: nothing about items or users.
"""
