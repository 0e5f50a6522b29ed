"""Ways to join the ID space with the text space: one file each.

Not here: parts that several of them share (nn/), the training loop (training/).

The package is a function too: ``interlingua.align(items, users=None, catalogue=None, interactions=None)`` makes a
recommender from vectors of any origin; ``help(interlingua.align.__call__)`` lists its arguments.
"""

import sys

from interlingua.align._callable import CallableRoom

sys.modules[__name__].__class__ = CallableRoom
