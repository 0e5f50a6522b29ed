"""``interlingua shadow``: the request log asked again of two versions, and what interleaved lists say."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from interlingua.cli.options import AsJson, Device, StorePlace, Trust

if TYPE_CHECKING:
    from interlingua.life.interleaving import Preference
    from interlingua.life.shadow import Shadow


def shadow(
    old: Annotated[str, typer.Argument(help="Folder of a run, or a version of the store.")],
    new: Annotated[str, typer.Argument(help="The other one.")],
    store: StorePlace,
    limit: Annotated[int, typer.Option(min=1, help="The newest so many requests.")] = 1000,
    device: Device = "auto",
    trust: Trust = False,
    as_json: AsJson = False,
) -> None:
    """Ask two versions what users asked: overlap of lists, coverage, latency; and whom users prefer, if interleaved."""
    from interlingua.life.shadow import shadow as replayed
    from interlingua.life.versions import folder_of, open_store
    from interlingua.recommender import load

    with open_store(store) as opened:
        versions = [load(folder_of(name, opened), device, trust=trust, store=opened) for name in (old, new)]
        report = replayed(versions[0], versions[1], opened, limit=limit)
    print(json.dumps(report.to_json()) if as_json else rendered(report))


def rendered(report: Shadow) -> str:
    """The report for people."""
    lines = [
        f"{report.requests:,} requests, {report.old} -> {report.new} ({report.without:,} with a sentence left out)"
    ]
    shares = {"items in both lists": report.overlap, "overlap by rank (RBO)": report.ranked_overlap}
    shares |= {"equal lists": report.equal}
    lines += [f"  {name:<24} {'-' if value is None else f'{value:.4f}'}" for name, value in shares.items()]
    for version in (report.old, report.new):
        taken = ", ".join(f"{name} {ms:.1f} ms" for name, ms in report.latency_ms[version].items())
        said = f"coverage {report.coverage[version]:.3f}; refused {report.refused[version]:,}; {taken}"
        lines.append(f"  {version:<24} {said}")
    if report.preference is not None:
        lines.append(preferred(report.preference))
    return "\n".join(lines)


def preferred(found: Preference) -> str:
    """What interleaved lists say."""
    said = f"  interleaved: {found.lists:,} lists, {found.users_new:,} users for {found.new}, {found.users_old:,} for "
    said += f"{found.old}, {found.users_equal:,} for neither"
    if found.fraction is not None and found.interval is not None:
        low, high = found.interval
        said += f"; fraction {found.fraction:.3f} ({low:.3f} to {high:.3f}), p = {found.p:.3g}"
    return f"{said}: {found.verdict}"


COMMANDS = {"shadow": shadow}
