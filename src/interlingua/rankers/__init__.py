"""Language models that rank: one file each.

Not here: what several share (injection/, lm/).
"""
