"""SR-GNN: a gated graph network over a session's items, read out by attention and the last item (Wu et al. 2019).

"Session-based Recommendation with Graph Neural Networks", AAAI 2019, arXiv 1811.00855. A session's distinct items are
nodes, each transition is a directed edge (section 3.2). After the network (eq. 1-5), v_p is the state of position p's
item, ``s_l`` that of the last, ``s_g = sum_p q' sigmoid(W1 s_l + W2 v_p + c) v_p`` (eq. 6), and
``s_h = W3 [s_l, s_g]`` (eq. 7) meets the item embeddings (eq. 8). The loss is cross-entropy over all items.

**Deviations:**
- A user's last ``max_history`` events are one session. An item that occurs twice counts twice in s_g, as in the
  authors' code; the formula's sum over n is one over events too.
- Edge weights are the paper's, occurrences divided by the degree; the authors' code counts a repeated one once
  (``edges = "once"``).
- Batches have rows of similar length. The step size is constant, where the paper's falls to a tenth after every third
  epoch; ``fit.schedule = "exponential"`` with ``fit.decay = 0.464`` falls as far, a little after every epoch.
- An empty history has the answer of zero states, the same for all.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from interlingua.backbones._session_graph import SessionGraphBackbone, SessionGraphOptions
from interlingua.data.interactions import Interactions


class SrGnnConfig(SessionGraphOptions):
    """Options of :class:`SrGnn`."""


class SrGnn(SessionGraphBackbone):
    """Attention over the items of a session, asked by the last one."""

    Config = SrGnnConfig

    def __init__(self, config: SrGnnConfig, train: Interactions) -> None:
        super().__init__(config, train)
        dim = config.embedding_dim
        self.of_last = nn.Linear(dim, dim, bias=False)
        self.of_each = nn.Linear(dim, dim)
        self.weight = nn.Linear(dim, 1, bias=False)
        self.joined = nn.Linear(2 * dim, dim, bias=False)

    def read_out(self, states: Tensor, last: Tensor, real: Tensor) -> Tensor:
        """(B, D) ``s_h`` (see :class:`SessionGraphBackbone`)."""
        weights = self.weight(torch.sigmoid(self.of_last(last)[:, None] + self.of_each(states))) * real[..., None]
        query: Tensor = self.joined(torch.cat([last, (weights * states).sum(1)], dim=1))
        return query
