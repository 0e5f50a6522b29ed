from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.llm.vector_rankers import ITEMS, USERS, asked, events, inputs
from torch.nn import functional

from interlingua.config import FitConfig
from interlingua.contracts.fitting import Fitting
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError
from interlingua.injection.output_prompts import Event
from interlingua.rankers.llm_srec import LlmSrec, LlmSrecConfig
from interlingua.retrieval.ann import Ann
from interlingua.retrieval.best import best
from interlingua.testing.tiny_models import TITLES, build, tokenizer_of
from interlingua.training.loop import fit_best, trainable_state

DAY = 86_400


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny")
    build("llama").save_pretrained(path)
    tokenizer_of(True).save_pretrained(path)
    return str(path)


def dated(**changes):
    train = events()
    return inputs(train=replace(train, times=10 * 365 * DAY + DAY * np.arange(len(train))), has_times=True, **changes)


def make(folder, seed=1, given=None, **options):
    torch.manual_seed(seed)
    options = {"history_length": 5, "hidden_dim": 24, "output_dim": 8, "fit": FitConfig(batch_size=7), **options}
    return LlmSrec(LlmSrecConfig(model=folder, **options), given or dated())


def first_batch(ranker, seed=0):
    return next(iter(ranker.batches(0, np.random.default_rng(seed))))


def trained(ranker, epochs, rate=1e-2):
    config = FitConfig(learning_rate=rate, batch_size=7, epochs=epochs)
    fit_best(ranker, ranker.batches, config, seed=1, device="cpu")
    return ranker.eval()


def test_losses_are_those_worked_out_from_outputs_one_by_one(folder):
    ranker = make(folder, distill_weight=3.0, uniformity_weight=0.5).eval()
    batch = first_batch(ranker)
    with torch.no_grad():
        got = ranker(batch)
        users, base = [], []
        for row in range(len(batch)):
            history = batch.histories[row][batch.histories[row] >= 0].tolist()
            times = batch.history_times[row][batch.histories[row] >= 0].tolist()
            query = Queries.of([history])
            query = replace(query, users=batch.users[row : row + 1].numpy(), times=np.array(times))
            users.append(ranker.user_states(query)[0])
            base.append(ranker.base_map(ranker.ids.users(query))[0])
        items = ranker.item_states()
    rec, dist, pairs = 0.0, 0.0, {"uniform_user": [], "uniform_base": []}
    for row, user in enumerate(users):
        drawn = [int(batch.positives[row]), *batch.negatives[row].tolist()]
        products = [math.exp(float((user * items[i]).sum())) for i in drawn]
        rec -= math.log(products[0] / sum(products)) / len(users)
        gap = user / user.norm() - base[row] / base[row].norm()
        dist += float((gap**2).sum()) / 8 / len(users)
        for name, side in (("uniform_user", users), ("uniform_base", base)):
            for other in range(row):
                apart = side[row] / side[row].norm() - side[other] / side[other].norm()
                pairs[name].append(math.exp(-2 * float((apart**2).sum())))
    assert len(drawn) == 4
    assert float(got["rec"]) == pytest.approx(rec, rel=1e-3)
    assert float(got["distill"]) == pytest.approx(3 * dist, rel=1e-3)
    for name, values in pairs.items():
        assert float(got[name]) == pytest.approx(0.5 * np.mean(values), rel=1e-3)


def test_a_shuffled_history_moves_the_users_output_after_training(folder):
    """The backbone's user is its last item, so that only the order tells which: distillation must make it count."""
    table = torch.randn(ITEMS, 6, generator=torch.Generator().manual_seed(3))

    def last(queries):
        ends = [int(queries.history(row)[-1]) if len(queries.history(row)) else 0 for row in range(len(queries))]
        return table[torch.as_tensor(ends)]

    given = dated(items=table, user_embeddings=last)
    ordered = given.train.queries()
    turned = Queries.of([ordered.history(row)[::-1] for row in range(USERS)], np.arange(USERS))
    ordered = replace(ordered, times=None)

    def alike(ranker):
        return float(functional.cosine_similarity(ranker.user_states(ordered), ranker.user_states(turned)).mean())

    before = alike(make(folder, given=given).eval())
    after = alike(trained(make(folder, given=given), 30))
    assert after < min(0.8, before)


def test_the_output_token_is_the_last_whatever_is_cut(folder):
    ranker = make(folder, history_length=8)
    whole = ranker.prompts.user_texts([[Event(item) for item in range(8)]])[0]
    short = make(folder, history_length=8, max_tokens=len(whole.ids) - 20)
    row = short.prompts.user_texts([[Event(item) for item in range(8)]])[0]
    assert row.ids[-1] == whole.ids[-1] == -2
    assert len(row.ids) <= len(whole.ids) - 20
    assert row.items == list(range(8))[-len(row.items) :]
    assert 0 < len(row.items) < 8
    with pytest.raises(ConfigError, match="max_tokens"):
        make(folder, max_tokens=16).prompts.user_texts([[Event(0)]])


