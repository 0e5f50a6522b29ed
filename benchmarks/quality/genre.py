"""Favourite genre: A-LLMRec's language task (KDD 2024, appendix B), there shown by examples, here measured.

    python benchmarks/quality/genre.py --data movielens-small --out RESULT.json

The model reads a user's latest items (titles, soft tokens or both) and every category's name is scored as its answer.
The truth is the user's most frequent genres over the whole training history. Every setting is a row: how much of the
answer's own frequency is subtracted, and how many titles are shown; the constant answer that is right most often stands
beside them. Nothing is trained and nothing chosen here.

**Deviations:** the paper shows single generated answers; here the answer is the most probable of the catalogue's
categories, so that it can be counted, and its log-probability is taken, in part, relative to the answer without a
history.

Shape key: B users, L shown items, I items, G categories, H input width.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import numpy.typing as npt
import torch
from header import header
from torch import Tensor

from interlingua.contracts.batch import FloatArray
from interlingua.data.prepare import FilterConfig, SplitConfig, prepare
from interlingua.data.queries import Queries
from interlingua.errors import DataError
from interlingua.lm.likelihood import title_log_likelihood
from interlingua.lm.load import load
from interlingua.lm.models import LanguageModel
from interlingua.lm.prompt import CompiledTemplate, PromptBatch, compile_template, embed_prompts
from interlingua.progress import task

Embed = Callable[[PromptBatch, Queries], Tensor]
"""makes (B, T, H) input embeddings of assembled prompts: how a trained ranker puts its vectors in"""
NONE = ("(no genres listed)", "")


@dataclass(frozen=True)
class GenreReport:
    """How often an answer names a user's favourite, and one of the user's three favourites."""

    users: int
    genres: list[str]
    top1: float
    top3: float
    majority: str
    """the constant answer"""
    majority_top1: float
    majority_top3: float
    answers: dict[str, int]
    """how often each genre was answered: a model that always says one thing is seen here"""


def genre_matrix(categories: Sequence[str | None]) -> tuple[list[str], npt.NDArray[np.bool_]]:
    """The distinct categories, sorted, and (I, G) which item has which.

    Raises:
        DataError: no item has a category.
    """
    split = [
        {part.strip() for part in re.split(r"[|,;]", text or "")} - set(NONE) if text not in NONE else set()
        for text in categories
    ]
    genres = sorted(set().union(*split)) if split else []
    if not genres:
        raise DataError("the favourite-genre task needs item categories, and the catalogue has none")
    number = {genre: column for column, genre in enumerate(genres)}
    has = np.zeros((len(split), len(genres)), bool)
    for row, names in enumerate(split):
        has[row, [number[name] for name in names]] = True
    return genres, has


def genre_counts(queries: Queries, has: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """(B, G) how many items of each user's history have each genre."""
    owner = np.repeat(np.arange(len(queries)), np.diff(queries.offsets))
    counts = np.zeros((len(queries), has.shape[1]), np.int64)
    np.add.at(counts, owner, has[queries.items].astype(np.int64))
    return counts


def favourites(counts: npt.NDArray[np.int64], k: int) -> npt.NDArray[np.bool_]:
    """(B, G) the k most frequent genres of each user; all that tie with the k-th belong to them, absent ones never."""
    kth = np.sort(counts, axis=1)[:, -min(k, counts.shape[1])][:, None]
    return (counts >= kth) & (counts > 0)


def score_genres(
    lm: LanguageModel, embeds: Tensor, mask: Tensor, genres: Sequence[str], prior: FloatArray | None = None
) -> FloatArray:
    """(B, G) log-probability of each genre's name as the answer.

    Args:
        lm: the model.
        embeds: (B, T, H) prompts that end where the answer begins.
        mask: (B, T).
        genres: G names.
        prior: (G,) subtracted, so that a genre is not preferred for being a frequent word.
    """
    names = [lm.tokenize(f" {genre.lower()}") for genre in genres]
    lengths = np.array([[len(name) for name in names]] * len(embeds))
    ids = np.zeros((len(embeds), len(names), max(map(len, names))), np.int64)
    for column, name in enumerate(names):
        ids[:, column, : len(name)] = name
    scores = title_log_likelihood(lm, embeds, mask, ids, lengths).numpy()
    return scores if prior is None else scores - np.asarray(prior, np.float32)[None, :]


