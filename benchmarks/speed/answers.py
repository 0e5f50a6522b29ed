"""What a training answer of a likelihood reader costs: the authors' procedure, ours with equal losses, ours with more.

The plain side is that of `llm.py`: batches of 4 users, padded, the whole prompt (10 titles, 20 candidates), logits at
every place. Ways with the same loss and gradient of each answer: prompts packed without padding, logits at answers only
(`exact`), and the same in bfloat16, which processors with AMX or AVX512-BF16 multiply several times faster. Other ways
of training (options of ours): several of the user's next items among the candidates of one prompt, each an answer
(`ranker.answers_per_prompt`), and a history read as text in which every title is an answer (`title-sequence`).

All ways take turns in one process, one thread, CPU seconds; a round is a ratio to the plain side of the same round.

python benchmarks/speed/answers.py --rounds 3 --out benchmarks/speed/results/answers.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from header import header
from torch import Tensor

from interlingua.lm.likelihood import target_log_likelihood
from interlingua.lm.load import load
from interlingua.lm.models import LanguageModel
from interlingua.lm.packed import states_at
from interlingua.lm.prompt import compile_template, embed_prompts
from interlingua.lm.several_answers import answers_log_likelihood
from interlingua.lm.token_loss import token_log_likelihood
from llm import MOVIE, Plain, Projectors, World, ours_prompts, timed

Step = Callable[[np.ndarray], Tensor]
"""users of a step -> the mean loss over the tokens of their answers"""


def exact(lm: LanguageModel, world: World, nets: Projectors) -> Step:
    """One answer a prompt, as the plain side."""
    compiled = compile_template("next-item", lm, world.titles, MOVIE, slots={"user", "item"})

    def loss(rows: np.ndarray) -> Tensor:
        embeds, mask = ours_prompts(lm, compiled, world, nets, rows)
        ids, lengths = compiled.target_ids(world.targets[rows])
        return -target_log_likelihood(lm, embeds, mask, ids, lengths).sum() / float(lengths.sum())

    return loss


def several(lm: LanguageModel, world: World, nets: Projectors, answers: int) -> Step:
    """The first candidates are answers."""
    compiled = compile_template("next-item", lm, world.titles, MOVIE, slots={"user", "item"})

    def loss(rows: np.ndarray) -> Tensor:
        embeds, mask = ours_prompts(lm, compiled, world, nets, rows)
        ids, lengths = compiled.target_ids(world.candidates[rows, :answers].ravel())
        lengths = lengths.reshape(len(rows), answers)
        found = answers_log_likelihood(lm, embeds, mask, ids.reshape(*lengths.shape, -1), lengths)
        return -found.sum() / float(lengths.sum())

    return loss


def as_text(lm: LanguageModel, world: World, nets: Projectors, titles: int) -> Step:
    """A text of ``titles`` + 1 titles with their vectors, of which all but the first are answers."""
    compiled = compile_template("title-sequence", lm, world.titles, MOVIE, slots={"item"})
    rng = np.random.default_rng(1)

    def loss(rows: np.ndarray) -> Tensor:
        windows = np.stack([rng.permutation(len(world.titles))[: titles + 1] for _ in rows])
        prompts = compiled.assemble(windows)
        embeds = embed_prompts(lm, prompts, items=nets.item(world.item_vectors[prompts.item_indices]))
        _, lengths = compiled.target_ids(windows[:, 1:].ravel(), eos=False)
        inner = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        places = np.repeat(compiled.entry_spans(windows)[0][:, 1:].ravel(), lengths) + inner
        owners = np.repeat(np.repeat(np.arange(len(rows)), titles), lengths)
        tokens = prompts.input_ids[owners, prompts.input_ids.shape[1] - prompts.lengths[owners] + places]
        states = states_at(
            lm, embeds, torch.as_tensor(prompts.attention_mask), torch.as_tensor(owners), torch.as_tensor(places - 1)
        )
        return -token_log_likelihood(lm, states, torch.as_tensor(tokens)).mean()

    return loss


def _has(name: str) -> bool:
    return bool(getattr(torch.cpu, f"_is_{name}_supported", bool)())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=4, help="users of a step (the paper: 4)")
    parser.add_argument("--answers", type=int, nargs="+", default=[5, 10], help="of one prompt")
    parser.add_argument("--titles", type=int, default=20, help="answers of a text")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    wide, narrow = load(options.model, precision="fp32", device="cpu"), load(
        options.model, precision="bf16", device="cpu"
    )  # fmt: skip
    world = World(10, 20)
    nets = Projectors(wide.hidden_size)
    still = torch.optim.SGD(nets.parameters(), lr=0.0)  # all ways meet the same weights
    plain = {"plain, float32": Plain(wide, world, nets), "plain, bfloat16": Plain(narrow, world, nets)}
    ours: dict[str, tuple[Step, int]] = {
        "exact, float32": (exact(wide, world, nets), 1),
        "exact, bfloat16": (exact(narrow, world, nets), 1),
    }
    for count in options.answers:
        ours[f"{count} answers a prompt, bfloat16"] = several(narrow, world, nets, count), count
    ours[f"history as text, {options.titles} titles, float32"] = (
        as_text(wide, world, nets, options.titles),
        options.titles,
    )
    ours[f"history as text, {options.titles} titles, bfloat16"] = (
        as_text(narrow, world, nets, options.titles),
        options.titles,
    )

    def step(name: str, rows: np.ndarray) -> None:
        if name in plain:
            plain[name].train(still, rows)
            return
        still.zero_grad()
        ours[name][0](rows).backward()

    names = [*plain, *ours]
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    slopes: dict[str, Tensor] = {}
    apart: list[float] = []
    for name in names:
        step(name, np.arange(250, 251))  # warm
    for number in range(options.rounds):
        rows = np.arange(number * options.batch, (number + 1) * options.batch) % 250
        for name in names:
            taken[name].append(timed(lambda name=name, rows=rows: step(name, rows)))
            if name.startswith("exact"):
                slopes[name] = torch.cat([p.grad.flatten().clone() for p in nets.parameters()])
        one, other = slopes["exact, bfloat16"], slopes["exact, float32"]
        apart.append(float((one - other).norm() / other.norm()))
        print(f"round {number + 1}: " + ", ".join(f"{n} {taken[n][-1][0]:.2f}" for n in names), flush=True)
    per_step = {name: options.batch * (1 if name in plain else ours[name][1]) for name in names}
    base = [cpu / options.batch for cpu, _ in taken[names[0]]]
    rows_out: list[dict[str, Any]] = []
    for name in names:
        cpu = [seconds / per_step[name] for seconds, _ in taken[name]]
        ratios = [plainly / own for plainly, own in zip(base, cpu, strict=True)]
        rows_out.append(
            {
                "way": name,
                "cpu_s_per_answer": round(statistics.median(cpu), 4),
                "wall_s_per_answer": round(statistics.median(wall for _, wall in taken[name]) / per_step[name], 4),
                "times_cheaper": round(statistics.median(ratios), 1),
                "least": round(min(ratios), 1),
                "most": round(max(ratios), 1),
            }
        )
    result = {
        **header(__file__),
        "model": options.model,
        "titles": world.source,
        "users_of_a_step": options.batch,
        "threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 2),
        "processor_has": [name for name in ("amx_tile", "avx512_bf16") if _has(name)],
        "gradient_in_bfloat16_apart": round(max(apart), 3),
        "rows": rows_out,
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
