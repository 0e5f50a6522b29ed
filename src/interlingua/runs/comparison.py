"""The language-model rows of A-LLMRec's tables, by name: a shipped recipe and what is changed in it.

Source: Kim et al., KDD 2024, arXiv 2404.11343v2, Tables 1, 4 and 8 to 10. :data:`A_LLMREC` is what ``interlingua list
comparison`` shows and what a bench reads; :meth:`Row.load` gives a row's recipe. All but ``llm-only`` have the same
[data] and [backbone], and so share those stages; an ablation of stage 2 shares stage 1 too.

What the paper leaves open, and what is done here:

- ``random-joint-embedding``: random vectors, fixed for each item, go through a trained projector.
- ``all-positions``: stage 1 and stage 2 read every position.
- ``sbert``: the vectors made from texts stand for *all* items, in the history and among the candidates, when scoring;
  the training is that of ``a-llmrec``, bit for bit.
- ``llm-only-generated``: the model writes, and what it wrote is judged by the exact rule (``answer-hit``) or by the
  authors' (``scoring = "paper"``, ``answer-named``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from interlingua.runs.recipe import Recipe, load


@dataclass(frozen=True)
class Row:
    """One row of a table."""

    recipe: str
    """a shipped recipe's name"""
    label: str
    """the row's name in the paper's tables"""
    tables: tuple[int, ...]
    """in which of the paper's tables it stands"""
    overrides: tuple[str, ...] = ()
    """``section.option=value``, as after ``--set``"""

    def load(self, *more: str, data: str | None = None) -> Recipe:
        """The resolved recipe; ``more`` overrides are added, ``data`` replaces the dataset."""
        return load(self.recipe, [*self.overrides, *more], data)

    @property
    def command(self) -> str:
        """How it is run by hand."""
        return " ".join(["interlingua run", self.recipe, *(f"--set {each}" for each in self.overrides)])


_BASE = "a-llmrec"
A_LLMREC: Mapping[str, Row] = {
    "llm-only": Row("llm-only", "LLM-Only (likelihood)", (1,)),
    "llm-only-generated": Row("llm-only", "LLM-Only", (1,), ("ranker.scoring=free",)),
    "tallrec": Row("tallrec-titles", "TALLRec", (1, 4, 5, 6, 7, 10)),
    "mlp-llm": Row("mlp-llm", "MLP-LLM", (1, 5)),
    "a-llmrec": Row(_BASE, "A-LLMRec", (1, 4, 5, 6, 7, 8, 9, 10, 11)),
    "sbert": Row(_BASE, "A-LLMRec (SBERT)", (4, 6, 7), ("ranker.inference_latent=text",)),
    "without-matching": Row(_BASE, "w/o L_matching", (8,), ("align.match_weight=0",)),
    "without-reconstruction": Row(
        _BASE, "w/o L_item-recon & L_text-recon", (8,), ("align.recon_weight=0", "align.recon_text_weight=0")
    ),
    "without-recommendation": Row(_BASE, "w/o L_rec", (8,), ("align.rec_weight=0",)),
    "frozen-sbert": Row(_BASE, "Freeze SBERT", (8,), ("text.trainable=false",)),
    "without-user": Row(_BASE, "w/o user representation", (9,), ("ranker.slots.user=none",)),
    "without-joint-embedding": Row(_BASE, "w/o joint embedding", (9,), ("ranker.slots.item=none",)),
    "random-joint-embedding": Row(_BASE, "with random joint embedding", (9,), ("ranker.slots.item=random",)),
    "all-positions": Row(_BASE, "A-LLMRec_all", (10,), ("align.positions=all", "ranker.all_positions=true")),
}
"""name -> row"""
