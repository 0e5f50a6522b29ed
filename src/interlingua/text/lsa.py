"""Latent semantic analysis: TF-IDF weights and a truncated SVD. Needs no model: a text source for every machine.

Source: Deerwester et al., "Indexing by Latent Semantic Analysis", 1990; weights
``(1 + log tf) * (log((1 + n) / (1 + df)) + 1)`` with rows of unit length, as is usual.

Shape key: n texts, V words, T dimensions.

**Deviations:** words of scripts that are written without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese) are
counted as runs of one to three characters (``characters``); texts are normalised (NFKC), and marks belong to their
letters; each singular vector's sign is fixed (its largest entry is positive), so equal texts give equal vectors; rows
have unit length, so dot products are cosines.
"""

from __future__ import annotations

import itertools
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
import torch
from pydantic import Field
from safetensors.numpy import load_file, save_file
from torch import Tensor

from interlingua.contracts.batch import FloatArray
from interlingua.errors import ArtifactError, DataError
from interlingua.nn.decompose import svd
from interlingua.progress import task, track
from interlingua.vectors.fields import TextConfig
from interlingua.vectors.frozen import ENCODER, FrozenRows
from interlingua.vectors.health import examine

UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)
"""Thai, Lao, Burmese, Khmer, kana and Chinese characters"""
UNSPACED_RUN = re.compile(f"({UNSPACED.pattern}+)|({UNSPACED.pattern.replace('[', '[^', 1)}+)")
REMEDY = '; a word that no other text has does not count: text.name = "sbert" reads words by their meaning'
WORDS, DIRECTIONS = f"{ENCODER}/words.json", f"{ENCODER}/lsa.safetensors"
"""files of an embed stage"""
SMALL = 300
"""up to so many texts or words the dense SVD is quicker than the iterative one"""


class LsaConfig(TextConfig):
    """Options of the text source ``lsa``."""

    dim: int = Field(256, ge=1)
    """T at most (fewer where the texts have a lower rank)"""
    min_texts: int = Field(2, ge=1)
    """words in fewer texts are left out"""
    max_share: float = Field(0.5, gt=0, le=1)
    """words in more than this share of the texts are left out (field labels, stop words)"""
    pairs: bool = False
    """also count pairs of neighbouring words"""
    characters: bool = True
    """count single characters, pairs and triples of them where a script has no spaces between words"""

    @property
    def most_dims(self) -> int | None:
        """See :class:`interlingua.vectors.fields.TextConfig`."""
        return min(self.dim, self.reduce or self.dim)


class Lsa(FrozenRows):
    """Vectors of item (and user) texts by words that they share; see :class:`interlingua.contracts.text.Text`."""

    kind = "text"
    Config = LsaConfig
    version: ClassVar[int] = 2
    """2: marks belong to words, characters of scripts without spaces are counted"""

    def __init__(
        self,
        config: LsaConfig,
        texts: Sequence[str],
        *,
        item_ids: Sequence[str] | None = None,
        user_texts: Sequence[str] | None = None,
        cache: Path | None = None,
    ) -> None:
        """Fits words and directions on the item texts; user texts are placed in the same space.

        Args:
            config: options.
            texts: (I,) item texts in row order.
            item_ids: unused here; the text source ``npy`` joins by them.
            user_texts: (U,) user texts in row order, where there are any.
            cache: unused: making these vectors is about as quick as reading them.

        Raises:
            DataError: there is no word in any text.
        """
        counted = [_words(text, config) for text in track(texts, "lsa: words")]
        vocabulary, weights = vocabulary_of(counted, config.min_texts, config.max_share)
        directions = top_directions(_weighted(counted, vocabulary, weights), config.dim)
        self._fitted = Fitted(config, vocabulary, weights, directions)
        super().__init__(self._place(texts), None if user_texts is None else self._place(user_texts))
        self.config = config
        self.notes = examine(texts, self.items.numpy(), "item", remedy=REMEDY)
        if user_texts is not None and self.users is not None:
            self.notes |= examine(user_texts, self.users.numpy(), "user", remedy=REMEDY)

    def write_extras(self, folder: Path) -> dict[str, Any]:
        """Writes words, weights and directions, with which further texts are read."""
        self._fitted.save(folder)
        return super().write_extras(folder)

    @classmethod
    def of_stage(cls, config: Any, folder: Path) -> Any:
        """Words and directions of the stage.

        Raises:
            ArtifactError: an older version made it, which kept none.
        """
        return Fitted.load(config, folder)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """(n, T) vectors of other texts (new items); a text without a known word is the zero vector."""
        return torch.from_numpy(self._place(texts))

    def _place(self, texts: Sequence[str]) -> FloatArray:
        return self._fitted.vectors(texts)


@dataclass(frozen=True)
class Fitted:
    """What texts are placed with."""

    config: LsaConfig
    vocabulary: dict[str, int]
    """word -> column"""
    weights: npt.NDArray[np.float64]
    """(V,) inverse document frequencies"""
    directions: npt.NDArray[np.float64]
    """(V, T)"""

    def vectors(self, texts: Sequence[str]) -> FloatArray:
        """(n, T) of unit length; zero of a text without a known word."""
        counted = [_words(text, self.config) for text in track(texts, "lsa: texts")]
        vectors = np.asarray(_weighted(counted, self.vocabulary, self.weights) @ self.directions)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        return (vectors / np.where(lengths > 1e-12, lengths, 1.0)).astype(np.float32)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """See :class:`interlingua.contracts.text.Encoder`."""
        return torch.from_numpy(self.vectors(texts))

    def save(self, folder: Path) -> None:
        """Writes both files."""
        (folder / ENCODER).mkdir()
        (folder / WORDS).write_text(json.dumps(list(self.vocabulary), ensure_ascii=False), encoding="utf-8")
        save_file(
            {"weights": self.weights, "directions": np.ascontiguousarray(self.directions, np.float32)},
            folder / DIRECTIONS,
        )

    @classmethod
    def load(cls, config: LsaConfig, folder: Path) -> Fitted:
        """What :meth:`save` has written."""
        if not (folder / WORDS).is_file():
            raise ArtifactError(f"{folder} was made by an older interlingua and keeps no words of its texts")
        words, found = json.loads((folder / WORDS).read_text(encoding="utf-8")), load_file(folder / DIRECTIONS)
        vocabulary = {str(word): column for column, word in enumerate(words)}
        return cls(config, vocabulary, found["weights"], found["directions"].astype(np.float64))


