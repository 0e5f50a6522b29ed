"""Promises of every text source: rows in item order, frozen or not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from interlingua import registry
from interlingua.contracts.exported import exported
from interlingua.contracts.fitting import Fitting
from interlingua.data.prepared import Dataset
from interlingua.errors import DataError, InterlinguaError

NAMES = registry.names("text")


@pytest.fixture(scope="module")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> str:
    """A tiny sentence encoder of random weights whose vocabulary is the world's words."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    pytest.importorskip("sentence_transformers")
    words = sorted({word.strip(".,'\"").lower() for text in texts for word in text.split()})
    letters = [c for a in "abcdefghijklmnopqrstuvwxyz0123456789-" for c in (a, f"##{a}")]
    ids = {w: n for n, w in enumerate(dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *letters, *words]))}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = tokenizers.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    folder = tmp_path_factory.mktemp("encoder")
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **special).save_pretrained(
        folder
    )
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(ids), max_position_embeddings=64, initializer_range=0.5, type_vocab_size=1, **sizes
    )
    transformers.BertModel(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def make(
    small: Any, texts: list[str], world: Dataset, folder: Path, request: pytest.FixtureRequest
) -> Callable[..., Any]:
    """``make(name)``: the source over the world's texts."""

    def build(name: str, some: list[str] | None = None) -> Any:
        cls = registry.find("text", name)
        config = small(cls)
        if "model" in type(config).model_fields:
            config = config.model_copy(update={"model": request.getfixturevalue("encoder_folder")})
        ids = [str(i) for i in world.split.train.item_ids]
        return cls(config, texts if some is None else some, item_ids=ids, cache=folder)

    return build


@pytest.mark.parametrize("name", NAMES)
def test_all_rows_are_a_finite_table(name: str, make: Any, texts: list[str]) -> None:
    source = make(name)
    vectors = source.rows("items")
    assert vectors.shape == (len(texts), source.dim)
    assert vectors.dtype == torch.float32
    assert bool(torch.isfinite(vectors).all())


@pytest.mark.parametrize("name", NAMES)
def test_chosen_rows_are_those_of_the_table_in_the_order_asked(name: str, make: Any) -> None:
    source = make(name)
    vectors, ids = source.rows("items"), torch.tensor([7, 0, 7, 59, 3])
    torch.testing.assert_close(source.rows("items", ids), vectors[ids], rtol=1e-4, atol=1e-5)
    assert source.rows("items", torch.zeros(0, dtype=torch.long)).shape == (0, source.dim)


@pytest.mark.parametrize("name", NAMES)
def test_a_source_made_again_gives_the_same_vectors(name: str, make: Any) -> None:
    assert torch.equal(make(name).rows("items"), make(name).rows("items"))


@pytest.mark.parametrize("name", NAMES)
def test_without_user_texts_asking_for_users_is_a_clear_error(name: str, make: Any) -> None:
    with pytest.raises(DataError, match="user texts"):
        make(name).rows("users")


@pytest.mark.parametrize("name", NAMES)
def test_a_new_text_lands_where_the_same_text_lies(name: str, make: Any, texts: list[str]) -> None:
    source = make(name)
    try:
        encoded = source.encode([texts[5], texts[9]])
    except InterlinguaError:
        pytest.skip(f"{name} has vectors of known items only")
    torch.testing.assert_close(encoded, source.rows("items")[[5, 9]], rtol=1e-3, atol=1e-4)


ODD = ["", " ", "\n", "七人の侍", "🎬🎬", "a" * 5000, "</s> [PAD] <pad>", "\x00\x07", "Heat", "Heat", 'x "y", z']


@pytest.mark.parametrize("name", NAMES)
def test_odd_texts_still_get_finite_vectors(name: str, make: Any, texts: list[str]) -> None:
    """Empty, blank, other scripts, very long, control characters, special tokens, duplicates."""
    odd = [*ODD, *texts[len(ODD) :]]
    vectors = make(name, odd).rows("items")
    assert vectors.shape[0] == len(odd)
    assert bool(torch.isfinite(vectors).all())
    torch.testing.assert_close(vectors[8], vectors[9]) if name != "npy" else None


@pytest.mark.parametrize("name", NAMES)
def test_alike_texts_are_nearer_than_unlike_ones(name: str, make: Any, world: Dataset) -> None:
    """The categories of the planted world show in every source, even in the random encoder's shared words."""
    vectors = make(name).rows("items")
    vectors = torch.nn.functional.normalize(vectors - vectors.mean(0))
    categories = [str(c) for c in world.catalogue.items["categories"].to_list()]
    same = torch.tensor([[a == b for b in categories] for a in categories])
    same.fill_diagonal_(False)
    similarity = vectors @ vectors.T
    different = ~same & ~torch.eye(len(vectors), dtype=torch.bool)
    assert float(similarity[same].mean()) > float(similarity[different].mean()) + 0.05


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("users", ["none", "items"])
def test_it_exports_the_tables_that_it_says_it_makes(name: str, users: str, make: Any, world: Dataset) -> None:
    source = make(name)
    source.config = source.config.model_copy(update={"users": users})
    tables = exported(source, source.config, Fitting(world.split.train))
    assert set(tables) == {"text.items"} | ({"text.users"} if users == "items" else set())
    assert tables["text.items"].shape[1] == source.dim


@pytest.mark.parametrize("name", NAMES)
def test_texts_that_come_later_are_read_as_those_of_the_catalogue(
    name: str, make: Any, texts: list[str], world: Dataset, tmp_path: Path
) -> None:
    """By what a stage keeps, without the catalogue: a new text has the vector that it would have had there."""
    source = make(name)
    exported(source, source.config, Fitting(world.split.train))
    source.write_extras(tmp_path)
    if name == "npy":  # it was brought, and reads nothing
        with pytest.raises(InterlinguaError, match="known items only"):
            type(source).of_stage(source.config, tmp_path)
        return
    encoder = type(source).of_stage(source.config, tmp_path)
    found = encoder.encode(texts[:4])
    torch.testing.assert_close(found, source.rows("items")[:4], rtol=1e-4, atol=1e-5)
    assert encoder.encode([]).shape[0] == 0
