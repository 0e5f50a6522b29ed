"""Requests to any language model, on a server or on this machine: pace, ledger, prices, answers.

Not here: anything about items or users.
"""
