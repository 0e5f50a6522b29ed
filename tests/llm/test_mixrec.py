"""MixRec, reconstructed: prompt, scores and losses by hand, the joint model against SASRec, the search, controls."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.llm.vector_rankers import ITEMS, events, inputs
from torch.nn import functional

from interlingua.backbones.sasrec import SasRec, SasRecConfig
from interlingua.config import FitConfig, build
from interlingua.contracts.batch import Batch
from interlingua.contracts.fitting import Fitting
from interlingua.data.queries import PAD, Queries
from interlingua.errors import ConfigError
from interlingua.injection.joint_sequence import JointSequence
from interlingua.lm.expert_search import to_try, widest
from interlingua.lm.experts import mixing
from interlingua.lm.history import queries_of
from interlingua.rankers.mixrec import Mixrec, MixrecConfig
from interlingua.testing.tiny_models import TITLES, tokenizer_of
from interlingua.testing.tiny_models import build as build_lm
from interlingua.training.loop import fit_best

SMALL = {"history_length": 4, "cf_dim": 8, "cf_history": 6, "cf_dropout": 0.0, "block_share": 0.5}
HISTORIES = [[3, 1, 5], [2], [4, 5, 6, 7, 8, 0, 1, 2]]


def make(folder, seed=1, given=None, **options):
    torch.manual_seed(seed)
    fit = FitConfig(learning_rate=1e-2, batch_size=8, epochs=2)
    small = {k: v for k, v in SMALL.items() if options.get("cf") != "none" or not k.startswith("cf_")}
    values = {**small, "model": folder, "fit": fit, **options}
    return Mixrec(MixrecConfig(**values), given or inputs())


def job(ranker, validate=None, seen=None):
    def loop(batches, config, earlier=False):
        log = fit_best(ranker, batches, config, seed=1 + earlier, device="cpu")
        if seen is not None:
            seen.append((earlier, ranker.shape))
        return log

    return Fitting(
        ranker.inputs.train, loop=loop, earlier=lambda batches, config: loop(batches, config, True), validate=validate,
        seed=7,
    )  # fmt: skip


def trained(ranker):
    """Weights that are no longer those of the start."""
    with torch.no_grad():
        for parameter in ranker.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return ranker.eval()


def ids_of(lm, text):
    """A title may hold what looks like a special token."""
    return lm.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def by_hand(ranker, history):
    """() state behind the words and vectors put together here, under a mask that is written out token by token."""
    lm, shown = ranker.lm, history[-ranker.config.history_length :]
    things, parts = [], []

    def say(text, thing=-1):
        ids = ids_of(lm, text)
        parts.append(lm.embed(torch.tensor(ids)))
        things.extend([thing] * len(ids))

    if ranker.cf is not None:
        say("A user's taste in movies is")
        user = ranker.cf.states(torch.tensor([history]))
        parts.append(ranker.cf_projector(ranker.cf.users(user[0], user[2])))
        things.append(-1)
    say(". The user has watched these movies, the latest one last:" if ranker.cf is not None else
        "The user has watched these movies, the latest one last:")  # fmt: skip
    for number, item in enumerate(shown):
        if number:
            say(",")
        for text in (' "', TITLES[item], '"'):
            say(text, number)
    say(". The movie that comes next:")
    embeds = torch.cat(parts)[None]
    width = len(things)
    allowed = [[k <= q or (things[k] == things[q] >= 0) for k in range(width)] for q in range(width)]
    layers = ranker.lm.num_layers
    assert ranker.config.block_share in (0, 1), "this slow form has one mask for all layers"
    mask = torch.tensor(allowed)[None, None] if ranker.config.block_share else None
    positions = torch.arange(width)[None]
    if not ranker.mixes:
        return lm.forward(embeds, mask, positions=positions).states[0, -1]
    with mixing(torch.ones(1, width), widest(ranker.config.lora, layers)):
        return lm.forward(embeds, mask, positions=positions).states[0, -1]


@pytest.mark.parametrize(
    "options",
    [{}, {"tune": "none"}, {"cf": "none"}, {"head": "titles"}, {"block_share": 0.0, "tune": "none"}],
    ids=["experts", "frozen", "titles alone", "head of titles", "causal"],
)
def test_scores_and_losses_are_those_of_the_prompt_put_together_by_hand(folder, options):
    ranker = trained(make(folder, **{"block_share": 1.0, **options}))
    scores = ranker.score(Queries.of(HISTORIES))
    with torch.no_grad():
        for row, history in enumerate(HISTORIES):
            state = by_hand(ranker, history)
            if ranker.config.head == "full":
                expected = ranker.head.weight @ state
            else:
                rows = torch.stack([ranker.lm.embed(torch.tensor(ranker.lm.tokenize(t))).mean(0) for t in TITLES])
                expected = functional.normalize(rows - rows.mean(0), dim=1) @ (ranker.head.weight @ state)
            np.testing.assert_allclose(scores[row], expected, rtol=1e-3, atol=2e-4)
        assert np.isfinite(ranker.score(Queries.of([[]]))).all()
        rows = torch.tensor([[PAD] * (8 - len(h)) + h for h in HISTORIES])
        losses = ranker(Batch(torch.zeros(3, dtype=torch.long), torch.tensor([1, 9, 4]), None, rows))
    own = torch.as_tensor(scores).log_softmax(-1)[[0, 1, 2], [1, 9, 4]]
    assert float(losses["next"]) == pytest.approx(float(-own.mean()), rel=1e-3)
    assert set(losses) == ({"next"} if ranker.cf is None else {"next", "cf"})


def joint_and_sasrec():
    torch.manual_seed(2)
    model = trained(JointSequence(ITEMS, 8, 6, 2, 2, 0.0))
    backbone = SasRec(SasRecConfig(embedding_dim=8, max_history=6, num_blocks=2, num_heads=2, dropout=0.0), events())
    backbone.load_state_dict(model.state_dict())
    return model, backbone.eval()


def test_the_joint_model_is_sasrec():
    """States and loss are those of the backbone with the same weights, from left-padded rows of any length."""
    model, backbone = joint_and_sasrec()
    rows = torch.tensor([[PAD] * (8 - len(h)) + h for h in HISTORIES])
    states, items, lengths = model.states(rows)
    found = model.users(states, lengths)
    torch.testing.assert_close(found, backbone.user_embeddings(Queries.of(HISTORIES)), rtol=1e-4, atol=1e-5)
    targets = torch.tensor([1, 9, 4])
    nats, count = 0.0, 0
    for row, history in enumerate(HISTORIES):
        last = history[-6:]
        for place, item in enumerate([*last[1:], int(targets[row])], start=1):
            nats -= float((backbone.items @ states[row, place - 1]).log_softmax(0)[item])
            count += 1
    assert float(model.loss(states, items, lengths, targets)) == pytest.approx(nats / count, rel=1e-4)
    shifted, targets_of = rows[:, -6:], torch.full((3, 6), PAD)
    targets_of[:, :-1] = torch.where(shifted[:, :-1] == PAD, PAD, shifted[:, 1:])
    targets_of[:, -1] = targets
    batch = Batch(torch.zeros(3, dtype=torch.long), targets_of, None, shifted)
    theirs = backbone.losses(backbone.encode(backbone.input_embeddings(), batch), batch)["ce"]
    assert float(model.loss(states, items, lengths, targets)) == pytest.approx(float(theirs), rel=1e-4)


def test_later_items_and_gaps_are_passed_over_by_the_joint_model():
    model, _ = joint_and_sasrec()
    whole = model.states(torch.tensor([[3, 1, 5]]))
    gaps = model.states(torch.tensor([[3, ITEMS, PAD, 1, ITEMS + 4, 5]]))
    torch.testing.assert_close(model.users(whole[0], whole[2]), model.users(gaps[0], gaps[2]))
    nothing = model.states(torch.tensor([[PAD, ITEMS]]))
    assert not model.users(nothing[0], nothing[2]).any()
    with pytest.raises(ConfigError, match=r"cf_dim = 9.*cf_heads = 2"):
        JointSequence(3, 9, 4, 1, 2, 0.0)


def test_the_joint_model_learns_from_both_losses(folder):
    """The token carries the gradient of the language model's loss into it."""
    ranker = trained(make(folder, cf_weight=0.0))
    batch = next(iter(ranker.batches(0, np.random.default_rng(0))))
    ranker(batch)["next"].backward()
    assert ranker.cf.items.grad.abs().sum() > 0
    once, thrice = (float(make(folder, cf_weight=w)(batch)["cf"].detach()) for w in (1.0, 3.0))
    assert thrice == pytest.approx(3 * once)
    assert float(make(folder, cf_weight=0.0)(batch)["cf"]) == 0


