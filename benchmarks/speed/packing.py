"""Whether joining prompts to one sequence (`lm/packed.py`) is worth it: a training step with it and without.

Same model, users and projectors as in `llm.py`, one thread, CPU seconds, the two sides alternate; the gradients of both
must agree.

python benchmarks/speed/packing.py --rounds 3
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from unittest.mock import patch

import numpy as np
import torch

from interlingua.lm.load import load
from interlingua.lm.prompt import compile_template
from llm import MOVIE, Projectors, World, ours_train


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=4, help="users of a step")
    parser.add_argument("--precision", default="fp32")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    lm, world = load(options.model, precision=options.precision), World(10, 20)
    nets = Projectors(lm.hidden_size)
    compiled = compile_template("next-item", lm, world.titles, MOVIE, slots={"user", "item"})
    still = torch.optim.SGD(nets.parameters(), lr=0.0)  # both sides meet the same weights

    def step(rows: np.ndarray, packs: bool) -> tuple[float, torch.Tensor]:
        able = packed.can_pack if packs else lambda *_: False
        started = time.process_time()
        with patch.object(packed, "can_pack", able):
            ours_train(lm, compiled, world, nets, still, rows)
        taken = time.process_time() - started
        return taken, torch.cat([p.grad.flatten().clone() for p in nets.parameters()])

    step(np.arange(1), True), step(np.arange(1), False)
    taken: dict[str, list[float]] = {"packed": [], "padded": []}
    apart = []
    for number in range(options.rounds):
        rows = np.arange(number * options.batch, (number + 1) * options.batch) % 256
        (packed, one), (padded, other) = step(rows, True), step(rows, False)
        taken["packed"].append(packed)
        taken["padded"].append(padded)
        apart.append(float((one - other).norm() / other.norm()))
    medians = {name: statistics.median(values) for name, values in taken.items()}
    print(
        json.dumps(
            {
                "precision": options.precision,
                "batch": options.batch,
                "cpu_seconds": {name: [round(v, 2) for v in values] for name, values in taken.items()},
                "times_faster": round(medians["padded"] / medians["packed"], 2),
                "gradients_apart": max(apart),
            }
        )
    )


if __name__ == "__main__":
    main()
