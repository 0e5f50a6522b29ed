from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
import transformers
from test_prefix_attention import encoder
from tests.llm.vector_rankers import ITEMS, asked, inputs

from interlingua.cli.run import planned
from interlingua.config import FitConfig
from interlingua.data.queries import Queries
from interlingua.errors import ArtifactError, ConfigError
from interlingua.lm.encoder import load_any
from interlingua.lm.prefix_attention import project
from interlingua.rankers.kv_prompt import KvPrompt, KvPromptConfig
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.session import Session
from interlingua.testing.tiny_models import tokenizer_of
from interlingua.training.loop import fit_best, trainable_state

WAYS = {
    "kv": {},
    "kv, softmax": {"loss": "softmax", "normalised": True, "temperature": 0.1, "pooling": "mean"},
    "shared": {"maps": "shared", "prompted_layers": [1]},
    "low-rank": {"maps": "low-rank", "rank": 2, "place": "none"},
    "diagonal": {"maps": "diagonal", "prefix_length": 0},
    "direct": {"injection": "direct", "align_weight": 0.0},
    "input": {"injection": "input"},
    "context only": {"maps": "none"},
    "text only": {"injection": "none", "readout": 8},
    "soft only": {"user_template": "none", "item_template": "none", "align_weight": 0.0},
    "soft first": {"soft_epochs": 1},
    "noise": {"id_vectors": "random", "id_dropout": 0.3},
    "distilled": {"distill_weight": 1.0, "popularity_correction": False},
}


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny-bert")
    encoder("bert", max_position_embeddings=512).model.save_pretrained(path)
    tokenizer_of().save_pretrained(path)
    return str(path)


def make(folder, seed=1, given=None, **options):
    torch.manual_seed(seed)
    options = {
        "history_length": 4, "fraction": 1.0, "prefix_length": 2, "temperature": 30.0,
        "fit": FitConfig(learning_rate=1e-2, batch_size=8), **options,
    }  # fmt: skip
    return KvPrompt(KvPromptConfig(model=folder, **options), given or inputs())


def first_batch(ranker, seed=0):
    return next(iter(ranker.batches(0, np.random.default_rng(seed))))


@pytest.mark.parametrize("way", WAYS)
def test_every_way_trains_its_own_parts_and_leaves_the_model_bitwise(folder, way):
    ranker = make(folder, **WAYS[way])
    weights = {name: weight.clone() for name, weight in ranker.lm.model.named_parameters()}
    before = {name: weight.clone() for name, weight in ranker.named_parameters() if weight.requires_grad}
    log = fit_best(ranker, ranker.batches, ranker.config.fit.model_copy(update={"epochs": 1}), seed=1, device="cpu")
    assert all(np.isfinite(value) for value in log.epochs[0]["losses"].values())
    assert all(not torch.equal(dict(ranker.named_parameters())[name], weight) for name, weight in before.items())
    assert all(torch.equal(w, weights[n]) and w.grad is None for n, w in ranker.lm.model.named_parameters())
    assert {name.split(".")[0] for name in before} <= {"injection", "readouts"}
    assert ranker.ranks_catalogue
    scores = ranker.score(asked())
    assert scores.shape == (3, ITEMS)
    rows = np.array([[3, 0, 11], [5, 6, 7], [1, 2, 10]])
    np.testing.assert_allclose(ranker.score(asked(), rows), np.take_along_axis(scores, rows, 1))
    other = make(folder, seed=2, **WAYS[way])
    other.load_state_dict({k: v.clone() for k, v in trainable_state(ranker).items()}, strict=False)
    np.testing.assert_allclose(other.score(asked()), scores, atol=1e-5)


TUNED = ["kv", "direct", "input", "text only", "soft first"]


