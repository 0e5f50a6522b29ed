"""The page of a saved model: README.md with the front matter that the Hugging Face hub reads."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from interlingua.config import to_toml
from interlingua.errors import install_command
from interlingua.runs.neighbours import NEAREST_FILE
from interlingua.runs.opening import models_of
from interlingua.runs.portable import is_model_here, model_name, recipe_to_save, without_places
from interlingua.runs.session import Session
from interlingua.runs.trust import of_run
from interlingua.storage.artifact import Artifact
from interlingua.storage.contents import hub_name_and_commit

TAGS = ["recommender-systems", "collaborative-filtering", "interlingua"]
DECIMALS = 4
STORED_TABLES = re.compile(r"frames?(-[0-9a-f]{12})?")
"""names that tables in memory have as a source (:mod:`interlingua.data.memory`)"""
OWN_TABLES = "own data"


def needs_of(session: Session) -> dict[str, Any]:
    """What the model needs from outside: extras, language models, and what requires trust."""
    models = [
        {"option": option, "name": model_name(name) if is_model_here(name) else name, "identity": identity}
        for each in (session, *session.members)
        for option, name, identity in models_of(each.recipe, each.done)
    ]
    extras = {"text" if each["option"].startswith("text") else "llm" for each in models}
    return {"extras": sorted(extras), "models": models, "trust": of_run(recipe_to_save(session.recipe))}


def front_page(session: Session, made: Artifact, *, events: bool, license: str | None, name: str) -> str:
    """README.md.

    Args:
        session: the run.
        made: the saved copy of its evaluate stage.
        events: whether users and events are inside.
        license: of the model, as the hub writes licences.
        name: of the model; ``owner/name`` is what its three lines of use open, and of a folder where it lies.
    """
    measured = json.loads((made.path / "metrics.json").read_text(encoding="utf-8"))
    card, ids = session.data.card, session.data.split.train.item_ids
    counts = {k: v for k, v in card.get("counts", {}).items() if k in ("users", "items", "events")}
    needs = needs_of(session)
    page = _template().render(
        front=_front(session, measured, license, name),
        name=name,
        reference=name if "/" in name else f"path/to/{name}",
        history=[json.dumps(str(each), ensure_ascii=False)[1:-1] for each in ids[:2]],
        events=events,
        neighbours=(made.path / NEAREST_FILE).is_file(),
        needs=needs,
        install=install_command(*needs["extras"]),
        recipe=session.recipe.name,
        seed=session.seed,
        stages=list(_stages(session)),
        toml=to_toml(recipe_to_save(session.recipe)).strip(),
        data={
            "name": dataset_name(card),
            "counts": ", ".join(f"{count:,} {word}" for word, count in counts.items()),
            "licence": card.get("licence"),
            "url": card.get("url"),
        },
        measured=[_table(report) for report in measured.values()],
        versions=", ".join(f"{package} {version}" for package, version in _versions(session).items()),
    )
    return page.rstrip() + "\n"


def dataset_name(card: Mapping[str, Any]) -> str:
    """What the data are called; of tables that came from memory, stored under a hash, that they are the maker's own."""
    name = str(without_places(str(card["name"])))
    return OWN_TABLES if STORED_TABLES.fullmatch(name) else name


def _template() -> Any:
    templates = Environment(
        loader=PackageLoader("interlingua.runs"),
        autoescape=False,  # Markdown, not HTML: its reader escapes
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return templates.get_template("model_card.md")


def _front(session: Session, measured: Mapping[str, Any], license: str | None, name: str) -> str:
    """YAML, each value in the form of JSON."""
    recipe, data = session.recipe, dataset_name(session.data.card)
    parts = (recipe.backbone, recipe.text, recipe.align, recipe.ranker, recipe.fuse)
    hubs = {hub_name_and_commit(each["identity"]) for each in needs_of(session)["models"]} - {None}
    results = [
        {"type": metric, "name": f"{metric} ({protocol})", "value": round(value, DECIMALS)}
        for protocol, report in measured.items()
        for metric, value in report["metrics"].items()
        if isinstance(value, int | float) and math.isfinite(value)
    ]
    front: dict[str, Any] = {"library_name": "interlingua"}
    if license is not None:
        front["license"] = license
    front["tags"] = [*TAGS, *dict.fromkeys(part.name for part in parts if part is not None)]
    if hubs:
        front["base_model"] = sorted(hub[0] for hub in hubs if hub is not None)
    if results:
        task = {"type": "recommendation", "name": "Recommendation"}
        result = {"task": task, "dataset": {"type": data, "name": data}, "metrics": results}
        front["model-index"] = [{"name": name.rsplit("/", 1)[-1], "results": [result]}]
    return "\n".join(f"{key}: {json.dumps(value, ensure_ascii=False)}" for key, value in front.items())


def _stages(session: Session) -> Iterator[dict[str, str]]:
    for kind, stage in session.done.items():
        if stage.kind in ("prepare", "evaluate"):
            continue
        entries = {entry: stage.card.get(entry) for entry in ("parameters", "epochs")}
        shown = {entry: f"{value:,}" if isinstance(value, int) else "–" for entry, value in entries.items()}
        yield {"kind": kind, "name": str(stage.card["name"]), **shown}


def _table(report: Mapping[str, Any]) -> dict[str, Any]:
    rows = []
    for metric, value in report["metrics"].items():
        low, high = report["intervals"].get(metric, (math.nan, math.nan))
        between = f"{low:.{DECIMALS}f} to {high:.{DECIMALS}f}" if math.isfinite(low) and math.isfinite(high) else "–"
        rows.append({"name": metric, "value": f"{value:.{DECIMALS}f}", "interval": between})
    users = f"{report['n_users']:,}"
    return {"part": report["part"], "protocol": report["protocol"], "users": users, "rows": rows}


def _versions(session: Session) -> dict[str, str]:
    """Versions of the packages with which the last trained stage was made."""
    stage = [each for each in session.done.values() if each.kind != "evaluate"][-1]
    found = stage.card.get("versions")
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}
