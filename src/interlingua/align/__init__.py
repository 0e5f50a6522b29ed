"""Ways to join the ID space with the text space: one file each.

Not here: what several share (nn/), the loop that trains them (training/).

The package is a function too: ``interlingua.align(items, users=None, catalogue=None, interactions=None)`` makes a
recommender of vectors from anywhere; ``help(interlingua.align.__call__)`` has its arguments.
"""

import sys

from interlingua.align._callable import CallableRoom

sys.modules[__name__].__class__ = CallableRoom
