"""New tokens beside a model, against transformers' own model with grown matrices."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from interlingua.lm.added_tokens import AddedTokens, Grown
from interlingua.testing.tiny_models import tiny

FAMILIES = ("llama", "smollm2", "gemma", "gemma2", "gpt2", "opt", "opt-projected")


def grown_by_transformers(lm: Any, added: AddedTokens) -> Any:
    """A copy of the model whose matrices have the new rows."""
    model = copy.deepcopy(lm.model)
    old = len(model.get_input_embeddings().weight)
    model.resize_token_embeddings(old + added.count, mean_resizing=False)
    with torch.no_grad():
        model.get_input_embeddings().weight[old:] = added.inputs
        if added.outputs is not None:
            model.get_output_embeddings().weight[old:] = added.outputs
    return model.eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_it_reads_and_predicts_as_a_model_of_grown_matrices(family: str) -> None:
    lm = tiny(family)
    torch.manual_seed(2)
    added = AddedTokens(lm, 7)
    grown = Grown.of(lm, added)
    reference = grown_by_transformers(lm, added)
    tied = lm.model.get_input_embeddings().weight is lm.model.get_output_embeddings().weight
    assert (added.outputs is None) == tied
    ids = torch.tensor([[5, added.first, 9, added.first + 6, added.first + 3, 1]])
    with torch.no_grad():
        expected = reference(input_ids=ids).logits.float()
        found = grown.logits(grown.forward(grown.embed(ids)).states)
    assert found.shape == (1, 6, added.first + 7)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(added.ids(torch.tensor([0, 6])), torch.tensor([added.first, added.first + 6]))


def test_gradients_reach_new_rows_alone_and_the_model_is_not_copied(llama: Any) -> None:
    added = AddedTokens(llama, 4)
    grown = Grown.of(llama, added)
    ids = torch.tensor([[3, added.first + 1, added.first + 2]])
    logits = grown.logits(grown.forward(grown.embed(ids)).states)
    logits.log_softmax(-1)[0, -1, added.first + 3].backward()
    assert added.inputs.grad is not None
    assert added.inputs.grad.abs().sum(1).gt(0).tolist() == [False, True, True, False]
    assert added.outputs is not None
    assert bool(added.outputs.grad.abs().sum(1).gt(0).all())  # a softmax is among all tokens
    assert all(parameter.grad is None for parameter in llama.model.parameters())
    assert grown.model is llama.model


def test_new_rows_are_as_long_as_the_models_own() -> None:
    lm = tiny("llama")
    torch.manual_seed(0)
    rows = AddedTokens(lm, 400).inputs.detach().norm(dim=1)
    own = lm.model.get_input_embeddings().weight.norm(dim=1)
    assert 0.8 < float(rows.median() / own.median()) < 1.2
