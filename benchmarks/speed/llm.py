"""A training step and candidate scoring with a frozen language model: ours against the A-LLMRec authors' procedure.

The plain side is written here after the procedure of their code: prompts are strings built and tokenised in every step,
left-padded to the longest of the batch, vectors put in one by one, targets joined row by row, logits made at every
place; a candidate is chosen by free generation (greedy, repetition penalty 1.5, at most 512 tokens, which is what
max_length meant for prompts given as embeddings in the authors' version of transformers). An untrained projector lets
it ramble to that limit; a trained one ends after the title, so a second run stops after 16 tokens: the plain side's
best case, in which it still yields one item and ours a ranking of all candidates. Both
sides have the same model, users, candidates and projectors, alternate in one process, and are timed in CPU seconds
(one thread: other work on the machine does not count) and in wall seconds.

python benchmarks/speed/llm.py --rounds 3 --out benchmarks/speed/results/llm.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from header import header
from torch import Tensor, nn

from interlingua.data.domain import Domain
from interlingua.lm.likelihood import target_log_likelihood, title_log_likelihood
from interlingua.lm.load import load
from interlingua.lm.models import LanguageModel
from interlingua.lm.prompt import CompiledTemplate, compile_template, embed_prompts

USER, HISTORY, CANDIDATE = "[UserRep]", "[HistoryEmb]", "[CandidateEmb]"
MOVIE = Domain("movie", "watch", "watched")
WIDTH = 50


class Projectors(nn.Module):
    """User and item vectors to soft tokens, as large as the paper's."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.user = nn.Sequential(
            nn.Linear(WIDTH, hidden), nn.LayerNorm(hidden), nn.LeakyReLU(), nn.Linear(hidden, hidden)
        )
        self.item = nn.Sequential(nn.Linear(128, hidden), nn.LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, hidden))


class World:
    """Titles, vectors and questions; the titles of MovieLens where INTERLINGUA_DATA has them."""

    def __init__(self, history: int, candidates: int) -> None:
        rng = np.random.default_rng(0)
        path = Path(os.environ.get("INTERLINGUA_DATA", "")) / "movielens-small" / "movies.csv"
        if path.is_file():
            import polars as pl

            self.titles = pl.read_csv(path)["title"].to_list()[:3000]
            self.source = "movielens-small"
        else:
            words = ["silent", "golden", "last", "winter", "river", "shadow", "garden", "empire", "stranger", "summer"]
            self.titles = [f"The {' '.join(rng.choice(words, 3))} ({1950 + i % 70})" for i in range(3000)]
            self.source = "generated titles"
        self.item_vectors = torch.tensor(rng.random((len(self.titles), 128)), dtype=torch.float32)
        self.user_vectors = torch.tensor(rng.normal(size=(256, WIDTH)), dtype=torch.float32)
        drawn = np.stack([rng.permutation(len(self.titles))[: history + candidates] for _ in range(256)])
        self.histories, self.candidates = drawn[:, :history], drawn[:, history:]
        # users have histories of different lengths: half of them fill the window, as on real data
        for row, length in enumerate(rng.integers(3, 2 * history, 256)):
            self.histories[row, : max(history - length, 0)] = -1
        self.targets = self.candidates[np.arange(256), rng.integers(0, candidates, 256)]

    def to(self, device: torch.device | str) -> World:
        """The vectors on another device."""
        self.item_vectors, self.user_vectors = self.item_vectors.to(device), self.user_vectors.to(device)
        return self


def ours_prompts(
    lm: LanguageModel, compiled: CompiledTemplate, world: World, nets: Projectors, rows: np.ndarray
) -> tuple:
    prompts = compiled.assemble(world.histories[rows], world.candidates[rows], has_user=True)
    distinct, which = np.unique(prompts.item_indices, return_inverse=True)
    items = nets.item(world.item_vectors[distinct])[which]
    return embed_prompts(lm, prompts, nets.user(world.user_vectors[rows]), items), torch.as_tensor(
        prompts.attention_mask
    )


