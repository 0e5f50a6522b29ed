"""How long ``interlingua demo`` takes from an empty runs folder, stage by stage.

    python benchmarks/speed/demo.py --out benchmarks/speed/results/demo.json

The caches of models and texts are the user's own: a first run on a machine also converts the language model and encodes
the titles once.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from header import header


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="movielens-small")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    with TemporaryDirectory() as folder:
        command = ["demo", "--data", options.data, "--out", folder, "--report", f"{folder}/demo.html", "--json"]
        started = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-m", "interlingua.cli.main", *command], stdout=subprocess.PIPE, text=True, check=True
        )
        seconds = time.perf_counter() - started
        methods = json.loads(done.stdout)["methods"]
    result = {
        **header(__file__),
        "load_average_at_end": os.getloadavg()[0],
        "data": options.data,
        "minutes": round(seconds / 60, 1),
        "seconds": round(seconds, 1),
        "stages": {
            name: {stage: round(s, 1) for stage, s in method["seconds"].items()} for name, method in methods.items()
        },
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
