"""Ranks candidates by a language model's titles: exact likelihood, constrained generation, or the authors' rule.

Shape key: B prompts, T tokens, C candidates, H input width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from interlingua.contracts.batch import FloatArray
from interlingua.contracts.ranker import RankerInputs
from interlingua.contracts.slots import Slot
from interlingua.data.queries import PAD, IntArray, Queries
from interlingua.lm.constrain import constrained_search
from interlingua.lm.generate import paper_generate, paper_hit
from interlingua.lm.likelihood import title_log_likelihood
from interlingua.lm.models import LanguageModel
from interlingua.lm.prompt import CompiledTemplate, compile_template
from interlingua.lm.written import is_answer, one_contained, write_line

MARGIN = 8
"""tokens that a freely written line may be longer than the longest candidate's answer"""
NOT_GENERATED = -1e4
"""score of a candidate that no beam has reached: below every log-probability of a title"""


def compiled(config: Any, lm: LanguageModel, inputs: RankerInputs, slots: Mapping[str, Slot]) -> CompiledTemplate:
    """The configured template over the catalogue's titles, with the slots that will be filled."""
    return compile_template(
        config.template, lm, inputs.titles, inputs.domain, slots=slots, max_title_tokens=config.max_title_tokens
    )


def code_texts(codes: Tensor) -> list[str]:
    """(I, K) integer codes as they are printed: ``12-3-7``."""
    return ["-".join(str(code) for code in row) for row in codes.tolist()]


def score_titles(
    lm: LanguageModel,
    compiled: CompiledTemplate,
    embeds: Tensor,
    mask: Tensor,
    items: IntArray,
    names: Sequence[str],
    config: Any,
    eos: bool = True,
) -> FloatArray:
    """Scores of the candidates of each prompt.

    Args:
        lm: the model.
        compiled: knows the answer that names an item.
        embeds: (B, T, H) prompts.
        mask: (B, T).
        items: (B, C) candidate indices.
        names: (I,) titles, for the authors' rule.
        config: ``scoring``, ``length_normalisation``, ``beams``.
        eos: an answer ends with the end-of-text token; False: with the template's last word of it.

    Returns:
        (B, C): log-probability of the title (``likelihood``); the same for the candidates that generation reaches and a
        constant below it for others (``generate``); 1 where the free answer holds the title, else 0 (``paper``); 1
        where the line that is written freely is the title (``free``), or contains it and no other candidate's
        (``named``), else 0.
    """
    if config.scoring in ("free", "named"):
        return written_scores(lm, compiled, embeds, mask, items, config.scoring)
    if config.scoring == "paper":
        answers = paper_generate(lm, embeds, mask)
        hits = [[paper_hit(answer, names[item]) for item in row] for answer, row in zip(answers, items, strict=True)]
        return np.asarray(hits, np.float32)
    ids, lengths = compiled.target_ids(items.ravel(), eos=eos)
    ids, lengths = ids.reshape(*items.shape, -1), lengths.reshape(items.shape)
    if config.scoring == "likelihood":
        return title_log_likelihood(lm, embeds, mask, ids, lengths, normalize=config.length_normalisation).numpy()
    found = constrained_search(lm, embeds, mask, ids, lengths, beams=min(config.beams, items.shape[1]))
    scores = np.full(items.shape, NOT_GENERATED, np.float32)
    who, places = np.nonzero(found.candidates != PAD)
    scores[who, found.candidates[who, places]] = found.log_probs[who, places]
    return scores


def written_scores(
    lm: LanguageModel, compiled: CompiledTemplate, embeds: Tensor, mask: Tensor, items: IntArray, rule: str
) -> FloatArray:
    """(B, C) 1 for the candidate that the written line names by the rule ``free`` or ``named``, else 0."""
    ids, lengths = compiled.target_ids(items.ravel(), eos=False)
    printed = np.array(
        [lm.tokenizer.decode(row[:length].tolist()) for row, length in zip(ids, lengths, strict=True)], object
    ).reshape(items.shape)
    room = max(min(int(lengths.max(initial=1)) + MARGIN, lm.max_positions - embeds.shape[1]), 1)
    out = np.zeros(items.shape, np.float32)
    for row, line in enumerate(write_line(lm, embeds, mask, room)):
        if rule == "free":
            out[row] = [is_answer(line, title) for title in printed[row]]
        else:  # equal titles of a row are one
            titles = list(dict.fromkeys(printed[row]))
            found = one_contained(line, titles)
            out[row] = 0 if found is None else printed[row] == titles[found]
    return out


def written_caveats(scoring: str) -> list[str]:
    """Notes for readers of numbers of written answers; empty for other ways of scoring."""
    if scoring not in ("generate", "free", "named", "paper"):
        return []
    return [
        f"ranker.scoring = {scoring!r} orders only what was generated; all other candidates tie, and their places "
        "follow the catalogue's rows (sampled-20+expected shares them out evenly). Of 'generate' read Hit@k up to "
        "ranker.beams; of the others no k but the metrics answer-hit, answer-hit-valid, answer-valid, and of 'paper' "
        "answer-named: its authors count a hit wherever the target is named"
    ]


def presented(items: IntArray, queries: Queries) -> IntArray:
    """(B, C) candidates in the order that the prompt shows them.

    Callers put the answer first; a model must not find that out. The order follows from the item and the history alone
    (and from ``queries.order``), so it is the same whoever asks and in whatever order.
    """
    lengths = queries.lengths()
    salt = np.array([int(queries.history(row)[-1]) if lengths[row] else 0 for row in range(len(queries))], np.uint64)
    keys = np.asarray(items, np.uint64) + np.uint64(1) + (salt[:, None] << np.uint64(32))
    keys ^= np.uint64(queries.order) << np.uint64(24)  # above the indices of most catalogues, below the salt
    for shift, factor in ((33, 0xFF51AFD7ED558CCD), (33, 0xC4CEB9FE1A85EC53), (33, 1)):  # MurmurHash3's finaliser
        keys = (keys ^ (keys >> np.uint64(shift))) * np.uint64(factor)
    return np.take_along_axis(np.asarray(items), np.argsort(keys, axis=1, kind="stable"), axis=1)