@pytest.mark.parametrize("tune", ["lora", "full"])
@pytest.mark.parametrize("way", TUNED)
def test_a_model_that_learns_is_read_by_both_towers_and_the_base_stays(folder, way, tune):
    frozen = make(folder, **WAYS[way])
    base = {name: weight.clone() for name, weight in frozen.lm.model.named_parameters()}
    texts = frozen._tokens(["Heat", "Toy Story"])
    plain = frozen._plain(texts)
    ranker = make(folder, tune=tune, **WAYS[way])
    before = {name: weight.clone() for name, weight in ranker.tuned.named_parameters()}
    untrained = ranker.score(asked())
    fit_best(ranker, ranker.batches, ranker.config.fit.model_copy(update={"epochs": 2}), seed=1, device="cpu")
    assert all(not torch.equal(weight, before[name]) for name, weight in ranker.tuned.named_parameters())
    assert all(torch.equal(w, base[n]) and w.grad is None for n, w in frozen.lm.model.named_parameters())
    assert torch.equal(ranker._plain(texts), plain), "layers are aligned with the untuned model's"
    scores = ranker.score(asked())
    assert not np.allclose(scores, untrained, atol=1e-4)
    with torch.no_grad():  # both towers read what was learned: without it users and items are others
        users, items = ranker.user_states(asked()), ranker.item_states()
        ranker._forget()
        for name, weight in ranker.tuned.named_parameters():
            weight.copy_(before[name])
        assert not torch.allclose(ranker.user_states(asked()), users, atol=1e-4)
        assert not torch.allclose(ranker.item_states(), items, atol=1e-4)


def test_adapters_see_the_prompt_too_and_one_that_changes_nothing_is_refused(folder, tmp_path):
    """Keys and values of the prompt go through the layer's projection with its adapter, as the text's do."""
    ranker = make(folder, tune="lora")
    ids = torch.randn(2, 6, generator=torch.Generator().manual_seed(1))
    before = ranker.injection.arguments("user", ids)["pairs"][0][1].detach()
    with pytest.raises(ArtifactError, match="change nothing"):
        ranker.load_state_dict(trainable_state(ranker), strict=False)
    with torch.no_grad():
        for name, weight in ranker.tuned.named_parameters():
            if "lora_B" in name:
                weight.fill_(0.1)
    assert not torch.allclose(ranker.injection.arguments("user", ids)["pairs"][0][1], before, atol=1e-3)
    assert ranker.write_extras(tmp_path)["tuned"]["kind"] == "lora"
    assert (tmp_path / "adapters" / "adapter_model.safetensors").is_file()


def test_a_model_that_learns_is_enough_without_any_prompt(folder):
    with pytest.raises(ConfigError, match="nothing to train"):
        make(folder, injection="none")
    ranker = make(folder, injection="none", tune="lora", align_weight=0.0)
    log = fit_best(ranker, ranker.batches, FitConfig(batch_size=8, epochs=1), seed=1, device="cpu")
    assert np.isfinite(log.epochs[0]["losses"]["rank"])


@pytest.mark.parametrize("options", [{}, {"prefix_length": 0}, {"maps": "none"}, {"place": "none"}])
def test_the_context_that_is_projected_once_is_the_whole_prompts_context(folder, options):
    ranker = make(folder, **options)
    ids = torch.randn(3, 6, generator=torch.Generator().manual_seed(1))
    whole = ranker.injection.vectors("user", ids)
    expected = project(ranker.lm, {layer: whole[:, layer] for layer in range(2)}, ranker.config.place)
    got = ranker.injection.arguments("user", ids)["pairs"]
    for layer in range(2):
        for one, other in zip(got[layer], expected[layer], strict=True):
            assert torch.allclose(one, other, atol=1e-5)


def test_an_encoder_is_both_towers_too(bert):
    ranker = make(bert, pooling="cls")
    fit_best(ranker, ranker.batches, FitConfig(batch_size=8, epochs=1), seed=1, device="cpu")
    assert np.isfinite(ranker.score(asked())).all()
    assert load_any(bert) is load_any(bert)


