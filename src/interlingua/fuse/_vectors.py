"""The vectors of a sum of standardised scores: the members' vectors, concatenated.

Shape key: M members, B queries, I items, D a member's width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from interlingua.contracts.scorer import Scorer, Towers
from interlingua.data.queries import Queries


def joined_towers(
    members: Sequence[Scorer],
    factors: Tensor,
    user_factors: Tensor | None = None,
    of_users: Callable[[Queries], Tensor] | None = None,
    constants: Tensor | None = None,
    neutral: Tensor | None = None,
) -> Towers | None:
    """Vectors whose products are ``sum_m (factors + user_factors * user) z_m + constants``, z standardised per query.

    A score of a query is centred by centring the items, and has its spread from their covariance: both cost nothing at
    query time.

    Args:
        members: all must score by products of vectors, else there is nothing to join.
        factors: (M, I) of each member's scores.
        user_factors: (M,) of what ``of_users`` says, (B,) of the queries.
        of_users: with ``user_factors`` only.
        constants: (I,) added.
        neutral: (M, I) bool: items of which a member says nothing; they count as average.

    Returns:
        The vectors, or None where a member has none or only ranks in the order of its products.
    """
    towers = [member.towers() for member in members]
    if any(each is None or not each.exact for each in towers):
        return None
    tables, spreads = [], []
    for number, each in enumerate(towers):
        assert each is not None
        table = each.items.detach().float()
        if each.bias is not None:
            table = torch.cat([table, each.bias.detach().float()[:, None]], dim=1)
        table = table - table.mean(0)
        spreads.append(table.T @ table / max(len(table), 1))
        if neutral is not None:
            table = table.masked_fill(neutral[number][:, None], 0.0)
        tables.append(table)
    by_user = user_factors is not None and bool(user_factors.any())
    items = [table * factor[:, None] for table, factor in zip(tables, factors, strict=True)]

    @torch.no_grad()
    def users(queries: Queries) -> Tensor:
        found = []
        for each, spread in zip(towers, spreads, strict=True):
            assert each is not None
            query = each.users(queries).float()
            if each.bias is not None:
                query = torch.cat([query, query.new_ones(len(query), 1)], dim=1)
            width = torch.einsum("bd,de,be->b", query, spread, query).clamp(min=0).sqrt()
            found.append(query / torch.where(width > 0, width, 1.0)[:, None])
        if by_user:
            assert of_users is not None
            assert user_factors is not None
            known = of_users(queries)
            found += [each * (factor * known)[:, None] for each, factor in zip(found, user_factors, strict=True)]
        return torch.cat(found, dim=1)

    return Towers(users, torch.cat([*items, *(tables if by_user else [])], dim=1), constants)


def either_towers(usual: Towers, other: Towers, takes_other: Callable[[Queries], Tensor]) -> Towers:
    """Vectors whose products are those of ``other`` for the queries that ``takes_other`` names, else of ``usual``.

    Both stand side by side, biases as columns of their own; columns of zeros are left out.

    Args:
        usual: of most queries.
        other: of the rest.
        takes_other: queries -> (B,) bool.
    """
    first, second = usual.folded(), other.folded()
    used = second.items.abs().amax(dim=0) > 0

    @torch.no_grad()
    def users(queries: Queries) -> Tensor:
        rest = takes_other(queries)[:, None]
        left, right = first.users(queries), second.users(queries)[:, used]
        return torch.cat([left.masked_fill(rest, 0.0), right.masked_fill(~rest, 0.0)], dim=1)

    return Towers(users, torch.cat([first.items, second.items[:, used]], dim=1))
