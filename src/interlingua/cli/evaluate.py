"""``interlingua evaluate``: measure a finished run again, under other protocols or on the validation part."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from interlingua.cli.options import AsJson, Device, RunPath


def evaluate(
    run: RunPath,
    protocols: Annotated[
        list[str] | None, typer.Option("--protocol", help="full, sampled-N, rlmrec or hr-100. Repeatable.")
    ] = None,
    part: Annotated[str, typer.Option(help="test, or valid while options are being chosen.")] = "test",
    max_users: Annotated[int | None, typer.Option(help="A deterministic sample of the users.")] = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Measure a finished run; the new numbers are stored beside the old ones."""
    from interlingua import stages
    from interlingua.cli.run import print_metrics, summary
    from interlingua.config import build
    from interlingua.recipe import EvaluateConfig
    from interlingua.session import open_session

    session = open_session(run, device)
    changed = {"part": part, "max_users": max_users} | ({"protocols": protocols} if protocols else {})
    options = build(EvaluateConfig, {**session.recipe.evaluate.model_dump(), **changed}, "interlingua evaluate")
    session.done["evaluate"] = stages.reevaluate(session, options)
    result = summary(session)
    if as_json:
        print(json.dumps(result))
        return
    print_metrics(result)
    print(f"\nrun: {result['run']}")
