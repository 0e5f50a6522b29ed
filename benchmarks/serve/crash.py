"""kill -9 under load, again and again: of what the service acknowledged nothing is lost, and nothing is there twice.

python benchmarks/serve/crash.py --run RUN --out RESULT.json
"""

from __future__ import annotations

import argparse
import http.client
import json
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from header import header
from servers import ask, served

from interlingua.store import Store

PER_ROUND = 4
"""clients of a round"""


def client(number: int, port: int, stop: threading.Event, out: dict[str, list[Any]]) -> None:
    """Events and items until the service is gone; what it said to have kept."""
    count = 0
    while not stop.is_set():
        count += 1
        name = f"{number}-{count}"
        batch = {"events": [{"user_id": f"u{name}", "item_id": "x", "value": n} for n in range(3)]}
        try:
            status, _ = ask(port, "/v1/events", batch | {"idempotency_key": name}, timeout=20)
            if status == 200:
                out["events"].append(f"u{name}")
                if count % 4 == 0:  # a client that saw no answer would send it again
                    ask(port, "/v1/events", batch | {"idempotency_key": name}, timeout=20)
            if count % 3 == 1:
                new = {"items": [{"item_id": f"i{name}", "title": "The Lost Nebula", "categories": "Space"}]}
                if ask(port, "/v1/items", new, timeout=20)[0] == 200:
                    out["items"].append(f"i{name}")
            ask(port, "/v1/recommend", {"user_id": f"u{name}", "k": 3}, timeout=20)
        except (OSError, http.client.HTTPException):
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, required=True, help="a finished run that reads texts")
    parser.add_argument("--out", type=Path, required=True, help="result JSON")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=1.0, help="of load before each kill")
    options = parser.parse_args()
    kept: dict[str, list[Any]] = {"events": [], "items": []}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "crash.sqlite"
        for time_ in range(options.times):
            stop = threading.Event()
            with served(options.run, "--store", str(place)) as service:
                clients = [
                    threading.Thread(target=client, args=(time_ * PER_ROUND + n, service.port, stop, kept))
                    for n in range(PER_ROUND)
                ]
                for each in clients:
                    each.start()
                time.sleep(options.seconds)
                service.process.send_signal(signal.SIGKILL)
                service.process.wait()
                stop.set()
                for each in clients:
                    each.join()
            print(time_ + 1, len(kept["events"]), len(kept["items"]), file=sys.stderr, flush=True)
        with Store.open(place) as store:
            of_user: dict[str, list[float | None]] = {}
            for event in store.events():
                of_user.setdefault(event.user_id, []).append(event.value)
            items = [item.item_id for item in store.changed_items()]
    lost = [user for user in kept["events"] if user not in of_user]
    wrong = [user for user, values in of_user.items() if sorted(values) != [0.0, 1.0, 2.0]]
    result = {
        **header(__file__),
        "kills": options.times,
        "acknowledged_event_batches": len(kept["events"]),
        "acknowledged_items": len(kept["items"]),
        "event_batches_lost": len(lost),
        "event_batches_not_whole_or_twice": len(wrong),
        "items_lost": len(set(kept["items"]) - set(items)),
        "items_twice": len(items) - len(set(items)),
    }
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result), file=sys.stderr)


if __name__ == "__main__":
    main()
