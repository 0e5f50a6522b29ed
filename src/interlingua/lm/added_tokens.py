"""A language model with more tokens: further rows of the input and the output embeddings, which learn by themselves.

The rows lie beside the model, whose own weights are not copied and stay as they are, or learn (``lm.adapters``). What
is read and predicted is that of a model whose two matrices have grown: probabilities are among all tokens, old and new.
Where a model has one matrix for both, so have the new rows.

Shape key: n tokens, V the model's own tokens, H input width, H' width of a state.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import torch
from torch import Tensor, nn
from torch.nn import functional

from interlingua.lm.models import LanguageModel

LOOKED_AT = 4096
"""rows of a matrix that say how long a new one shall be"""


class AddedTokens(nn.Module):
    """n new tokens; drawn by PyTorch's generator, as long as the model's own rows."""

    outputs: nn.Parameter | None
    """(n, H') rows of the output matrix; None: the model's matrices are one, and so are these"""

    def __init__(self, lm: LanguageModel, count: int) -> None:
        super().__init__()
        model: nn.Module = lm.model
        embedding = model.get_input_embeddings().weight  # type: ignore[operator]
        output = model.get_output_embeddings().weight  # type: ignore[operator]
        self.count, self.first = count, max(len(embedding), len(output))
        self.factor = _factor(lm, embedding)
        self.inputs = nn.Parameter(_drawn(embedding, count))
        self.outputs = None if output is embedding else nn.Parameter(_drawn(output, count))

    def ids(self, numbers: Tensor) -> Tensor:
        """Token ids of new tokens 0 to n - 1."""
        return numbers + self.first


@dataclass(frozen=True)
class Grown(LanguageModel):
    """A language model whose tokens from ``added.first`` on are new ones."""

    added: AddedTokens = field(kw_only=True)

    @classmethod
    def of(cls, lm: LanguageModel, added: AddedTokens) -> Grown:
        """The model ``lm``, grown; both share all weights."""
        return cls(**{each.name: getattr(lm, each.name) for each in fields(lm)}, added=added)

    def embed(self, ids: Tensor) -> Tensor:
        """(...,) token ids -> (..., H); gradients reach the new rows."""
        ids = ids.to(self.device)
        new = ids >= self.added.first
        own = super().embed(ids.masked_fill(new, 0))
        learned = functional.embedding((ids - self.added.first).clamp(min=0), self.added.inputs) * self.added.factor
        return torch.where(new[..., None], learned.to(own.dtype), own)

    def logits(self, states: Tensor) -> Tensor:
        """(..., H') hidden states -> (..., V + n) float32 logits."""
        matrix = self.added.inputs if self.added.outputs is None else self.added.outputs
        own = self.products(states)
        own = functional.pad(own, (0, self.added.first - own.shape[-1]), value=-torch.inf)
        return self.scaled(torch.cat([own, states.float() @ matrix.T], dim=-1))


def _drawn(matrix: Tensor, count: int) -> Tensor:
    """(count, width) normal rows of the median length of the rows of ``matrix``."""
    some = torch.linspace(0, len(matrix) - 1, min(LOOKED_AT, len(matrix))).long()
    length = matrix.detach()[some.to(matrix.device)].float().norm(dim=1).median()
    width = matrix.shape[1]
    return torch.randn(count, width, device=matrix.device) * (length / width**0.5)


@torch.no_grad()
def _factor(lm: LanguageModel, embedding: Tensor) -> float:
    """By what a row of the matrix is multiplied when it is read (Gemma: sqrt(H); most: 1)."""
    row = embedding.float().norm(dim=1).argmax()
    return round(float(lm.embed(row[None]).float().norm() / embedding[row].float().norm()), 4)