def test_every_event_but_the_first_is_a_target_and_no_prompt_holds_one(folder):
    ranker, train = trained(make(folder)), events()
    batches = list(ranker.batches(0, np.random.default_rng(0)))
    assert sum(len(batch) for batch in batches) == len(train) - train.num_users
    with torch.no_grad():
        batch = batches[0]
        other = Batch(batch.users, (batch.positives + 1) % ITEMS, None, batch.histories)
        states = [ranker.states(queries_of(each.histories)) for each in (batch, other)]
    assert torch.equal(*states)
    for row, history in enumerate(batch.histories.numpy()):
        events_of = train.items[train.offsets[batch.users[row]] : train.offsets[batch.users[row] + 1]].tolist()
        real = history[history != PAD].tolist()
        place = next(at for at in range(1, 9) if events_of[:at][-6:] == real)
        assert int(batch.positives[row]) == events_of[place]


def test_a_search_draws_shapes_while_training_and_keeps_what_validates_best(folder, monkeypatch):
    ranker = make(folder, trials=4, first_epochs=2, trial_users=5)
    layers = ranker.lm.num_layers
    expected = to_try(ranker.config.lora, layers, 4, 7)
    drawn, asked, seen = [], [], []
    values = iter([0.2, 0.1, float("nan"), 0.5, 0.3])
    use = ranker._use
    monkeypatch.setattr(ranker, "_use", lambda shape: (drawn.append((ranker.searching, shape)), use(shape)))

    def validate(max_users=None):
        asked.append((max_users, ranker.shape))
        return {"ndcg@10": next(values)}

    log = ranker.fit(job(ranker, validate, seen))
    assert asked == [(5, shape) for shape in expected]
    assert seen[1] == (False, expected[3])
    assert ranker.shape == expected[3], "the second training keeps it"
    first = [shape for searching, shape in drawn if searching]
    steps = sum(record["steps"] for record in log.epochs if record.get("phase") == "search")
    assert len(first) == steps > 20
    assert len(set(first)) > 10
    assert [record.get("phase") for record in log.epochs] == ["search", "search", None, None]
    assert ranker.earlier_epochs == 2
    card = ranker.write_extras(None)["tuned"]
    assert (card["experts"], card["ranks"]) == (expected[3].experts, expected[3].ranks)
    assert [each["value"] for each in card["search"]] == [0.2, 0.1, None, 0.5, 0.3]
    fresh = make(folder, seed=5, trials=4)
    fresh.load_state_dict(ranker.state_dict())
    assert fresh.shape == expected[3]
    queries = Queries.of(HISTORIES)
    np.testing.assert_array_equal(fresh.eval().score(queries), ranker.score(queries))


