"""What is measured of a model when it is loaded decides how it is read: always with the numbers of plain passes."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from interlingua.errors import ConfigError
from interlingua.lm import probe, probe_store
from interlingua.lm.abilities import ANY, Abilities
from interlingua.lm.constrain import constrained_search
from interlingua.lm.generate import generate
from interlingua.lm.likelihood import target_log_likelihood, title_log_likelihood
from interlingua.lm.load import hold, load
from interlingua.lm.padding import to_front
from interlingua.lm.variants import truncated
from interlingua.testing.tiny_models import build as build_known
from interlingua.testing.tiny_models import tiny, tokenizer_of

FILE = Path(__file__).parents[2] / "benchmarks" / "language_models.py"
spec = importlib.util.spec_from_file_location("language_models_benchmark", FILE)
bench = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = bench
spec.loader.exec_module(bench)

ODD = (
    "BLOOM", "Falcon (alibi)", "Falcon (rotary)", "GPT-BigCode", "GPT-Neo", "GPT-NeoX (Pythia)", "Gemma 2", "Jamba",
    "Llama 4", "MPT", "Mamba", "Mistral", "RWKV", "RecurrentGemma", "XGLM",
)  # fmt: skip
"""families whose padding, cache, window, biases or states are each of another kind; windows are 12 tokens"""


@pytest.fixture(scope="module")
def held():
    known = {}

    def get(family):
        if family not in known:
            known[family] = hold(bench.build(family), bench.Tokenizer(), name=family)
        return known[family]

    return get


@pytest.mark.parametrize("family", ODD)
def test_candidates_are_ranked_as_by_one_plain_pass_each(family, held):
    lm = held(family)
    ids, mask, answers = bench.questions(lm)
    ids, mask, answers = ids[::5], mask[::5], answers[::5, :3]
    sizes = np.full(answers.shape[:2], answers.shape[2])
    expected = bench.by_hand(lm, ids, mask, answers)
    embeds = lm.embed(ids)
    for given, shown in ((embeds, mask), to_front(embeds, mask)):
        got = title_log_likelihood(lm, given, shown, answers, sizes)
        torch.testing.assert_close(got, expected, atol=1e-2, rtol=1e-4)


@pytest.mark.parametrize("family", ODD)
def test_training_has_the_loss_and_gradients_of_each_prompt_alone(family, held):
    lm = held(family)
    ids, mask, answers = bench.questions(lm)
    rows = [0, 7]
    embeds = lm.embed(ids[rows]).requires_grad_(True)
    loss = target_log_likelihood(lm, embeds, mask[rows], answers[rows, 0], np.full(2, answers.shape[2]))
    expected = bench.by_hand(lm, ids[rows], mask[rows], answers[rows, :1])[:, 0]
    torch.testing.assert_close(loss.detach(), expected, atol=1e-2, rtol=1e-4)
    found = torch.autograd.grad(loss.sum(), embeds)[0]
    for at, row in enumerate(rows):
        alone = lm.embed(ids[row][mask[row].bool()])[None].requires_grad_(True)
        answer = torch.as_tensor(answers[row, 0])
        whole = torch.cat([alone, lm.embed(answer[:-1])[None]], 1)
        logits = lm.logits(lm.decoder(inputs_embeds=whole, use_cache=False).last_hidden_state)[0].log_softmax(-1)
        logits[alone.shape[1] - 1 :].gather(1, answer[:, None]).sum().backward()
        torch.testing.assert_close(found[at][mask[row].bool()], alone.grad[0], atol=2e-3, rtol=1e-2)
        assert not found[at][~mask[row].bool()].any()


@pytest.mark.parametrize("family", ODD)
def test_what_is_written_is_what_a_plain_loop_writes(family, held):
    lm = held(family)
    ids, mask, answers = bench.questions(lm)
    ids, mask = ids[[1, 9]], mask[[1, 9]]
    written = generate(lm, lm.embed(ids), mask, max_new_tokens=4)
    for row, found in enumerate(written):
        so_far, expected = ids[row][mask[row].bool()], []
        for _ in range(4):
            with torch.no_grad():
                token = int(lm.model(input_ids=so_far[None], use_cache=False).logits[0, -1].argmax())
            if token == lm.eos_token_id:
                break
            expected.append(token)
            so_far = torch.cat([so_far, torch.tensor([token])])
        assert found == expected
    sizes = np.full((2, 3), answers.shape[2])
    best = constrained_search(lm, lm.embed(ids), mask, answers[[1, 9], :3], sizes, beams=3)
    by_likelihood = bench.by_hand(lm, ids, mask, answers[[1, 9], :3]).argsort(1, descending=True)
    assert best.candidates.tolist() == by_likelihood.tolist()


def test_a_window_that_only_the_family_knows_is_found(held):
    """GPT-Neo calls it ``window_size`` and counts places in the cache, where padding and siblings stand too."""
    lm = held("GPT-Neo")
    assert lm.abilities.gap == 12
    ids, mask, answers = bench.questions(lm)
    sizes = np.full(answers.shape[:2], answers.shape[2])
    expected = bench.by_hand(lm, ids, mask, answers)
    careless = replace(lm, abilities=Abilities())
    wrong = title_log_likelihood(careless, lm.embed(ids), mask, answers, sizes)
    assert (wrong - expected).abs().max() > 0.5
    right = title_log_likelihood(lm, lm.embed(ids), mask, answers, sizes)
    torch.testing.assert_close(right, expected, atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("window", [6, 40, 300])
def test_a_window_of_any_size_is_tried_beyond_its_end(window):
    lm = hold(build_known("gemma3", layers=6, sliding_window=window), tokenizer_of())
    assert lm.abilities.cache == ANY
    assert lm.abilities.gap == lm.abilities.tree == lm.abilities.packed == window
    assert lm.config.sliding_window == window  # as it was


def test_a_window_that_cannot_be_made_small_and_is_too_long_to_try_is_not_trusted():
    lm = hold(bench.build("GPT-Neo", window_size=400), bench.Tokenizer())
    assert lm.abilities.cache == lm.abilities.padding == 400


def test_few_layers_stand_for_many():
    lm = tiny("gemma3", layers=8)
    assert probe._few_layers(lm).num_layers == 6  # five with a window, one without
    assert probe._few_layers(tiny("llama", layers=5)).num_layers == 2
    assert lm.num_layers == 8


def test_measuring_a_deep_model_runs_no_more_layers_than_a_shallow_one(monkeypatch):
    from transformers.models.llama.modeling_llama import LlamaDecoderLayer

    ran, forward = [], LlamaDecoderLayer.forward
    monkeypatch.setattr(LlamaDecoderLayer, "forward", lambda self, *a, **k: ran.append(1) or forward(self, *a, **k))
    counts = []
    for layers in (2, 9):
        lm = tiny("llama", layers=layers)
        ran.clear()
        found = probe.measure(lm)
        counts.append(len(ran))
        assert found.tree == found.packed == ANY
    assert counts[0] <= counts[1] <= counts[0] + 2  # and two tokens that show that the cut model runs


def test_a_model_that_reads_both_ways_is_refused():
    model = build_known("llama")
    for module in model.modules():
        if hasattr(module, "is_causal"):
            module.is_causal = False
    with pytest.raises(ConfigError, match=r"from left to right.*docs/results/language-models\.md"):
        hold(model, bench.Tokenizer(), name="both-ways")


def test_a_family_that_needs_tokens_is_refused_in_words_when_it_is_loaded():
    with pytest.raises(ConfigError, match=r"Gemma 3n .*vectors in place of tokens.*docs/results/language-models\.md"):
        hold(bench.build("Gemma 3n"), bench.Tokenizer(), name="Gemma 3n")


def test_a_measurement_is_kept_by_the_hash_of_the_files(tmp_path, monkeypatch):
    monkeypatch.setenv("INTERLINGUA_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "model"
    build_known("smollm2").save_pretrained(folder)
    tokenizer_of().save_pretrained(folder)
    first = load(str(folder), device="cpu")
    (file,) = (tmp_path / "cache" / "probes").glob("*.json")
    asked = []
    monkeypatch.setattr(probe, "measure", lambda lm: asked.append(lm) or Abilities())
    assert load(str(folder), device="cpu").abilities == first.abilities
    assert not asked
    known = json.loads(file.read_text())
    file.write_text(json.dumps({**known, "tree": 7}))
    assert load(str(folder), device="cpu").abilities.tree == 7
    file.write_text("{")  # damaged: measured again
    load(str(folder), device="cpu")
    assert len(asked) == 1
    monkeypatch.setattr(probe_store, "VERSION", probe_store.VERSION + 1)
    load(str(folder), device="cpu")
    assert len(asked) == 2
    other = Abilities(tree=3)
    assert probe_store.remembered(first, lambda: other) == Abilities()
    monkeypatch.setattr(torch, "__version__", "1.0")  # other kernels may do other things
    assert probe_store.remembered(first, lambda: other) == other


def test_the_first_layers_of_a_model_can_do_what_it_can():
    lm = tiny("gemma3", layers=8)
    assert truncated(lm, 3).abilities == lm.abilities
