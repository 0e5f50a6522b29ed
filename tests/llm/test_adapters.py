"""Language models that learn: what peft makes of them, what is stored, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.ranker import RankerInputs
from interlingua.data.sources.planted import generate
from interlingua.errors import ArtifactError, ConfigError
from interlingua.injection.loading import language_model
from interlingua.lm.adapters import CARD, WEIGHTS, LoraOptions, Tuned, tuned
from interlingua.lm.load import hold
from interlingua.rankers.sequence_head import SequenceHeadConfig
from interlingua.rankers.soft_prompt import SoftPrompt, SoftPromptConfig
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.opening import open_session
from interlingua.testing.tiny_models import FAMILIES, build, tiny, tokenizer_of
from interlingua.training.loop import fit_best, seed_all

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


def tiny_folder(folder: Path) -> str:
    build("llama").save_pretrained(folder)
    tokenizer_of().save_pretrained(folder)
    return str(folder)


def test_a_tuned_model_foretells_held_out_items_of_the_planted_world_better_than_a_frozen_one(tmp_path: Path) -> None:
    """Same prompts, same projector, same steps; what is measured are answers that no training event holds."""
    world = generate(num_users=200, num_items=40, seed=3, history=10)
    queries = world.split.queries("test")
    held_out = world.split.test.items[: len(queries)]
    inputs = RankerInputs(
        titles=world.catalogue.titles, domain=world.catalogue.domain, train=world.split.train,
        items=torch.randn(40, 8, generator=torch.Generator().manual_seed(0)), items_from_text=None,
        user_embeddings=None, user_dim=0,
    )  # fmt: skip

    def likelihood(tune: str) -> float:
        seed_all(1)
        ranker = SoftPrompt(soft_prompt(tiny_folder(tmp_path / "lm"), tune, batch_size=32, learning_rate=2e-2), inputs)
        fit_best(ranker, ranker.batches, ranker.config.fit, seed=1, device="cpu")
        _, sizes = ranker.prompts.target_ids(held_out)
        return float((ranker.score(queries, held_out[:, None])[:, 0] / sizes).mean())

    assert likelihood("lora") > likelihood("none") + 0.7


def soft_prompt(model: str, tune: str, **fit: object) -> SoftPromptConfig:
    options = {
        "model": model, "tune": tune, "template": "next-item-vectors", "slots": {"user": "none"}, "num_layers": 1,
        "history_length": 5, "num_candidates": 2, "all_positions": True, "fit": {"epochs": 1, **fit},
    }  # fmt: skip
    return SoftPromptConfig.model_validate(options | ({"lora": {"modules": "all"}} if tune == "lora" else {}))


def test_a_run_with_adapters_resumes_opens_and_scores_the_same(tmp_path: Path) -> None:
    values = {
        "data": {"name": "planted", "options": {"num_users": 40, "num_items": 30, "history": 6}},
        "backbone": {"name": "mf", "embedding_dim": 8, "fit": {"epochs": 1}},
        "ranker": {
            "name": "sequence-head", "model": tiny_folder(tmp_path / "lm"), "history_length": 4, "num_layers": 1,
            "slots": {"user": "none", "item": "backbone"}, "tune": "lora", "lora": {"rank": 2},
            "fit": {"epochs": 3, "steps_per_epoch": 2, "batch_size": 8, "learning_rate": 0.01},
        },
        "evaluate": {"protocols": ["full"], "max_users": 20},
    }  # fmt: skip
    recipe = recipes.resolve(values, "lora")
    straight = stages.run(recipe, out=tmp_path / "straight", seed=3, device="cpu")
    interrupted = Interrupted(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("interlingua.training.loop._note", interrupted)
        with pytest.raises(KeyboardInterrupt):
            stages.run(recipe, out=tmp_path / "resumed", seed=3, device="cpu")
    resumed = stages.run(recipe, out=tmp_path / "resumed", seed=3, device="cpu")
    stored = [load_file(each.done["rank"].path / "weights.safetensors") for each in (straight, resumed)]
    assert any("lora_B" in name for name in stored[0])
    assert not any("base_layer" in name or "embed_tokens" in name for name in stored[0])
    assert all(torch.equal(stored[1][name], value) for name, value in stored[0].items())
    card = straight.done["rank"].card["tuned"]
    assert card["revision"] == straight.ranker.tuned.lm.revision
    opened = open_session(straight.done["evaluate"].path, "cpu")
    queries = opened.data.split.queries("test").slice(0, 10)
    # the same numbers but for the order of sums: the finished run remembers states that it read among other rows
    np.testing.assert_allclose(opened.ranker.score(queries), straight.ranker.score(queries), rtol=1e-4, atol=1e-5)
    # the folder of adapters alone starts another run, frozen where it was left
    values["ranker"] |= {"adapters": str(straight.done["rank"].path / "adapters")}
    again = recipes.resolve(values, "again").ranker.config
    ups = tuned(language_model(again), "lora", again.lora, start=Path(again.adapters))
    want = {k.removeprefix("tuned."): v for k, v in stored[0].items() if k.startswith("tuned.")}
    assert want
    assert all(torch.equal(p, want[name]) for name, p in ups.named_parameters() if name in want)
    # a run that began there needs the folder no more once it is finished
    begin = tmp_path / "begin"
    shutil.copytree(straight.done["rank"].path / "adapters", begin)
    values["ranker"] |= {"adapters": str(begin), "fit": values["ranker"]["fit"] | {"epochs": 1}}
    begun = stages.run(recipes.resolve(values, "begun"), out=tmp_path / "begun", seed=3, device="cpu")
    begun_from = {name: p for name, p in begun.ranker.named_parameters() if name.startswith("tuned.")}
    assert any(not torch.equal(p, stored[0][name]) for name, p in begun_from.items() if name in stored[0])
    expected = begun.ranker.score(queries)
    shutil.rmtree(begin)
    reopened = open_session(begun.done["evaluate"].path, "cpu")
    np.testing.assert_allclose(reopened.ranker.score(queries), expected, rtol=1e-4, atol=1e-5)


class Interrupted:
    """Ctrl-C when the second epoch of the rank stage is shown."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def __call__(self, record: dict[str, object], metric: str) -> str:
        if record["epoch"] == self.epoch:
            raise KeyboardInterrupt
        return ""


def test_epochs_that_teach_nothing_are_an_error_and_a_control_without_a_model_cannot_be_tuned(tmp_path: Path) -> None:
    config = soft_prompt(tiny_folder(tmp_path), "lora", epochs=0)
    world = generate(num_users=30, num_items=20, seed=3, history=6)
    inputs = RankerInputs(
        titles=world.catalogue.titles, domain=world.catalogue.domain, train=world.split.train, items=torch.randn(20, 8),
        items_from_text=None, user_embeddings=None, user_dim=0,
    )  # fmt: skip
    ranker = SoftPrompt(config, inputs)
    with pytest.raises(ArtifactError, match=r"change nothing.*fit\.epochs"):
        ranker.fit(Fitting(world.split.train, loop=lambda batches, options: FitLog()))
    with pytest.raises(ValidationError, match="needs a language model, and lm_weights = 'none' leaves it out"):
        SequenceHeadConfig(tune="lora", lm_weights="none")
    with pytest.raises(ValidationError, match="lora is read with tune = 'lora' only"):
        SoftPromptConfig.model_validate({"lora": {"rank": 4}})
