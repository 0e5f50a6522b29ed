"""Language models that learn: what peft makes of them, what is stored, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.llm.tiny_models import FAMILIES, build, tiny, tokenizer_of

from interlingua.data.sources.planted import generate
from interlingua.errors import ArtifactError, ConfigError
from interlingua.lm.adapters import CARD, WEIGHTS, LoraOptions, Tuned, tuned
from interlingua.lm.load import hold

peft = pytest.importorskip("peft")
OPTIONS = LoraOptions(rank=2, alpha=4)


def learned(family: str = "llama", options: LoraOptions = OPTIONS, kind: str = "lora") -> Tuned:
    """After one step away from what the model says."""
    torch.manual_seed(0)
    made = tuned(tiny(family), kind, options)
    assert made is not None
    answers(made).square().mean().backward()
    torch.optim.Adam(made.parameters(), lr=0.05).step()
    return made


def answers(made: Tuned) -> torch.Tensor:
    lm = made.lm
    return lm.logits(lm.forward(lm.embed(torch.arange(6)[None])).states)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fresh_adapter_changes_nothing_a_trained_one_does_and_peft_reads_it(family: str, tmp_path: Path) -> None:
    base = tiny(family)
    plain = base.logits(base.forward(base.embed(torch.arange(6)[None])).states)
    assert torch.equal(answers(tuned(base, "lora", OPTIONS)), plain)
    made = learned(family)
    made.save(tmp_path / "adapters")
    after = answers(made).detach()
    assert not torch.allclose(after, plain, atol=1e-3)
    assert torch.equal(base.logits(base.forward(base.embed(torch.arange(6)[None])).states), plain)
    whole = peft.PeftModel.from_pretrained(build(family), str(tmp_path / "adapters")).eval()
    read = base.logits(whole.base_model.model.base_model(inputs_embeds=base.embed(torch.arange(6)[None]))[0])
    torch.testing.assert_close(read, after, rtol=1e-5, atol=1e-5)
    again = tuned(base, "lora", OPTIONS, start=tmp_path / "adapters")
    assert torch.equal(answers(again), after)


def test_an_update_is_alpha_over_rank_times_b_a() -> None:
    made = learned(options=LoraOptions(rank=2, alpha=6, modules=["q_proj"]))
    layer = made.lm.model.model.layers[0].self_attn.q_proj
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert a.shape[0] == 2
    x = torch.randn(3, a.shape[1])
    torch.testing.assert_close(layer(x), x @ (layer.base_layer.weight + 6 / 2 * b @ a).T)


def test_modules_are_the_familys_all_or_those_that_are_named() -> None:
    def ends(options: LoraOptions, family: str = "llama") -> set[str]:
        made = tuned(tiny(family), "lora", options)
        assert made is not None
        return {name.split("/")[-4] for name, _ in made.named_parameters()}

    assert ends(LoraOptions()) == {"q_proj", "v_proj"}
    assert ends(LoraOptions(), "gpt2") == {"c_attn"}
    assert ends(LoraOptions(modules=["o_proj"])) == {"o_proj"}
    assert ends(LoraOptions(modules="all")) >= {"q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"}
    with pytest.raises(ConfigError, match=r"ranker\.lora\.modules = \['qproj'\].*not found"):
        ends(LoraOptions(modules=["qproj"]))


def test_dropout_of_adapters_acts_in_training_only() -> None:
    made = learned(options=LoraOptions(rank=2, dropout=0.5))
    assert torch.equal(answers(made), answers(made))
    assert not torch.equal(answers(made.train()), answers(made))
    assert torch.equal(answers(made.eval()), answers(made))
    assert not made.lm.model.training


def test_what_changes_nothing_or_meets_no_module_is_refused(tmp_path: Path) -> None:
    base, folder = tiny("llama"), tmp_path / "adapters"
    fresh = tuned(base, "lora", OPTIONS)
    assert fresh is not None
    fresh.save(folder)
    with pytest.raises(ArtifactError, match="change nothing: all 4 matrices B are zero"):
        tuned(base, "lora", OPTIONS, start=folder)
    learned().save(folder)
    tensors = load_file(folder / WEIGHTS)
    # TALLRec's fault: peft's newer names are not those that were stored, and loading says nothing
    save_file({k.replace("base_model.model.", ""): v for k, v in tensors.items()}, folder / WEIGHTS)
    with pytest.raises(ArtifactError, match=r"8 keys meet no module, e\.g\. model\.layers\.0"):
        tuned(base, "lora", OPTIONS, start=folder)
    save_file(dict(list(tensors.items())[1:]), folder / WEIGHTS)
    with pytest.raises(ArtifactError, match="1 keys are lacking"):
        tuned(base, "lora", OPTIONS, start=folder)
    save_file(tensors, folder / WEIGHTS)
    with pytest.raises(ArtifactError, match="8 keys have other shapes"):
        tuned(base, "lora", LoraOptions(rank=3), start=folder)
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps(card | {"revision": "an-older-one"}))
    with pytest.raises(ArtifactError, match="belong to revision an-older-one"):
        tuned(base, "lora", OPTIONS, start=folder)
    (folder / WEIGHTS).write_bytes(b"\x80\x04pickle")
    with pytest.raises(ArtifactError, match="cannot read LoRA adapters"):
        tuned(base, "lora", OPTIONS, start=folder)


def test_full_tuning_reaches_embeddings_only_where_words_are_read() -> None:
    base = hold(build("smollm2"), tokenizer_of())
    words, vectors = tuned(base, "full", OPTIONS), tuned(base, "full", OPTIONS, words=False)
    assert words is not None
    assert vectors is not None
    table = "model/embed_tokens/weight"
    assert table in dict(words.named_parameters())
    assert set(dict(words.named_parameters())) - set(dict(vectors.named_parameters())) == {table}
    words.lm.forward(words.lm.embed(torch.arange(6)[None])).states.square().mean().backward()
    assert bool(words.get_parameter(table).grad[:6].any())
    assert not bool(words.get_parameter(table).grad[6:].any())