@cache
def word_pattern() -> re.Pattern[str]:
    """Letters, digits and underscores with their marks (vowel signs, accents, joiners); or a single symbol."""
    marks = (chr(c) for c in range(0x300, 0x1E950) if unicodedata.category(chr(c))[0] == "M")
    return re.compile(rf"[\w{''.join(marks)}\u200c\u200d]+|[\U0001F000-\U0001FAFF\u2600-\u27BF]")


def pieces(text: str, characters: bool = True) -> list[str]:
    """Words of a text; of scripts without spaces the single characters, pairs and triples of each run."""
    out: list[str] = []
    for word in word_pattern().findall(unicodedata.normalize("NFKC", text).casefold()):
        if not characters or not UNSPACED.search(word):
            out.append(word)
            continue
        for run, rest in UNSPACED_RUN.findall(word):
            out += [run[n : n + size] for size in (1, 2, 3) for n in range(len(run) - size + 1)] if run else [rest]
    return out


def _words(text: str, config: LsaConfig) -> Counter[str]:
    words = pieces(text, config.characters)
    counted = Counter(words)
    if config.pairs:
        counted.update(f"{left} {right}" for left, right in itertools.pairwise(words))
    return counted


def vocabulary_of(
    counted: Sequence[Counter[str]], min_texts: int, max_share: float
) -> tuple[dict[str, int], npt.NDArray[np.float64]]:
    """Word -> column in alphabetical order, and the inverse document frequency of each.

    Where the limits leave nothing (a handful of texts) every word counts.
    """
    frequency: Counter[str] = Counter()
    for words in counted:
        frequency.update(words.keys())
    if not frequency:
        raise DataError(f"the text source 'lsa' found no word in {len(counted)} texts; check text.fields")
    total = len(counted)
    chosen = sorted(w for w, n in frequency.items() if min_texts <= n <= max_share * total) or sorted(frequency)
    document = np.array([frequency[word] for word in chosen], np.float64)
    return {word: column for column, word in enumerate(chosen)}, np.log((1 + total) / (1 + document)) + 1


def _weighted(
    counted: Sequence[Counter[str]], vocabulary: dict[str, int], weights: npt.NDArray[np.float64]
) -> sp.csr_matrix:
    """(n, V) TF-IDF with rows of unit length (zero rows stay zero)."""
    columns: list[int] = []
    counts: list[int] = []
    offsets = [0]
    for words in counted:
        known = sorted((vocabulary[word], count) for word, count in words.items() if word in vocabulary)
        columns += [column for column, _ in known]
        counts += [count for _, count in known]
        offsets.append(len(columns))
    data = (1 + np.log(np.array(counts, np.float64))) * weights[columns] if columns else np.zeros(0)
    matrix = sp.csr_matrix((data, columns, offsets), shape=(len(counted), len(vocabulary)))
    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    return sp.diags(1 / np.where(lengths > 0, lengths, 1.0)) @ matrix


@contextmanager
def counted_products(matrix: Any, k: int) -> Iterator[Any]:
    """The matrix as an operator whose products show progress while ``svds`` looks for ``k`` directions.

    ARPACK keeps 2 k + 1 vectors, one product (with the matrix and its transpose) each, then begins again with k of them
    until they no longer move. How often is not known before: the end that is shown is that of the round at hand.
    """
    from scipy.sparse.linalg import LinearOperator

    first, again = min(2 * k + 1, *matrix.shape), max(k, 1)
    with task("lsa: directions", first) as shown:

        def product(vector: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            if shown.done == shown.total:
                shown.extend(again)
            out: npt.NDArray[np.float64] = matrix @ vector
            shown.advance()
            return out

        transposed = matrix.T
        yield LinearOperator(
            matrix.shape, product, lambda vector: transposed @ vector, lambda block: matrix @ block,
            dtype=matrix.dtype, rmatmat=lambda block: transposed @ block,
        )  # fmt: skip
        shown.advance(shown.total - shown.done)


def top_directions(matrix: Any, dim: int) -> npt.NDArray[np.float64]:
    """(V, T) right singular vectors, strongest first, each with its largest entry positive.

    Directions without weight are left out, but at least one is kept.
    """
    k = min(dim, *matrix.shape)
    if min(matrix.shape) <= max(SMALL, k + 1):
        _, strength, right = svd(matrix.toarray(), "lsa: directions")
        strength, right = strength[:k], right[:k]
    else:
        from scipy.sparse.linalg import svds

        start = np.random.default_rng(0).standard_normal(min(matrix.shape))
        with counted_products(matrix, k) as operator:
            _, strength, right = svds(operator, k=k, v0=start)
        order = np.argsort(-strength)
        strength, right = strength[order], right[order]
    right = right[: max(1, int((strength > 1e-9 * max(strength[0], 1e-300)).sum()))]
    peak = right[np.arange(len(right)), np.abs(right).argmax(axis=1)]
    return (right * np.where(peak < 0, -1.0, 1.0)[:, None]).T