def test_without_a_validation_part_or_a_search_all_layers_are_widest(folder, capsys):
    ranker = make(folder)
    ranker.fit(job(ranker))
    full = widest(ranker.config.lora, ranker.lm.num_layers)
    assert ranker.shape == full
    assert "no validation part" in capsys.readouterr().err
    without = make(folder, search="none")
    log = without.fit(job(without, lambda max_users=None: pytest.fail("nothing is to be measured")))
    assert without.shape == full
    assert without.earlier_epochs == 0
    assert not [record for record in log.epochs if "phase" in record]
    with pytest.raises(ConfigError, match="trials"):
        build(MixrecConfig, {"search": "none", "trials": 2}, "ranker")
    with pytest.raises(ConfigError, match="search"):
        build(MixrecConfig, {"tune": "none", "search": "none"}, "ranker")


def test_the_mask_stands_in_the_first_half_of_the_layers_rounded_up(folder):
    assert [make(folder, block_share=share).blocks for share in (0.0, 0.2, 0.5, 0.6, 1.0)] == [0, 1, 1, 2, 2]


def test_the_next_item_of_a_walk_is_learned(folder):
    ranker = make(folder, fit=FitConfig(learning_rate=1e-2, batch_size=16, epochs=6), search="none")
    losses = [record["losses"]["next"] for record in ranker.fit(job(ranker)).epochs]
    assert losses[-1] < 0.5 * losses[0]