def test_it_learns_the_next_item_from_id_vectors(folder):
    fit = FitConfig(learning_rate=1e-2, batch_size=28, epochs=8)
    options = {"loss": "softmax", "normalised": True, "temperature": 0.1, "align_weight": 0.0, "soft_epochs": 8}
    last = {}
    for ids in ("backbone", "random"):
        ranker = make(folder, id_vectors=ids, fit=fit, **options)
        losses = [e["losses"]["rank"] for e in fit_best(ranker, ranker.batches, fit, seed=1, device="cpu").epochs]
        last[ids] = losses[-1]
        assert ids == "random" or losses[-1] < 0.75 * losses[0]
    assert last["random"] > 1.2 * last["backbone"]


def test_distillation_brings_the_towers_to_the_backbones_choice(folder):
    """A teacher that prefers low rows: the towers' choice comes nearer to its choice than by learning answers alone."""

    def low_rows(queries, items=None):
        scores = np.tile(-np.arange(ITEMS, dtype=np.float32), (len(queries), 1))
        return scores if items is None else np.take_along_axis(scores, np.asarray(items), 1)

    fit = FitConfig(learning_rate=1e-2, batch_size=28, epochs=12)
    options = {"loss": "softmax", "normalised": True, "temperature": 0.1, "align_weight": 0.0, "soft_epochs": 12}
    found = {}
    for weight in (1e-9, 30.0):
        ranker = make(folder, given=inputs(base_score=low_rows), distill_weight=weight, fit=fit, **options)
        epochs = fit_best(ranker, ranker.batches, fit, seed=1, device="cpu").epochs
        found[weight] = [epoch["losses"]["distill"] / weight for epoch in epochs]
    assert found[30.0][-1] < 0.7 * found[30.0][0]
    assert found[30.0][-1] < 0.7 * found[1e-9][-1]


def test_item_states_are_made_once_for_a_set_of_weights(folder, monkeypatch):
    ranker = make(folder)
    calls = []
    monkeypatch.setattr(ranker, "_states", lambda *a, of=ranker._states: calls.append(a[0]) or of(*a))
    first = ranker.score(asked())
    count = len(calls)
    assert np.array_equal(ranker.score(asked()), first)
    assert len(calls) == count
    ranker.train()(first_batch(ranker))
    ranker.score(asked())
    assert len(calls) >= 2 * count


def test_item_states_are_stored_with_the_weights_that_made_them(folder, tmp_path, monkeypatch):
    ranker = make(folder)
    ranker.write_extras(tmp_path)
    state = {k: v.clone() for k, v in trainable_state(ranker).items()}
    other = make(folder, seed=2)
    other.score(asked())
    other.load_state_dict(state, strict=False)
    monkeypatch.setattr(other, "_states", lambda side, *a, of=other._states: of(side, *a) if side == "user" else 1 / 0)
    assert np.array_equal(other.score(asked()), ranker.score(asked()))
    assert not len(other.train().item_state_table)


def test_the_hard_prompt_alone_is_read_once(folder, monkeypatch):
    import interlingua.injection.two_tower as module

    seen = []
    monkeypatch.setattr(module, "plain", lambda *a, of=module.plain: seen.append(len(a[1])) or of(*a))
    ranker = make(folder)
    batch = first_batch(ranker)
    losses = ranker(batch)
    assert set(losses) == {"rank", "align_user", "align_item"}
    count = sum(seen)
    ranker(batch)
    assert sum(seen) == count


def test_alignment_reads_the_layers_output_of_the_hard_prompt_alone(folder):
    ranker = make(folder, align_weight=1.0).eval()
    ids = ranker._tokens(ranker.words.items([0, 3]))
    flat = ranker._plain(ids)
    for row, tokens in enumerate(ids):
        out = ranker.lm.forward(ranker.lm.embed(torch.tensor([tokens])), layers=True)
        for layer in range(2):
            expected = out.layers[layer + 1][0, -1]
            assert torch.allclose(flat[row, layer * 32 : (layer + 1) * 32], expected, atol=1e-4)
        assert torch.allclose(flat[row, 64:], out.states[0, -1], atol=1e-4)


