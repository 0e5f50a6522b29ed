from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from interlingua.config import FitConfig
from interlingua.config import build as options_of
from interlingua.contracts.batch import Batch
from interlingua.contracts.ranker import RankerInputs
from interlingua.data.domain import Domain
from interlingua.data.interactions import Interactions
from interlingua.data.queries import PAD, Queries
from interlingua.errors import ConfigError
from interlingua.evaluate.slices import make_slices
from interlingua.injection.calibration import rarest
from interlingua.injection.head import choices
from interlingua.injection.id_vectors import IdVectors
from interlingua.injection.score_fusion import TextSimilarity
from interlingua.injection.title_scoring import presented
from interlingua.lm import history as sequence
from interlingua.rankers.sequence_head import SequenceHead
from interlingua.rankers.soft_prompt import SoftPrompt
from interlingua.testing.tiny_models import TITLES, build, tokenizer_of
from interlingua.training.loop import fit_best, trainable_state

ITEMS, USERS, WIDTH = len(TITLES), 14, 6
MODES = {
    "likelihood": {},
    "sequence": {"cls": SequenceHead},
    "both": {"template": "next-item-vectors", "scoring": "head", "head_weight": 1.0, "lm_weight": 0.5},
    "distilled": {"cls": SequenceHead, "head_weight": 0.0, "distill_weight": 1.0, "fuse_scores": True},
    "none": {"cls": SequenceHead, "lm_weights": "none"},
    "several": {"answers_per_prompt": 2, "num_candidates": 5, "head_weight": 1.0, "distill_weight": 0.5},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny")
    build("llama").save_pretrained(path)
    tokenizer_of().save_pretrained(path)
    return str(path)


def events(cold: int = 1):
    """The next item is the previous one plus one; the last ``cold`` items never occur."""
    warm = ITEMS - cold
    users = np.repeat(np.arange(USERS), 8)
    items = (np.tile(np.arange(8), USERS) + np.repeat(np.arange(USERS), 8)) % warm
    ids = [str(i) for i in range(ITEMS)]
    return Interactions.of(np.array([str(u) for u in range(USERS)]), np.array(ids), users, items)


def inputs(**changes):
    generator = torch.Generator().manual_seed(3)
    table = torch.randn(ITEMS, WIDTH, generator=generator)
    text = table + 0.3 * torch.randn(ITEMS, WIDTH, generator=generator)

    def user_embeddings(queries: Queries) -> torch.Tensor:
        rows = [table[torch.as_tensor(np.asarray(queries.history(b), np.int64))].mean(0) for b in range(len(queries))]
        return torch.stack(rows) if rows else torch.zeros(0, WIDTH)

    def base_score(queries: Queries, items=None):
        scores = (user_embeddings(queries) @ table.T).numpy()
        return scores if items is None else np.take_along_axis(scores, np.asarray(items), 1)

    train = events()
    given = {
        "titles": TITLES, "domain": Domain("movie", "watch", "watched"), "train": train, "items": table,
        "items_from_text": text, "user_embeddings": user_embeddings, "user_dim": WIDTH, "base_score": base_score,
        "cold_items": train.item_counts == 0,
    }  # fmt: skip
    return RankerInputs(**(given | changes))


def make(folder, seed=1, given=None, cls=SoftPrompt, **options):
    torch.manual_seed(seed)
    common = {"history_length": 5, "fit": FitConfig(learning_rate=1e-3, batch_size=4)}
    if cls is SoftPrompt:
        common["num_candidates"] = 4
    return cls(cls.Config(model=folder, **common | options), given or inputs())


def first_batch(ranker, seed=0) -> Batch:
    return next(iter(ranker.batches(0, np.random.default_rng(seed))))


def asked():
    return Queries.of([[0, 1, 2], [4], [3, 4, 5, 6, 7, 8, 9]], np.array([0, -1, 2]))


@pytest.mark.parametrize("mode", MODES)
def test_gradients_reach_every_trainable_parameter_and_the_model_stays_bitwise_equal(folder, mode):
    ranker = make(folder, **MODES[mode])
    before = {} if ranker.lm is None else {k: v.clone() for k, v in ranker.lm.model.state_dict().items()}
    start = {k: v.clone() for k, v in ranker.named_parameters()}
    fit_best(ranker, ranker.batches, FitConfig(learning_rate=1e-2, batch_size=4, epochs=2), seed=3, device="cpu")
    for name, value in ranker.named_parameters():
        assert value.grad is not None, name
        assert not torch.equal(start[name], value), name
    if ranker.lm is not None:
        after = ranker.lm.model.state_dict()
        assert all(torch.equal(before[k], after[k]) for k in before)
        assert all(p.grad is None for p in ranker.lm.model.parameters())
        names = set(trainable_state(ranker))
        assert not any(name.startswith("lm") for name in names)  # the frozen model is named, never copied


def test_the_loss_is_the_causal_loss_of_the_plain_model_on_the_same_sequence(folder):
    ranker = make(folder)
    batch = first_batch(ranker)
    torch.manual_seed(11)
    got = float(ranker(batch)["lm"])
    torch.manual_seed(11)
    shown = torch.cat([batch.positives[:, None], batch.negatives], 1)
    shown = shown.gather(1, torch.rand(shown.shape).argsort(1)).numpy()
    histories = batch.histories.numpy()
    sums, count = 0.0, 0
    for row in range(len(batch)):
        alone, embeds = ranker._prompts(
            histories[row : row + 1, -5:], shown[row : row + 1],
            sequence.queries_of(histories[row : row + 1]), ranker.vectors.joint,
        )  # fmt: skip
        ids, lengths = ranker.prompts.target_ids(batch.positives[row : row + 1].numpy())
        answer = torch.as_tensor(ids[:, : lengths[0]])
        joined = torch.cat([embeds, ranker.lm.embed(answer)], 1)
        labels = torch.cat([torch.full(embeds.shape[:2], -100), answer], 1)
        plain = ranker.lm.model(inputs_embeds=joined, labels=labels).loss
        sums, count = sums + float(plain) * int(lengths[0]), count + int(lengths[0])
        assert alone.attention_mask.all()
    assert got == pytest.approx(sums / count, rel=1e-4)


def test_a_prompt_with_several_answers_has_the_loss_of_each_alone_after_the_same_prompt(folder):
    ranker = make(folder, answers_per_prompt=2, num_candidates=5, all_positions=True)
    batch = first_batch(ranker)
    assert batch.positives.shape[1] == 2
    torch.manual_seed(11)
    got = float(ranker(batch)["lm"])
    torch.manual_seed(11)
    shown = sequence.shuffled(batch.positives, batch.negatives)
    assert all((row != PAD).sum() == 5 for row in shown)
    histories = batch.histories.numpy()
    sums, count = 0.0, 0
    for row in range(len(batch)):
        one = sequence.queries_of(histories[row : row + 1])
        _, embeds = ranker._prompts(histories[row : row + 1, -5:], shown[row : row + 1], one, ranker.vectors.joint)
        for item in batch.positives[row][batch.positives[row] != PAD].tolist():
            assert item in shown[row]
            ids, lengths = ranker.prompts.target_ids(np.array([item]))
            joined = torch.cat([embeds, ranker.lm.embed(torch.as_tensor(ids))], 1)
            labels = torch.cat([torch.full(embeds.shape[:2], -100), torch.as_tensor(ids)], 1)
            sums += float(ranker.lm.model(inputs_embeds=joined, labels=labels).loss) * int(lengths[0])
            count += int(lengths[0])
    assert got == pytest.approx(sums / count, rel=1e-4)


def test_several_answers_need_room_for_a_wrong_candidate(folder):
    with pytest.raises(ConfigError, match="answers_per_prompt = 4 leaves no wrong candidate"):
        make(folder, answers_per_prompt=4)


def test_likelihood_scores_equal_the_sum_over_the_tokens_of_each_title(folder):
    ranker = make(folder)
    queries, items = asked(), np.array([[3, 0, 11], [5, 6, 7], [1, 2, 10]])
    got = ranker.score(queries, items)
    vectors = ranker.vectors_for_scoring()
    for row in range(len(items)):
        one = queries.slice(row, row + 1)
        shown = presented(items[row : row + 1], one)
        _, embeds = ranker._prompts(one.padded(5), shown, one, vectors)
        for column, item in enumerate(items[row]):
            ids, lengths = ranker.prompts.target_ids(np.array([item]))
            answer = torch.as_tensor(ids[0, : lengths[0]])
            with torch.no_grad():
                joined = torch.cat([embeds, ranker.lm.embed(answer)[None]], 1)
                logits = ranker.lm.model(inputs_embeds=joined).logits.log_softmax(-1)[0]
            slow = sum(float(logits[embeds.shape[1] - 1 + k, token]) for k, token in enumerate(answer))
            assert got[row, column] == pytest.approx(slow, abs=2e-3)


@pytest.mark.parametrize("user", ["backbone", "none"])
@pytest.mark.parametrize("mode", ["sequence", "none"])
def test_one_pass_over_all_positions_equals_a_pass_for_each_prefix(folder, mode, user):
    ranker = make(folder, slots={"user": user}, **MODES[mode]).eval()
    history = torch.tensor([[PAD, PAD, 3, 4, 5], [1, 2, 3, 4, 6]])
    states, where = ranker._sequence_states(ranker.vectors.joint, history)
    for row, items in enumerate(([3, 4, 5], [1, 2, 3, 4, 6])):
        assert int(where[row].sum()) == len(items)
        for stop in range(1, len(items) + 1):
            single, _ = ranker._sequence_states(ranker.vectors.joint, torch.tensor([items[:stop]]))
            assert torch.allclose(states[row, stop - 1], single[0, -1], atol=1e-4)


def test_a_user_without_history_is_answered_without_looking_at_any_item(folder):
    for mode in ("sequence", "none", "both"):
        scores = make(folder, slots={"user": "none"}, **MODES[mode]).score(Queries.of([[], [1, 2]]))
        assert np.isfinite(scores).all()
    changed = inputs()
    changed.items[0] += 5.0
    ranker = make(folder, slots={"user": "none"}, standardised=False, projector_init="xavier", **MODES["sequence"])
    other = make(
        folder, given=changed, slots={"user": "none"}, standardised=False, projector_init="xavier", **MODES["sequence"]
    )
    empty = torch.full((1, 3), PAD)
    states = [each.eval()._sequence_states(each.vectors.joint, empty)[0] for each in (ranker, other)]
    assert torch.allclose(*states)


def test_a_large_catalogue_is_trained_on_sampled_items_with_every_answer_among_them():
    targets = torch.tensor([7, 900, 7, 3])
    items, places = choices(1000, targets, 50)
    assert torch.equal(items[places], targets)
    assert len(items) <= 54
    everything, same = choices(10, targets.clamp_max(9), 50)
    assert torch.equal(everything[same], targets.clamp_max(9))


def test_prefix_queries_are_the_items_up_to_each_place():
    histories = torch.tensor([[PAD, 3, 4], [1, 2, 5]])
    keep = torch.tensor([[True, True, False], [False, True, True]])
    got = sequence.prefix_queries(histories, keep)
    assert [list(got.history(b)) for b in range(len(got))] == [[3], [3, 4], [1, 2], [1, 2, 5]]


def test_rows_are_moved_to_the_front_together_with_their_targets():
    histories = torch.tensor([[PAD, 3, 4], [1, 2, 5]])
    targets = torch.tensor([[PAD, 4, 6], [2, 5, 7]])
    rows, where = sequence.shifted(histories, histories)
    moved, _ = sequence.shifted(targets, histories)
    assert rows.tolist() == [[3, 4, PAD], [1, 2, 5]]
    assert moved.tolist() == [[4, 6, PAD], [2, 5, 7]]
    assert where.tolist() == [[True, True, False], [True, True, True]]


@pytest.mark.parametrize("mode", MODES)
def test_saved_state_gives_the_same_scores(folder, mode):
    ranker, other = make(folder, **MODES[mode]), make(folder, seed=2, **MODES[mode])
    items = np.array([[3, 0, 11], [5, 6, 7], [1, 2, 10]])
    state = {k: v.clone() for k, v in trainable_state(ranker).items()}
    assert not np.allclose(ranker.score(asked(), items), other.score(asked(), items))
    other.load_state_dict(state, strict=False)
    assert np.array_equal(ranker.score(asked(), items), other.score(asked(), items))
    assert np.array_equal(ranker.score(asked(), items), ranker.score(asked(), items))


def test_the_same_seed_gives_the_same_trace_and_another_seed_another(folder):
    def trace(seed):
        ranker = make(folder, cold_dropout=0.3, dropout=0.1, **MODES["sequence"])
        log = fit_best(ranker, ranker.batches, FitConfig(batch_size=4, epochs=2), seed=seed, device="cpu")
        return [record["losses"] for record in log.epochs], ranker.score(asked())

    (a, scores), (b, again), (c, _) = trace(1), trace(1), trace(2)
    assert a == b
    assert np.array_equal(scores, again)
    assert a != c


def test_the_sequence_prompt_learns_the_next_item(folder):
    ranker = make(folder, **MODES["sequence"])
    fit_best(ranker, ranker.batches, FitConfig(learning_rate=5e-3, batch_size=8, epochs=40), seed=1, device="cpu")
    queries = Queries.of([[k, k + 1, k + 2] for k in range(6)])
    assert (ranker.score(queries).argmax(1) == np.arange(3, 9)).mean() >= 0.8


@pytest.mark.parametrize(("items", "expected"), [(180, 63), (100, 35), (101, 35), (660, 231)])
def test_the_share_of_cold_items_is_not_one_short(items, expected):
    counts = np.arange(items)
    assert int(rarest(torch.as_tensor(counts)).sum()) == expected
    slices = make_slices(counts, np.ones(items, np.int64), counts)
    assert [int(slices[part].targets.sum()) for part in ("cold items", "warm items")] == [expected, expected]


def test_batches_of_equally_many_targets_hold_every_answer_once(folder):
    sizes = np.array([2, 2, 2, 2, 3, 3, 12, 12])
    users, items = np.repeat(np.arange(8), sizes), np.arange(sizes.sum()) % (ITEMS - 1)
    ids = np.array([str(i) for i in range(ITEMS)])
    train = Interactions.of(np.array([str(u) for u in range(8)]), ids, users, items)
    counts = {}
    for batch_by in ("sequences", "events"):
        ranker = make(folder, given=inputs(train=train), history_length=12, batch_by=batch_by, **MODES["sequence"])
        parts = list(ranker.batches(0, np.random.default_rng(0)))
        counts[batch_by] = [int((part.positives != PAD).sum()) for part in parts]
        assert sum(counts[batch_by]) == len(train) - 8  # all but each user's first event
    assert np.ptp(counts["events"]) < np.ptp(counts["sequences"])


def test_unseen_items_are_read_from_their_text(folder):
    ranker = make(folder, **MODES["sequence"])
    cold = ITEMS - 1
    plain = ranker.score(asked())
    changed = inputs()
    changed.items_from_text[cold] += 1.0
    again = make(folder, given=changed, **MODES["sequence"]).score(asked())
    different = np.abs(again - plain).max(0)
    assert different.argmax() == cold
    assert different[cold] > 1e-3
    joint = inputs()
    joint.items[cold] += 0.0
    every = make(folder, inference_latent="text", **MODES["sequence"]).score(asked())
    assert not np.allclose(every, plain)


def test_scores_do_not_depend_on_who_is_asked_together_or_on_where_the_answer_stands(folder):
    for mode in ("likelihood", "sequence"):
        ranker = make(folder, **MODES[mode])
        items = np.array([[3, 0, 11], [5, 6, 7], [1, 2, 10]])
        whole = ranker.score(asked(), items)
        one = np.concatenate([ranker.score(asked().slice(b, b + 1), items[b : b + 1]) for b in range(3)])
        assert np.allclose(whole, one, atol=1e-4)
        turned = ranker.score(asked(), items[:, [2, 0, 1]])
        assert np.allclose(whole[:, [2, 0, 1]], turned, atol=1e-4)


def test_generation_with_a_beam_for_each_candidate_is_the_likelihood(folder):
    items = np.array([[3, 0, 11], [5, 6, 7], [1, 2, 10]])
    exact = make(folder).score(asked(), items)
    beams = make(folder, scoring="generate", beams=3).score(asked(), items)
    assert np.allclose(exact, beams, atol=2e-3)
    greedy = make(folder, scoring="generate").score(asked(), items)
    assert ((greedy > -1e4).sum(1) == 1).all()  # one item comes out, and it is always a candidate


def test_the_authors_rule_gives_hits_only(folder):
    items = np.array([[3, 0, 11], [5, 6, 7], [1, 2, 10]])
    assert set(np.unique(make(folder, scoring="paper").score(asked(), items))) <= {0.0, 1.0}


def test_titles_alone_need_no_vectors(folder):
    ranker = make(folder, slots={"user": "none", "item": "none"}, head_weight=0.0)
    assert not list(ranker.parameters())  # nothing to train: what the model can do by itself
    assert ranker.score(asked(), np.array([[3, 0], [5, 6], [1, 2]])).shape == (3, 2)


def test_the_closed_form_puts_soft_tokens_nearer_to_titles_than_chance(folder):
    assert make(folder, projector_init="titles").fit_r2 > 0.5
    assert make(folder, projector_init="xavier").fit_r2 is None


def test_the_mixture_reads_the_backbone_for_seen_items_only(folder):
    ranker = make(folder, **MODES["distilled"])
    before = ranker.score_fusion.numbers.clone()
    assert np.isfinite(ranker.calibrate(Queries.of([[k] for k in range(8)]), np.arange(1, 9)))
    assert not torch.equal(before, ranker.score_fusion.numbers)
    nothing, base = torch.zeros(1, 2), torch.tensor([[3.0, 3.0]])
    scores = ranker.score_fusion(nothing, base, nothing, torch.tensor([0.0, 1e6]))
    weight, constant = ranker.score_fusion.numbers[1].exp(), ranker.score_fusion.numbers[[4, 6]].sum()
    assert float(scores[0, 0]) == pytest.approx(float(constant), abs=1e-5)
    assert float(scores[0, 1]) == pytest.approx(float(weight * 3.0), abs=1e-3)


def test_likeness_of_texts_is_the_cosine_with_the_mean_of_the_last_items():
    texts = torch.tensor([[3.0, 0.0], [0.0, 2.0], [-3.0, 0.0], [0.0, -2.0]])
    got = TextSimilarity(texts)(Queries.of([[0], [0, 1], []]))
    assert torch.allclose(got[0] / 10, torch.tensor([1.0, 0.0, -1.0, 0.0]), atol=1e-6)
    assert torch.allclose(got[1] / 10, torch.tensor([0.5, 0.5, -0.5, -0.5]), atol=1e-6)
    assert torch.equal(got[2], torch.zeros(4))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"scoring": "head"}, "head_weight > 0"),
        ({"scoring": "head", "head_weight": 1.0, "slots": {"item": "none"}}, "cannot be 'none'"),
        ({"lm_weight": 0.0}, "nothing to train"),
    ],
)
def test_settings_that_cannot_work_are_explained(folder, options, words):
    with pytest.raises(ConfigError, match=words):
        make(folder, **options)