def test_controls_other_titles_other_weights_no_language_model(folder):
    queries = Queries.of(HISTORIES)
    plain = trained(make(folder)).score(queries)
    permuted = inputs(titles=TITLES[1:] + TITLES[:1])
    assert not np.allclose(trained(make(folder, given=permuted)).score(queries), plain, atol=1e-3)
    assert not np.allclose(trained(make(folder, lm_weights="shuffled")).score(queries), plain, atol=1e-3)
    alone = trained(make("nowhere", lm_weights="none"))
    assert not MixrecConfig(model="nowhere", lm_weights="none").lacks()
    assert MixrecConfig(model="nowhere").lacks()
    assert {name.split(".")[0] for name, _ in alone.named_parameters()} == {"cf", "head"}
    rows = torch.tensor([[PAD] * (8 - len(h)) + h for h in HISTORIES])
    with torch.no_grad():
        states, _, lengths = alone.cf.states(rows)
        expected = alone.cf.users(states, lengths) @ alone.head.weight.T
    np.testing.assert_allclose(alone.score(queries), expected, rtol=1e-4, atol=1e-5)
    alone.fit(job(alone))
    assert alone.write_extras(None) == {}
    assert alone.writer() is None
    other = trained(make("nowhere", given=permuted, lm_weights="none"))
    np.testing.assert_array_equal(other.score(queries), trained(make("nowhere", lm_weights="none")).score(queries))
    for option in ({"cf": "none"}, {"head": "titles"}):
        with pytest.raises(ConfigError, match="lm_weights = 'none'"):
            build(MixrecConfig, {"lm_weights": "none", **option}, "ranker")


def test_items_that_came_later(folder):
    """A row of the matrix is the mean for them; titles give them a score of their own; as history they are titles."""
    train = events()
    ids = np.array([str(i) for i in range(ITEMS + 1)])
    later = type(train).of(train.user_ids, ids, train.users, train.items)
    given = inputs(train=later, titles=[*TITLES, "Alien 3"], added=1, items=torch.zeros(ITEMS + 1, 6),
                   items_from_text=None, cold_items=later.item_counts == 0)  # fmt: skip
    for head in ("full", "titles"):
        known = trained(make(folder, head=head))
        grown = make(folder, given=given, head=head)
        grown.load_state_dict(known.state_dict())
        queries = Queries.of(HISTORIES)
        scores = grown.eval().score(queries)
        np.testing.assert_allclose(scores[:, :ITEMS], known.score(queries), rtol=1e-4, atol=1e-5)
        if head == "full":
            np.testing.assert_allclose(scores[:, ITEMS], scores[:, :ITEMS].mean(1), rtol=1e-3, atol=1e-4)
        else:
            assert np.abs(scores[:, ITEMS] - scores[:, :ITEMS].mean(1)).min() > 1e-3
        assert np.isfinite(grown.score(Queries.of([[ITEMS]]))).all()
        assert not np.allclose(grown.score(Queries.of([[3, ITEMS]])), grown.score(Queries.of([[3]])), atol=1e-3)


def test_its_prompt_its_model_and_its_experts_may_be_other_ones(folder, tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("history: {title}\nseparator: ;\n---\n{user} then {history}. Next:\n", encoding="utf-8")
    build_lm("opt").save_pretrained(tmp_path / "opt")
    tokenizer_of(True).save_pretrained(tmp_path / "opt")
    queries = Queries.of(HISTORIES)
    plain = trained(make(folder)).score(queries)
    lora = {"rank": 2, "experts": 2, "modules": ["q_proj"]}
    for options in ({"template": str(words)}, {"model": str(tmp_path / "opt")}, {"lora": lora}):
        other = trained(
            make(**{"folder": folder, **options} if "model" not in options else {"folder": options["model"]})
        )
        assert not np.allclose(other.score(queries), plain, atol=1e-3), options
    assert {n.split("/")[-2] for n, _ in make(folder, lora=lora).tuned.named_parameters()} == {"q_proj", "lora_gate"}
    words.write_text("history: {title}\n---\n{history}. Next:\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="user"):
        make(folder, template=str(words))
