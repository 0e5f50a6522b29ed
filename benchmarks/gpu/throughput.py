"""Speed on one device: its matrix peak, and training and scoring beside the authors' plain procedure.

Floating-point operations are counted for real tokens: 2 a weight of the layers forward, 2 more for the gradient of the
inputs (the weights are frozen), causal attention at half of its square, and the output matrix where a token is
predicted. Padding and logits that nobody needs count for nobody.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from interlingua.lm.load import hold
from interlingua.lm.models import LanguageModel
from interlingua.lm.prompt import CompiledTemplate, compile_template
from llm import MOVIE, Plain, Projectors, World, ours_score, ours_train


def wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def seconds_of(work: Callable[[], Any], device: str, at_least: float) -> float:
    """Wall seconds of one call, over as many as fill the given time; one before is not counted."""
    work()
    wait(device)
    started, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - started < at_least:
        work()
        wait(device)
        calls += 1
    return (time.perf_counter() - started) / calls


def peak(device: str, size: int, at_least: float) -> dict[str, Any]:
    """TFLOP/s of a square product in bfloat16, the best of three tries; ten products a call, one wait."""
    one, other = (torch.randn(size, size, device=device, dtype=torch.bfloat16) for _ in range(2))
    out = torch.empty_like(one)

    def ten() -> None:
        for _ in range(10):
            torch.mm(one, other, out=out)

    best = min(seconds_of(ten, device, at_least / 3) for _ in range(3))
    return {"size": size, "bf16_tflops": round(10 * 2 * size**3 / best / 1e12, 3)}


def flops(lm: LanguageModel, lengths: np.ndarray, predicted: int, backward: bool) -> float:
    """Operations that a pass over texts of the given lengths needs at least."""
    skipped = {
        id(p) for m in (lm.model.get_input_embeddings(), lm.model.get_output_embeddings()) for p in m.parameters()
    }
    weights = sum(p.numel() for p in lm.model.parameters() if id(p) not in skipped)
    width = int(lm.config.hidden_size)
    tokens, squares = float(lengths.sum()), float(np.square(lengths).sum())
    total = 2 * weights * tokens + 2 * lm.num_layers * width * squares + 2 * width * lm.config.vocab_size * predicted
    return total * (2 if backward else 1)


def compiled_for(lm: LanguageModel, world: World) -> CompiledTemplate:
    return compile_template("next-item", lm, world.titles, MOVIE, slots={"user", "item"})


def _row(seconds: float, users: int, needed: float, best: float | None) -> dict[str, Any]:
    row: dict[str, Any] = {"users_per_s": round(users / seconds, 2), "tflops": round(needed / seconds / 1e12, 4)}
    if best:
        row["share_of_peak"] = round(needed / seconds / 1e12 / best, 4)
    return row


def _rows(number: int, size: int) -> np.ndarray:
    return np.arange(number * size, (number + 1) * size) % 256


def training(
    lm: LanguageModel, device: str, batches: tuple[int, ...], at_least: float, best: float | None
) -> dict[str, Any]:
    """Answers a second of the paper's prompt: the plain procedure at the paper's batch of 4, ours at several."""
    torch.manual_seed(0)
    world = World(10, 20).to(device)
    nets = Projectors(lm.hidden_size).to(device)
    optimizer = torch.optim.Adam(nets.parameters(), lr=1e-4, betas=(0.9, 0.98))
    compiled = compiled_for(lm, world)
    lengths = compiled.lengths(world.histories, world.candidates)
    order = np.argsort(lengths, kind="stable")
    answers = compiled.target_ids(world.targets)[1]
    out: dict[str, Any] = {"tokens_of_a_prompt": round(float(lengths.mean()), 1)}

    def needed(rows: np.ndarray) -> float:
        return flops(lm, lengths[rows] + answers[rows] - 1, int(answers[rows].sum()), True)

    theirs = Plain(lm, world, nets)
    number = iter(range(1 << 30))
    seconds = seconds_of(lambda: theirs.train(optimizer, _rows(next(number), 4)), device, at_least)
    out["plain, batches of 4"] = _row(seconds, 4, needed(np.arange(256)) / 64, best)
    for size in batches:
        number = iter(range(1 << 30))

        def step(size: int = size, number: Any = number) -> None:
            ours_train(lm, compiled, world, nets, optimizer, order[_rows(next(number), size)])

        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        seconds = seconds_of(step, device, at_least)
        out[f"ours, batches of {size}"] = _row(seconds, size, needed(np.arange(256)) * size / 256, best)
        if device == "cuda":
            out[f"ours, batches of {size}"]["peak_memory_gib"] = round(torch.cuda.max_memory_allocated() / 2**30, 2)
    first = out["plain, batches of 4"]["users_per_s"]
    out["times_faster"] = round(max(out[f"ours, batches of {b}"]["users_per_s"] for b in batches) / first, 2)
    return out


@torch.no_grad()
def scoring(
    lm: LanguageModel, device: str, batches: tuple[int, ...], at_least: float, best: float | None, generated: int
) -> dict[str, Any]:
    """Users a second: 20 candidates ordered exactly, beside one title generated freely (``generated`` 0: left out)."""
    torch.manual_seed(0)
    world = World(10, 20).to(device)
    nets = Projectors(lm.hidden_size).to(device).eval()
    compiled = compiled_for(lm, world)
    lengths = compiled.lengths(world.histories, world.candidates)
    _, answers = compiled.target_ids(world.candidates.ravel())
    every = answers.reshape(world.candidates.shape).sum(1)
    needed = flops(lm, lengths, int(every.sum()), False) + flops(lm, every[:, None], 0, False)
    out: dict[str, Any] = {}
    for size in batches:
        number = iter(range(1 << 30))

        def score(size: int = size, number: Any = number) -> None:
            ours_score(lm, compiled, world, nets, _rows(next(number), size))

        seconds = seconds_of(score, device, at_least)
        out[f"ours, {size} users at once"] = _row(seconds, size, needed * size / 256, best)
    if generated:
        theirs = Plain(lm, world, nets)
        started = time.perf_counter()
        theirs.score(_rows(0, 2), generated)
        wait(device)
        out["plain, 2 users at once"] = {
            "users_per_s": round(2 / (time.perf_counter() - started), 3), "tokens_generated": theirs.generated[-1],
        }  # fmt: skip
    return out


def opt_shape(device: str, tokenizer: Any, tiny: bool) -> LanguageModel:
    """OPT-6.7B's shape with random weights in bfloat16 (tiny: two narrow layers): speed and memory, no quality."""
    import transformers

    sizes = {"hidden_size": 4096, "ffn_dim": 16384, "num_hidden_layers": 32, "num_attention_heads": 32}
    if tiny:
        sizes = {"hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = transformers.OPTConfig(
        **sizes, word_embed_proj_dim=sizes["hidden_size"],
        vocab_size=len(tokenizer) if tiny else max(50272, len(tokenizer)),
        max_position_embeddings=2048, dropout=0.0, pad_token_id=1, bos_token_id=2, eos_token_id=2,
    )  # fmt: skip
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)  # 13 GB: made on the device, never on the CPU
    try:
        with torch.device(device):
            model: nn.Module = transformers.AutoModelForCausalLM.from_config(config)
    finally:
        torch.set_default_dtype(before)
    return hold(model.to(device), tokenizer, name="opt-6.7b-shape", precision="bf16")