def test_items_without_events_have_the_prompt_of_the_zero_vector(folder):
    given = inputs(items_from_text=None)
    cold = int(np.flatnonzero(given.train.item_counts == 0)[0])
    ranker = make(folder, given=given)
    assert not bool(ranker.ids.items[cold].any())
    changed = inputs(items_from_text=None, items=given.items.clone())
    changed.items[cold] += 5.0
    assert np.array_equal(make(folder, given=changed).score(asked()), ranker.score(asked()))
    from_text = make(folder, given=inputs())  # an aligner that reaches vectors from texts gives one to every item
    assert bool(from_text.ids.items[cold].any())


def test_an_empty_history_is_nobody_in_particular(folder):
    ranker = make(folder)
    assert not bool(ranker.ids.users(Queries.of([[]])).any())
    assert np.isfinite(ranker.score(Queries.of([[], [1]]))).all()


def test_noise_is_fixed_for_each_user_and_says_nothing(folder):
    noise = make(folder, id_vectors="random").ids
    both = noise.users(Queries.of([[1], [5]], np.array([3, 3])))
    assert torch.equal(both[0], both[1])
    assert not bool(noise.users(Queries.of([[1]])).any())


def test_a_user_and_an_item_that_share_a_batch_by_chance_are_no_negatives(folder, monkeypatch):
    import interlingua.rankers.kv_prompt as module

    asked_of = {}
    monkeypatch.setattr(module, "in_batch_bpr", lambda s, a: asked_of.setdefault("allowed", a) is None or s.sum())
    ranker = make(folder)
    batch = first_batch(ranker)
    ranker(batch)
    for row, user in enumerate(batch.users.tolist()):
        had = set(ranker.inputs.train.history(user).tolist())
        for column, item in enumerate(batch.positives.tolist()):
            assert bool(asked_of["allowed"][row, column]) == (item not in had)


def test_the_sample_is_kept_with_the_run(folder, tmp_path):
    ranker = make(folder, fraction=0.3, user_buckets=2, item_buckets=2)
    card = ranker.write_extras(tmp_path)
    frame = pl.read_parquet(tmp_path / "sample.parquet")
    assert frame.height == card["sample"]["chosen"] == len(ranker.sample.stops)
    train = ranker.inputs.train
    for row in frame.iter_rows(named=True):
        history = train.history(train.user_indices[row["user_id"]])
        assert train.item_ids[history[row["history_length"]]] == row["item_id"]
    trained = {
        (int(u), int(i))
        for b in ranker.batches(0, np.random.default_rng(0))
        for u, i in zip(b.users, b.positives, strict=True)
    }
    kept = {
        (train.user_indices[u], train.item_indices[i]) for u, i in zip(frame["user_id"], frame["item_id"], strict=True)
    }
    assert trained == kept


def test_the_residual_mixes_in_the_backbone(folder):
    ranker = make(folder, fuse_scores=True)
    before = ranker.score_fusion.numbers.clone()
    assert np.isfinite(ranker.calibrate(Queries.of([[k] for k in range(8)]), np.arange(1, 9)))
    assert not torch.equal(before, ranker.score_fusion.numbers)
    assert make(folder).calibrate(Queries.of([[1]]), np.array([2])) is None


