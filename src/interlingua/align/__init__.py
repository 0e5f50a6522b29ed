"""Ways to join the ID space with the text space: one file each.

Not here: what several share (nn/), the loop that trains them (training/).
"""