@pytest.mark.parametrize("options", [{"slots": {"item": "none"}}, {"head_weight": 0.0}, {"scoring": "likelihood"}])
def test_a_head_over_sequences_has_no_options_of_prompts(options):
    with pytest.raises(ConfigError):
        options_of(SequenceHead.Config, options, "here")


def test_a_backbone_without_user_vectors_needs_the_slot_off(folder):
    with pytest.raises(ConfigError, match=r"slots\.user"):
        make(folder, given=inputs(user_embeddings=None, user_dim=0))
    assert make(folder, given=inputs(user_embeddings=None, user_dim=0), slots={"user": "none"}).user_projector is None


def test_titles_cannot_rank_the_whole_catalogue(folder):
    with pytest.raises(ConfigError, match="candidates only"):
        make(folder).score(asked())


def test_what_counts_as_unread_is_what_the_backbone_has_not_learned(folder):
    """An item without events may bring its own vector, and one with events may have none."""
    given = inputs()
    brought, missing = ITEMS - 1, 0
    cold = np.zeros(ITEMS, bool)
    cold[missing] = True
    given = replace(given, cold_items=cold)
    ranker = make(folder, given=given, **MODES["sequence"])
    read = ranker.vectors_for_scoring()
    assert torch.equal(read[brought], ranker.vectors.joint[brought])
    assert torch.equal(read[missing], ranker.vectors.text[missing])
    own = IdVectors(replace(given, items_from_text=None)).items
    assert bool(own[brought].any())
    assert not bool(own[missing].any())
