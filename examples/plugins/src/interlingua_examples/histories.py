"""The command ``interlingua histories DATA``: what the first users of a dataset did, in words."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import typer


def histories(
    data: Annotated[str, typer.Argument(help="A dataset's name, a file or a folder.")],
    users: Annotated[int, typer.Option(min=1, help="How many users are shown.")] = 3,
    last: Annotated[int, typer.Option(min=1, help="How many of each one's last events.")] = 5,
) -> None:
    """Print the last events of a dataset's first users."""
    from interlingua.data.prepare import prepare

    world = prepare(data, quiet=True)
    rows = np.arange(min(users, world.interactions.num_users))
    queries = world.interactions.queries(rows)
    for row in rows:
        titles = [world.catalogue.titles[item] for item in queries.history(row)[-last:]]
        typer.echo(f"{world.interactions.user_ids[row]}: {'; '.join(titles)}")
