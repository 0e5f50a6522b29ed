"""A causal transformer over code tokens, which can go on from one history along many branches at once.

Blocks are pre-norm with a feed-forward part of 4 D and GELU.

Shape key: B rows, T tokens, N branches of a row, A codes of a branch before its last, H heads, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Read:
    """Keys and values of one block."""

    keys: Tensor
    """(B, H, T, D / H)"""
    values: Tensor
    """(B, H, T, D / H)"""

    def of_branches(self, places: Tensor) -> Read:
        """(B, H, N, D / H) those of the tokens ``places`` (B, N)."""
        index = places[:, None, :, None].expand(-1, self.keys.shape[1], -1, self.keys.shape[3])
        return Read(self.keys.gather(2, index), self.values.gather(2, index))


class DecoderBlock(nn.Module):
    """Attention and a feed-forward part."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.attention_norm, self.forward_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query_key_value = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.inner, self.outer = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)

    def _split(self, x: Tensor) -> tuple[Tensor, Read]:
        batch, width, dim = x.shape
        made = self.query_key_value(self.attention_norm(x)).view(batch, width, 3, self.heads, dim // self.heads)
        query, key, value = made.permute(2, 0, 3, 1, 4)
        return query, Read(key, value)

    def _joined(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = x + self._dropped(self.out(mixed.transpose(1, 2).reshape(x.shape)))
        inner = self._dropped(functional.gelu(self.inner(self.forward_norm(x))))
        made: Tensor = x + self._dropped(self.outer(inner))
        return made

    def _dropped(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training)

    def forward(self, x: Tensor) -> tuple[Tensor, Read]:
        """(B, T, D) -> (B, T, D), each token after itself and those before it; and what later tokens read."""
        query, read = self._split(x)
        drop = self.dropout if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, read.keys, read.values, dropout_p=drop, is_causal=True)
        return self._joined(x, mixed), read

    def branch(self, x: Tensor, history: Read, mask: Tensor, before: list[Read]) -> tuple[Tensor, Read]:
        """One more token for each of N branches of a row.

        Args:
            x: (B, N, D) the branches' last tokens.
            history: what the row's history left, T tokens.
            mask: (B, T) bool, tokens of the history that are there.
            before: A times, the branches' own tokens before, each (B, H, N, D / H).

        Returns:
            (B, N, D), and keys and values of these tokens.
        """
        query, own = self._split(x)
        scale = query.shape[-1] ** -0.5
        far = (query @ history.keys.transpose(2, 3) * scale).masked_fill(~mask[:, None, None], -torch.inf)
        near = torch.stack([(query * read.keys).sum(-1) * scale for read in (*before, own)], dim=-1)
        weights = torch.cat([far, near], dim=-1).softmax(-1)
        mixed = weights[..., : far.shape[-1]] @ history.values
        for number, read in enumerate((*before, own)):
            mixed = mixed + weights[..., far.shape[-1] + number, None] * read.values
        return self._joined(x, mixed), own


class CodeDecoder(nn.Module):
    """Blocks, and a norm behind the last one."""

    def __init__(self, dim: int, heads: int, blocks: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(DecoderBlock(dim, heads, dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Read]]:
        """States (B, T, D) of tokens (B, T, D), and what each block leaves for later tokens."""
        reads = []
        for block in self.blocks:
            x, read = block(x)
            reads.append(read)
        return self.norm(x), reads

    def branch(
        self, x: Tensor, history: list[Read], mask: Tensor, before: list[list[Read]]
    ) -> tuple[Tensor, list[Read]]:
        """States (B, N, D) of N branches' last tokens ``x``; per block ``history`` and A ``before``, see above."""
        reads = []
        for number, block in enumerate(self.blocks):
            assert isinstance(block, DecoderBlock)
            x, read = block.branch(x, history[number], mask, [step[number] for step in before])
            reads.append(read)
        return self.norm(x), reads
