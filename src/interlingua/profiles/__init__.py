"""Item and user profiles, written by a language model from train interactions only.

Not here: no encoder of them.
"""