@pytest.mark.parametrize("normalised", [False, True])
def test_vectors_for_an_index_give_the_scores(folder, normalised):
    ranker = make(folder, normalised=normalised, temperature=0.5)
    assert ranker.towers() is not None
    scores = (ranker.user_embeddings(asked()) @ ranker.all_item_embeddings().T).detach().numpy()
    np.testing.assert_allclose(scores, ranker.score(asked()), rtol=1e-4, atol=1e-5)
    assert make(folder, fuse_scores=True).towers() is None


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("texts", [False, True])
def test_a_mixture_is_one_dot_product_too(folder, bias, texts):
    """Towers, backbone and texts side by side, weighted, with the backbone's gate: exactly the mixed scores."""
    given = inputs(base_items=None)
    extra = torch.linspace(-1, 1, ITEMS) if bias else None

    def base_score(queries, items=None):
        scores = given.user_embeddings(queries) @ given.items.T + (0.0 if extra is None else extra)
        return scores.numpy() if items is None else np.take_along_axis(scores.numpy(), np.asarray(items), 1)

    table = torch.randn(ITEMS, 6, generator=torch.Generator().manual_seed(8)) if texts else None
    mixed = inputs(base_items=(given.items, extra), base_score=base_score, texts=table)
    ranker = make(folder, given=mixed, fuse_scores=True, normalised=True, temperature=0.2)
    known = Queries.of([[k] for k in range(8)])
    ranker.calibrate(known, np.arange(1, 9))
    scores = (ranker.user_embeddings(known) @ ranker.all_item_embeddings().T).numpy()
    np.testing.assert_allclose(scores, ranker.score(known), rtol=1e-4, atol=1e-4)


def test_titles_and_categories_make_the_texts(folder):
    given = inputs(categories=["Action|Sci-Fi"] + [None] * (ITEMS - 1))
    ranker = make(folder, given=given, max_title_words=2)
    assert ranker.words.items([0, 2]) == [
        "The movie to watch: The Matrix (Action, Sci-Fi).",
        "The movie to watch: Toy Story.",
    ]
    assert ranker.words.users(np.array([[-1, 3, 1], [-1, -1, -1]])) == [
        "The user has watched Heat; Toy Story. The next movie to watch:",
        "The user has watched nothing yet. The next movie to watch:",
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pooling": "cls"}, "for encoders"),
        ({"injection": "none"}, "nothing to train"),
        ({"maps": "none", "prefix_length": 0}, "no prompt"),
        ({"prompted_layers": [2]}, "layers 0 to 1"),
        ({"injection": "direct"}, "align_weight = 0"),
        ({"user_template": "ra-rec-item"}, "no slot"),
        (
            {"distill_weight": 1.0, "given": inputs(base_score=None)},
            "ranker.distill_weight needs a backbone that scores",
        ),
    ],
)
def test_settings_that_cannot_work_are_explained(folder, options, words):
    with pytest.raises(ConfigError, match=words):
        make(folder, **options)


def test_a_backbone_without_user_vectors_is_refused(folder):
    with pytest.raises(ConfigError, match="user vectors"):
        make(folder, given=inputs(user_embeddings=None, user_dim=0))
    make(folder, given=inputs(user_embeddings=None, user_dim=0), maps="none")


@pytest.mark.parametrize("recipe", ["ra-rec", "aligned-mixture"])
def test_a_family_that_cannot_do_it_is_refused_before_anything_is_trained(recipe, bert, tmp_path):
    """GPT-J's attention takes no keys and values in front of its own; an encoder does not read from left to right."""
    path = str(tmp_path / "gptj")
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4, "n_positions": 256, "vocab_size": 400}
    config = transformers.GPTJConfig(**sizes, bos_token_id=1, eos_token_id=2, pad_token_id=0)
    transformers.GPTJForCausalLM(config).save_pretrained(path)
    tokenizer_of().save_pretrained(path)
    model, words = (path, "ranker.injection = 'kv'") if recipe == "ra-rec" else (bert, "left to right|by vectors")
    sets = ["data.options={num_users=60, num_items=40}", f"ranker.model={model}", "ranker.num_layers=null"]
    sets += ["text.name=lsa"] if recipe == "aligned-mixture" else []
    for ask in (stages.run, dry):
        with pytest.raises(ConfigError, match=words):
            ask(recipe, out=tmp_path / "runs", data="planted", overrides=sets)
    assert not (tmp_path / "runs").exists()


def dry(recipe, out, data, overrides):
    planned(Session(recipes.load(recipe, overrides, data), out), as_json=True)
