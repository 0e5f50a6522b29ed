"""Ways to join the scores of several runs: one file each.

Not here: how members are run and stored (runs/), fusions inside one ranker (injection/).
"""
