"""The service under steady load for some minutes, with new events all the while: memory over time.

python benchmarks/serve/soak.py --run RUN --minutes 10 --out RESULT.json
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from header import header
from rates import bodies_of
from servers import ask, served
from wrk import load

EVERY_S = 10.0
"""between two looks at the memory"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True, help="result JSON")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=8)
    options = parser.parse_args()
    bodies, _ = bodies_of(options.run)
    seconds, found, rows = int(60 * options.minutes), dict[str, Any](), list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as folder, served(options.run, "--store", f"{folder}/s.sqlite") as service:
        thread = threading.Thread(
            target=lambda: found.update(load(service.port, "/v1/recommend", options.clients, seconds, bodies))
        )
        thread.start()
        began, events = time.monotonic(), 0
        while thread.is_alive():
            rows.append({"s": round(time.monotonic() - began), "events": events} | service.memory_mib())
            end = time.monotonic() + EVERY_S
            while time.monotonic() < end and thread.is_alive():
                user = bodies[events % 50]["user_id"]
                ask(service.port, "/v1/events", {"events": [{"user_id": user, "item_id": f"unknown-{events % 7}"}]})
                events += 1
                time.sleep(1)
        thread.join()
    first, last = rows[min(3, len(rows) - 1)], rows[-1]
    result = {**header(__file__), "minutes": options.minutes, "clients": options.clients}
    result |= {key: found[key] for key in ("requests", "rate", "p50_ms", "p99_ms", "refused", "broken", "timeouts")}
    result |= {"rss_mib_after_30_s": first["rss"], "rss_mib_at_the_end": last["rss"], "rows": rows}
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({key: value for key, value in result.items() if key != "rows"}), file=sys.stderr)


if __name__ == "__main__":
    main()