def test_dates_are_printed_where_the_data_have_times_and_only_there(folder, tmp_path):
    ranker = make(folder)
    card = ranker.write_extras(tmp_path)
    assert card["dates"] == "%Y-%m-%d"
    assert "1. 1980-01-02 " in card["example"]
    assert card["example"].endswith("{out}")
    assert card["example"].count("{item}") == 5
    times = np.full(3, 10 * 365 * DAY)
    known = replace(asked().slice(0, 1), times=times)
    later = replace(known, times=times + 400 * DAY)
    states = [ranker.user_states(query) for query in (known, later, asked().slice(0, 1))]
    assert not torch.allclose(states[0], states[1])
    assert not torch.allclose(states[0], states[2])
    for plain in (make(folder, date_format=""), make(folder, given=inputs())):
        assert "1980" not in plain.write_extras(tmp_path)["example"]
        torch.testing.assert_close(plain.user_states(known), plain.user_states(later))
    assert ". in 1980 " in make(folder, date_format="in %Y").write_extras(tmp_path)["example"]
    with pytest.raises(ValueError, match="no part of a date"):
        LlmSrecConfig(model=folder, date_format="soon")


def test_cached_outputs_of_items_are_those_made_anew_and_of_these_weights(folder):
    ranker = make(folder).eval()
    first = ranker.item_states().clone()
    trained(ranker, 1)
    again = ranker.item_states()
    assert not torch.allclose(again, first)
    with torch.no_grad():
        alone = torch.cat([ranker._outputs("item", ranker.prompts.item_texts([row])) for row in range(ITEMS)])
    torch.testing.assert_close(again, alone, rtol=1e-4, atol=1e-5)


def test_its_towers_find_what_its_scores_rank(folder):
    ranker = make(folder).eval()
    towers = ranker.towers()
    scores = ranker.score(asked())
    torch.testing.assert_close(towers.users(asked()) @ towers.items.T, torch.as_tensor(scores))
    found = best(ranker, asked(), 4)
    hidden = scores.copy()
    for row in range(3):
        hidden[row, asked().history(row)] = -np.inf
    expected = np.argsort(-hidden, 1, kind="stable")[:, :4]
    assert np.array_equal(found.indices, expected)
    pytest.importorskip("usearch")
    assert np.array_equal(best(Ann.of(ranker), asked(), 4).indices, expected)


def test_items_that_came_later_are_read_by_their_titles(folder):
    known = make(folder).eval()
    state = {k: v.clone() for k, v in trainable_state(known).items()} | {"item_state_table": known.item_states()}
    given = dated()
    train = replace(given.train, item_ids=np.append(given.train.item_ids, "later"))
    grown = make(folder, seed=2, given=replace(
        given, items=torch.cat([given.items, given.items[3:4]]), titles=[*TITLES, TITLES[3]], train=train, added=1,
        items_from_text=torch.cat([given.items_from_text, given.items[3:4]]),
        cold_items=np.append(given.cold_items, True),
    ))  # fmt: skip
    grown.load_state_dict(state, strict=False)
    scores = grown.eval().score(asked())
    np.testing.assert_allclose(scores[:, :ITEMS], known.score(asked()), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(scores[:, ITEMS], scores[:, 3], rtol=1e-3, atol=1e-4)


def test_it_learns_the_next_item(folder):
    ranker = make(folder)
    losses = []
    for epochs in (1, 25):
        config = FitConfig(learning_rate=1e-2, batch_size=7, epochs=epochs)
        losses.append(fit_best(ranker, ranker.batches, config, seed=1, device="cpu").epochs[-1]["losses"])
    assert losses[1]["rec"] < 0.7 * losses[0]["rec"]
    alike = (2 - 2 * 0.6) / 8  # (2 - 2 cos) / W at a cosine of .6
    assert losses[1]["distill"] < alike < losses[0]["distill"]


def test_without_distillation_nothing_of_the_users_is_asked(folder):
    ranker = make(folder, distillation="none", given=dated(user_embeddings=None))
    assert set(ranker(first_batch(ranker))) == {"rec", "uniform_user"}
    assert "users" not in LlmSrecConfig(model=folder, distillation="none").needs
    with pytest.raises(ConfigError, match="user vectors"):
        make(folder, given=dated(user_embeddings=None))


def test_early_stopping_reads_outputs_of_the_weights_as_they_are(folder):
    """Each validation sees items read anew, and the best round's weights come back with their items."""
    ranker, seen = make(folder), []

    def loop(batches, config):
        def validate():
            seen.append(ranker.item_states().clone())
            return {"ndcg@10": -float(len(seen))}

        return fit_best(ranker, batches, config, seed=1, device="cpu", validate=validate)

    ranker.config = ranker.config.model_copy(
        update={"fit": FitConfig(learning_rate=1e-2, batch_size=7, epochs=4, patience=2, patience_steps=0)}
    )
    log = ranker.fit(Fitting(ranker.inputs.train, loop=loop))
    assert len(log.epochs) == 3
    assert not torch.allclose(seen[0], seen[1])
    assert torch.equal(ranker.item_state_table, seen[0])


@pytest.mark.parametrize("option", ["user_template", "item_template"])
def test_other_words_are_other_outputs_and_a_text_must_end_with_its_output(folder, tmp_path, option):
    key, list_ = ("history", "history") if option == "user_template" else ("target", "target")
    path, wrong = tmp_path / "mine.txt", tmp_path / "wrong.txt"
    path.write_text(f'{key}: "{{title}}"{{item}}\n---\nOnly {{{list_}}}: {{out}}', encoding="utf-8")
    wrong.write_text(f'{key}: "{{title}}"{{item}}\n---\nOnly {{{list_}}}: {{out}}.', encoding="utf-8")
    mine, usual = make(folder, **{option: str(path)}), make(folder)
    assert not np.allclose(mine.score(asked()), usual.score(asked()))
    with pytest.raises(ConfigError, match=r"must end with \{out\}"):
        make(folder, **{option: str(wrong)})
