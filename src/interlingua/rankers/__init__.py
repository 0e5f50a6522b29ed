"""Language models that rank: one file each.

Not here: nothing that several share: that lives in injection/ and lm/.
"""
