"""``interlingua forget``: delete a user from a store, and say where the user's data still are."""

from __future__ import annotations

import json
import shlex
from typing import Annotated

import typer

from interlingua.cli.options import AsJson, StorePlace


def forget(
    user: Annotated[str, typer.Argument(help="The user's id.")], store: StorePlace, as_json: AsJson = False
) -> None:
    """Delete a user's events, attributes and logged requests; say which versions were trained with the user.

    Running services drop the events before their next answer. Folders of versions stay: see versions --prune.
    """
    from interlingua.errors import shown
    from interlingua.life.folders import holding
    from interlingua.life.versions import open_store, served

    with open_store(store) as opened:
        gone, place = opened.forget(user_id=user), opened.place.removeprefix("sqlite:///")
        left, now = holding(opened, user), served(opened)
    serves = now is not None and now.version in left
    if as_json:
        print(json.dumps({"user": user, "store": place, "deleted": gone, "versions": left, "serves": serves}))
        return
    print(f"deleted {gone:,} entries of the user {shown(user)} from the store {place}")
    if not left:
        print(f"no version was trained with the user {shown(user)}")
        return
    print(f"versions that were trained with the user {shown(user)}: {', '.join(left)}")
    option = (
        "--store STORE" if "://" in place else f"--store {shlex.quote(place)}"
    )  # a URL is shown without its password
    if serves and now is not None:
        print(
            f"{now.version} serves. Where the user is in the source of its data, too, delete that first; then\n"
            f"  interlingua refresh {option}"
        )
    print(f"delete the folders with\n  interlingua versions {option} --prune --user {shlex.quote(user)}")


COMMANDS = {"forget": forget}
