from __future__ import annotations

import numpy as np
import pytest

from interlingua.data.sources._planted_words import THEMES
from interlingua.data.sources.planted import generate
from interlingua.errors import ConfigError


def hits_at_10(prepared, scores_of, only=None):
    queries, found = prepared.split.queries("test"), []
    for row in range(len(queries)):
        target = prepared.split.test.of_row(row)[0]
        if only is not None and not only[target]:
            continue
        history = queries.history(row)
        scores = scores_of(history).astype(float)
        scores[history] = -np.inf
        found.append((scores > scores[target]).sum() < 10)
    return float(np.mean(found))


@pytest.fixture(scope="module", params=[0, 1])
def world(request):
    return generate(seed=request.param)


def test_same_seed_same_world_other_seed_other_world(world):
    again, other = (generate(seed=s) for s in (0, 1))
    assert world.fingerprint in (again.fingerprint, other.fingerprint)
    assert again.fingerprint != other.fingerprint


def test_item_neighbours_clearly_beat_popularity(world):
    matrix = world.split.train.matrix()
    together = (matrix.T @ matrix).toarray()
    norms = np.sqrt(np.maximum(np.diag(together), 1))
    similar = together / np.outer(norms, norms)
    np.fill_diagonal(similar, 0)
    popular = np.asarray(matrix.sum(0)).ravel()
    neighbours = hits_at_10(world, lambda h: similar[h].sum(0))
    assert neighbours > 2 * hits_at_10(world, lambda h: popular)
    assert neighbours > 0.4


def test_texts_find_cold_items(world):
    items = world.catalogue.items
    texts = [" ".join(row).lower().replace(",", " ").replace(".", " ").split() for row in items.drop("item_id").rows()]
    words = {w: n for n, w in enumerate(sorted({w for t in texts for w in t}))}
    table = np.zeros((len(texts), len(words)))
    for row, text in enumerate(texts):
        table[row, [words[w] for w in text]] = 1
    table *= np.log(len(texts) / table.sum(0))
    table /= np.linalg.norm(table, axis=1, keepdims=True)
    cold = world.split.train.item_counts == 0
    assert hits_at_10(world, lambda h: table @ table[h].mean(0), cold) > 0.3  # chance: 10 of 200


def test_cold_items_have_test_events_only(world):
    cold = world.split.train.item_counts == 0
    assert cold.sum() == 10
    assert not np.isin(world.split.valid.items, np.flatnonzero(cold)).any()
    assert np.isin(world.split.test.items, np.flatnonzero(cold)).sum() >= 40
    assert (
        world.split.train.times.max()
        < world.interactions.times[np.isin(world.interactions.items, np.flatnonzero(cold))].min()
    )


def test_every_item_has_its_own_title_and_texts(world):
    items = world.catalogue.items
    assert items["title"].n_unique() == items.height
    assert items.null_count().sum_horizontal()[0] == 0
    assert world.catalogue.users.null_count().sum_horizontal()[0] == 0
    assert world.card["warnings"] == []


def test_no_user_has_an_item_twice_and_times_increase(world):
    data = world.interactions
    for user in range(data.num_users):
        own = slice(data.offsets[user], data.offsets[user + 1])
        assert len(set(data.items[own])) == own.stop - own.start
        assert (np.diff(data.times[own]) > 0).all()


def test_vocabularies_do_not_overlap():
    words = [w for own in THEMES.values() for w in own]
    assert len(words) == len(set(words))


@pytest.mark.parametrize(("users", "items"), [(1, 4), (5, 10), (50, 1000), (3, 4)])
def test_small_and_odd_sizes(users, items):
    out = generate(users, items, seed=2)
    assert out.interactions.num_users == users
    assert out.interactions.num_items <= items


def test_options_are_checked():
    with pytest.raises(ConfigError, match="did you mean 'history'"):
        generate(10, 20, histories=3)
    with pytest.raises(ConfigError, match="cold_share"):
        generate(10, 20, cold_share=0.9)


def test_other_splits():
    out = generate(100, 50, seed=1, split="global-time")
    assert out.split.protocol == "global-time-0.1-0.1"


def test_ratings_say_whether_a_theme_is_liked_and_leave_the_world_as_it_was():
    plain, rated = (generate(60, 40, seed=4, noise=0.5, ratings=ratings) for ratings in (False, True))
    assert plain.interactions.ratings is None
    assert np.array_equal(plain.interactions.items, rated.interactions.items)
    assert plain.catalogue.titles == rated.catalogue.titles
    stars = rated.interactions.ratings
    assert set(stars.tolist()) == {1, 2, 3, 4, 5}
    assert 0.4 < (stars >= 4).mean() < 0.9