def ours_train(
    lm: LanguageModel, compiled: CompiledTemplate, world: World, nets: Projectors, optimizer: Any, rows: np.ndarray
) -> float:
    embeds, mask = ours_prompts(lm, compiled, world, nets, rows)
    loss = -target_log_likelihood(lm, embeds, mask, *compiled.target_ids(world.targets[rows])).sum()
    loss = loss / int(compiled.target_ids(world.targets[rows])[1].sum())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()


@torch.no_grad()
def ours_score(
    lm: LanguageModel, compiled: CompiledTemplate, world: World, nets: Projectors, rows: np.ndarray
) -> Tensor:
    embeds, mask = ours_prompts(lm, compiled, world, nets, rows)
    wanted = world.candidates[rows]
    ids, lengths = compiled.target_ids(wanted.ravel())
    return title_log_likelihood(lm, embeds, mask, ids.reshape(*wanted.shape, -1), lengths.reshape(wanted.shape))


class Plain:
    """The authors' procedure with the same model."""

    def __init__(self, lm: LanguageModel, world: World, nets: Projectors) -> None:
        self.lm, self.world, self.nets = lm, world, nets
        self.tokenizer = lm.tokenizer
        self.tokenizer.add_special_tokens({"additional_special_tokens": [USER, HISTORY, CANDIDATE]})
        self.history_id, self.candidate_id = self.tokenizer.convert_tokens_to_ids([HISTORY, CANDIDATE])
        self.embedding = lm.model.get_input_embeddings()
        self.generated: list[int] = []
        """tokens of each generation"""

    def text(self, row: int) -> str:
        w = self.world
        past = ", ".join(f'"{w.titles[i]}"{HISTORY}' for i in w.histories[row] if i >= 0)
        choice = ", ".join(f'"{w.titles[i]}"{CANDIDATE}' for i in w.candidates[row])
        return (
            f" is a user representation. This user has watched {past} in the previous. Recommend one next movie for "
            f"this user to watch next from the following movie title set, {choice}. The recommendation is "
        )

    def embeds(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        self.tokenizer.padding_side = "left"
        tokens = self.tokenizer([self.text(row) for row in rows], padding="longest", return_tensors="pt")
        ids = tokens["input_ids"].to(self.lm.device)
        embeds = self.embedding(ids.clamp_max(self.embedding.num_embeddings - 1))
        users = self.nets.user(self.world.user_vectors[rows]).to(embeds)
        out = []
        for b, row in enumerate(rows):
            one = embeds[b].clone()
            for token, items in (
                (self.history_id, [i for i in self.world.histories[row] if i >= 0]),
                (self.candidate_id, self.world.candidates[row]),
            ):
                places = (ids[b] == token).nonzero().view(-1)
                vectors = self.nets.item(self.world.item_vectors[torch.tensor(np.array(items))]).to(embeds)
                for place, vector in zip(places, vectors, strict=True):
                    one[place] = vector
            out.append(torch.cat([users[b : b + 1], one]))
        mask = torch.cat([torch.ones(len(rows), 1, dtype=torch.long), tokens["attention_mask"]], dim=1)
        return torch.stack(out), mask.to(embeds.device)

    def train(self, optimizer: Any, rows: np.ndarray) -> float:
        embeds, mask = self.embeds(rows)
        answers = [f'"{self.world.titles[i]}"{self.tokenizer.eos_token}' for i in self.world.targets[rows]]
        self.tokenizer.padding_side = "right"
        target = self.tokenizer(answers, padding="longest", return_tensors="pt").to(self.lm.device)
        joined, full, labels = [], [], []
        for b in range(len(rows)):
            joined.append(torch.cat([embeds[b], self.embedding(target["input_ids"][b])]))
            full.append(torch.cat([mask[b], target["attention_mask"][b]]))
            answer = target["input_ids"][b].masked_fill(target["attention_mask"][b] == 0, -100)
            labels.append(torch.cat([torch.full((embeds.shape[1],), -100, device=answer.device), answer]))
        out = self.lm.model(
            inputs_embeds=torch.stack(joined),
            attention_mask=torch.stack(full),
            labels=torch.stack(labels),
            use_cache=False,
        )
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        return out.loss.item()

    @torch.no_grad()
    def score(self, rows: np.ndarray, max_length: int) -> list[str]:
        embeds, mask = self.embeds(rows)
        out = self.lm.model.generate(
            inputs_embeds=embeds, attention_mask=mask, do_sample=False, num_beams=1, repetition_penalty=1.5,
            max_new_tokens=max_length, pad_token_id=self.lm.pad_token_id,
        )  # fmt: skip
        self.generated.append(int(out.shape[1]))
        return self.tokenizer.batch_decode(out, skip_special_tokens=True)


def timed(work: Callable[[], Any]) -> tuple[float, float]:
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall


def compare(
    label: str, ours: Callable[[int], Any], plain: Callable[[int], Any], rounds: int, rows: int
) -> dict[str, Any]:
    """Alternates the two; each round is a ratio, the median of the ratios is the result."""
    mine, theirs = [], []
    for number in range(rounds):
        mine.append(timed(lambda n=number: ours(n)))
        theirs.append(timed(lambda n=number: plain(n)))
        print(
            f"{label} {number + 1}/{rounds}: ours {mine[-1][0]:.2f} CPU-s, plain {theirs[-1][0]:.2f} CPU-s", flush=True
        )
    ratios = [b[0] / a[0] for a, b in zip(mine, theirs, strict=True)]
    return {
        "ours_cpu_s_per_user": round(statistics.median(a[0] for a in mine) / rows, 4),
        "plain_cpu_s_per_user": round(statistics.median(b[0] for b in theirs) / rows, 4),
        "ours_wall_s_per_user": round(statistics.median(a[1] for a in mine) / rows, 4),
        "plain_wall_s_per_user": round(statistics.median(b[1] for b in theirs) / rows, 4),
        "times_faster": round(statistics.median(ratios), 2),
        "times_faster_in_total": round(sum(b[0] for b in theirs) / sum(a[0] for a in mine), 2),
        "slowest": round(min(ratios), 2),
        "fastest": round(max(ratios), 2),
        "ratios": [round(r, 2) for r in ratios],
    }


def encode_texts_per_s(world: World, count: int) -> dict[str, Any]:
    """Our sentence encoding against sentence-transformers' own loop, on titles."""
    from sentence_transformers import SentenceTransformer

    from interlingua.lm.sentence_model import locate
    from interlingua.text.sbert import SbertConfig, encode_texts

    texts = world.titles[:count]
    plain = SentenceTransformer(str(locate("all-minilm-l6-v2").path), device="cpu")
    encode_texts(SbertConfig(), texts[:8])

    def best(work: Callable[[], Any]) -> float:  # of three: our model is loaded each time, and a load may take long
        return min(timed(work)[0] for _ in range(3))

    def encode(some: list[str]) -> None:
        with TemporaryDirectory() as empty:  # a cache that knows none of them
            encode_texts(SbertConfig(), some, Path(empty))

    ours = best(lambda: encode(texts)) - best(lambda: encode(texts[:8]))
    theirs = best(lambda: plain.encode(texts, show_progress_bar=False))
    return {
        "texts": count,
        "ours_per_cpu_s": round((count - 8) / ours, 1),
        "sentence_transformers_per_cpu_s": round(count / theirs, 1),
    }


def recommend_latency(run: Path, users: int) -> dict[str, Any]:
    """One user's ``recommend`` on a finished run, with and without the language model (wall seconds, warm)."""
    from interlingua.recommender import load as open_run

    recommender = open_run(run, "cpu")
    ids = recommender.train.user_ids[:users]
    out: dict[str, Any] = {"run": recommender.version, "users": users}
    for name, rerank in (("backbone", False), ("with_llm", True)):
        if rerank and not recommender.has_reader:
            continue
        recommender.recommend(str(ids[0]), k=10, rerank=rerank)
        seconds = [timed(lambda u=u, r=rerank: recommender.recommend(str(u), k=10, rerank=r)) for u in ids]
        out[f"{name}_wall_ms"] = round(1000 * statistics.median(s[1] for s in seconds), 2)
        out[f"{name}_cpu_ms"] = round(1000 * statistics.median(s[0] for s in seconds), 2)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=4, help="users of a training step (the paper: 4)")
    parser.add_argument("--steps", type=int, default=2, help="steps of a round: ours sorts its users by length")
    parser.add_argument("--score-batch", type=int, default=2, help="users scored together (the authors: 2)")
    parser.add_argument("--history", type=int, default=10)
    parser.add_argument("--candidates", type=int, default=20)
    parser.add_argument("--max-length", type=int, default=512, help="new tokens of the plain side's generation")
    parser.add_argument("--score-rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=256, help="0: leave text encoding out")
    parser.add_argument("--run", type=Path, help="a finished run, to time recommend on")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="fp32", help="of our side's language model")
    parser.add_argument("--plain-precision", default="fp32", help="of the plain side's language model")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    held = {
        name: load(options.model, device=options.device, precision=name)
        for name in {options.precision, options.plain_precision}
    }
    lm, own = held[options.plain_precision], held[options.precision]
    world = World(options.history, options.candidates)
    nets = Projectors(lm.hidden_size)
    optimizer = torch.optim.Adam(nets.parameters(), lr=1e-4, betas=(0.9, 0.98))
    compiled = compile_template("next-item", own, world.titles, MOVIE, slots={"user", "item"})
    plain = Plain(lm, world, nets)

    def rows(number: int, size: int) -> np.ndarray:
        return np.arange(number * size, (number + 1) * size) % 256

    warm = rows(9, 1)
    same = (ours_train(own, compiled, world, nets, optimizer, warm), plain.train(optimizer, warm))
    users = options.batch * options.steps

    def by_length(n: int) -> None:
        mine = rows(n, users)
        order = np.argsort(compiled.lengths(world.histories[mine], world.candidates[mine]), kind="stable")
        for part in mine[order].reshape(options.steps, options.batch):
            ours_train(own, compiled, world, nets, optimizer, part)

    def as_they_come(n: int) -> None:
        for part in rows(n, users).reshape(options.steps, options.batch):
            plain.train(optimizer, part)

    train = compare(f"{options.steps} training steps", by_length, as_they_come, options.rounds, users)
    nets.eval()
    score = {}
    for name, limit in (("score", options.max_length), ("score_if_it_stops_after_16_tokens", 16)):
        if not options.score_rounds:
            continue
        score[name] = compare(
            f"scoring, plain generates up to {limit} tokens",
            lambda n: ours_score(own, compiled, world, nets, rows(n, options.score_batch)),
            lambda n, limit=limit: plain.score(rows(n, options.score_batch), limit),
            options.score_rounds,
            options.score_batch,
        )
        score[name]["plain_generated_tokens"], plain.generated = plain.generated, []
    result: dict[str, Any] = {
        **header(__file__),
        "model": options.model,
        "titles": world.source,
        "prompt_tokens": float(compiled.lengths(world.histories, world.candidates).mean()),
        "loss_of_the_same_prompt": {"ours": round(same[0], 3), "plain": round(same[1], 3)},
        "settings": {k: str(v) for k, v in vars(options).items() if k not in ("out", "run")},
        "train": train,
        **score,
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
    }
    if options.texts:
        result["text_encoding"] = encode_texts_per_s(world, options.texts)
    if options.run:
        result["recommend"] = recommend_latency(options.run, 20)
    print(json.dumps(result, indent=1))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