def evaluate_genres(
    lm: LanguageModel,
    prompts: CompiledTemplate,
    queries: Queries,
    categories: Sequence[str | None],
    *,
    embed: Embed | None = None,
    max_history: int = 5,
    batch_size: int = 16,
    calibration: float = 0.5,
) -> GenreReport:
    """Asks for every user's favourite genre and counts the right answers.

    Args:
        lm: the model.
        prompts: the template ``genre``, compiled for the vectors that ``embed`` puts in.
        queries: users with their (training) histories.
        categories: (I,) ``A|B`` per item.
        embed: puts a ranker's vectors in; None: titles only.
        max_history: latest items that the prompt shows; the truth counts the whole history.
        batch_size: users per forward pass.
        calibration: so much of the score after a prompt with an empty history is subtracted. 0.5 was best of 0, 0.5
            and 1 with SmolLM2-135M on 24 users of movielens-small.

    Raises:
        DataError: no categories, or no user with a categorised item.
    """
    genres, has = genre_matrix(categories)
    counts = genre_counts(queries, has)
    known = np.nonzero(counts.sum(1))[0]
    if not len(known):
        raise DataError("no user's history has an item with a category")
    queries, counts = queries.take(known), counts[known]
    make = embed or (lambda assembled, _: embed_prompts(lm, assembled))
    prior = None
    if calibration:
        no_items: list[int] = []
        nobody = Queries.of([no_items])
        empty = prompts.assemble(nobody.padded(1))
        prior = calibration * score_genres(lm, make(empty, nobody), torch.as_tensor(empty.attention_mask), genres)[0]
    chosen = []
    with task("favourite genre", len(queries)) as shown:
        for start in range(0, len(queries), batch_size):
            part = queries.slice(start, start + batch_size)
            assembled = prompts.assemble(part.padded(max_history), max_length=lm.max_positions)
            scores = score_genres(lm, make(assembled, part), torch.as_tensor(assembled.attention_mask), genres, prior)
            chosen.append(scores.argmax(1))
            shown.advance(len(part))
    return report(np.concatenate(chosen), counts, genres)


def report(chosen: npt.NDArray[np.integer], counts: npt.NDArray[np.int64], genres: list[str]) -> GenreReport:
    """Counts the hits of (B,) chosen genres, and of the best constant answer on the same users."""
    first, three = favourites(counts, 1), favourites(counts, 3)
    indices = np.arange(len(chosen))
    majority = int(first.sum(0).argmax())
    said = np.bincount(chosen, minlength=len(genres))
    return GenreReport(
        users=len(chosen),
        genres=genres,
        top1=float(first[indices, chosen].mean()),
        top3=float(three[indices, chosen].mean()),
        majority=genres[majority],
        majority_top1=float(first[:, majority].mean()),
        majority_top3=float(three[:, majority].mean()),
        answers={genres[i]: int(said[i]) for i in np.argsort(-said, kind="stable") if said[i]},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default="movielens-small")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--users", type=int, default=None, help="a random subset (default: all)")
    parser.add_argument("--history", type=int, nargs="+", default=[5], help="titles shown")
    parser.add_argument("--calibration", type=float, nargs="+", default=[0.0, 0.5, 1.0])
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    prepared = prepare(
        options.data, filter=FilterConfig(min_user=5, min_item=5), split=SplitConfig(name="leave-one-out"), quiet=True
    )
    train, catalogue = prepared.split.train, prepared.catalogue
    lm = load(options.model)
    prompts = compile_template("genre", lm, catalogue.titles, catalogue.domain, slots=())
    rng = np.random.default_rng(options.seed)
    users = np.sort(rng.permutation(train.num_users)[: options.users])
    rows = []
    for history in options.history:
        for calibration in options.calibration:
            started = time.process_time()
            found = evaluate_genres(
                lm, prompts, train.queries(users), catalogue.items["categories"].to_list(),
                max_history=history, calibration=calibration,
            )  # fmt: skip
            row = {"titles": history, "calibration": calibration, **asdict(found), "distinct": len(found.answers)}
            row["most_said"], row["most_said_share"] = (
                next(iter(found.answers)),
                max(found.answers.values()) / found.users,
            )
            row["cpu_s"] = round(time.process_time() - started, 1)
            rows.append(row)
            print({k: row[k] for k in ("titles", "calibration", "top1", "top3", "most_said")}, file=sys.stderr)
            result = {
                **header(__file__),
                "data": options.data, "model": options.model,
                "seeds": [options.seed], "rows": rows,
            }  # fmt: skip
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
