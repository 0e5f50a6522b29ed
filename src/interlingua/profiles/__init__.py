"""Item and user profiles, written by a language model from train interactions only.

Not here: the language model itself (clients/), encoders of what it writes (text/).
"""
