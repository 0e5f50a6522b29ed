"""Hugging Face datasets: ``datasets.load_dataset(FOLDER, "interactions")``, and ``"items"``; ready to be pushed.

Parquet below ``interactions/`` and ``items/``, and a card whose head names them. The licence is the source's own:
whether it may be pushed is yours to see.
"""

from __future__ import annotations

import json
from pathlib import Path

from interlingua.data.prepared import Dataset
from interlingua.data.writers.parts import part_tables

SPLITS = {"train": "train", "valid": "validation", "test": "test"}


def write(data: Dataset, folder: Path) -> None:
    """Writes the tables and the card."""
    for name in ("interactions", "items"):
        (folder / name).mkdir()
    for name, events in part_tables(data):
        events.write_parquet(folder / "interactions" / f"{SPLITS[name]}.parquet")
    data.catalogue.items.write_parquet(folder / "items" / "train.parquet")
    card = data.card
    head = ["---", "configs:", "- config_name: interactions", "  default: true", "  data_files:"]
    for split in SPLITS.values():
        head += [f"  - split: {split}", f"    path: interactions/{split}.parquet"]
    head += ["- config_name: items", "  data_files: items/train.parquet", "---", ""]
    said = {"split": data.split.protocol, "licence": card.get("licence"), "url": card.get("url")}
    body = [f"# {card['name']}", "", *(f"- {key}: {value}" for key, value in said.items() if value)]
    body += [f"- {key}: {value:,}" for key, value in card["counts"].items()]
    body += ["", "How it was prepared:", "", "```json", json.dumps(card.get("steps"), indent=1, default=str), "```", ""]
    (folder / "README.md").write_text("\n".join([*head, *body]), encoding="utf-8")
