"""The logit of what is known: its parts by hand, what it learns on made-up answers, and its vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from interlingua.contracts.scorer import TableScorer, Towers
from interlingua.data.interactions import Interactions
from interlingua.data.queries import Queries
from interlingua.fuse.logit import Logit, LogitConfig
from interlingua.fuse.sum import SumConfig, WeightedSum
from interlingua.injection.score_fusion import seen_mask
from interlingua.nn import conditional_logit as logit
from interlingua.nn import kind_constants

ITEMS, WIDTH = 80, 4


def world(users: int = 300, seed: int = 0) -> Interactions:
    """Popularity falls with the row; the last five items have no event."""
    draw = np.random.default_rng(seed)
    chance = np.r_[1 / np.arange(1, ITEMS - 4), np.zeros(5)]
    items = [draw.choice(ITEMS, 6, replace=False, p=chance / chance.sum()) for _ in range(users)]
    ids = [f"i{number}" for number in range(ITEMS)]
    return Interactions.of(
        np.array([f"u{number}" for number in range(users)]), np.array(ids), np.repeat(np.arange(users), 6),
        np.concatenate(items), np.arange(6 * users),
    )  # fmt: skip


def table(seed: int, unseen: TableScorer | None = None, bias: bool = False) -> TableScorer:
    draw = torch.Generator().manual_seed(seed)
    rows, of_users = torch.randn(ITEMS, WIDTH, generator=draw), torch.randn(1000, WIDTH, generator=draw)
    extra = torch.randn(ITEMS, generator=draw) if bias else None
    return TableScorer(rows, lambda queries: of_users[torch.as_tensor(queries.users)], extra, unseen)


def asked(train: Interactions, number: int = 300) -> Queries:
    return train.queries(np.arange(number))


def drawn(utility: torch.Tensor, queries: Queries, seed: int = 1) -> np.ndarray:
    """An answer for each query, by a softmax over what the user has not had."""
    utility = utility.clone()
    for row in range(len(queries)):
        utility[row, torch.as_tensor(queries.history(row).astype(np.int64))] = -torch.inf
    return torch.multinomial(utility.softmax(1), 1, generator=torch.Generator().manual_seed(seed))[:, 0].numpy()


def test_utilities_by_hand() -> None:
    scores = torch.tensor([[[1.0, 2.0]], [[3.0, -1.0]]])  # two members, one question, two items
    known = logit.Known(torch.tensor([0.5, -2.0]), torch.tensor([logit.OTHER, logit.UNSEEN]))
    numbers = torch.tensor([1.0, 2.0, 0.1, 0.2, 10.0, 20.0, 0.3, 0.4, 5.0, 7.0])
    first = (1 + 0.1 * 0.5 + 0.3 * 2) * 1 + (2 + 0.2 * 0.5 + 0.4 * 2) * 3 + 5 * 0.5
    second = (1 - 0.1 * 2 + 10 + 0.3 * 2) * 2 - (2 - 0.2 * 2 + 20 + 0.4 * 2) * 1 - 5 * 2 + 7
    found = logit.utilities(numbers, scores, known, torch.tensor([2.0]))
    torch.testing.assert_close(found, torch.tensor([[first, second]]))


def test_rivals_stand_for_the_whole_catalogue() -> None:
    """The weighted sum over rivals is exact where all are drawn, and right on average where they are not."""
    draw = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 40, ITEMS, generator=draw)
    seen = torch.rand(40, ITEMS, generator=draw) < 0.1
    answers = torch.randint(ITEMS, (40,), generator=draw)
    free = ~seen
    free[torch.arange(40), answers] = True
    value = torch.randn(40, ITEMS, generator=draw)
    expected = torch.where(free, value.exp(), 0.0).sum(1)

    def estimate(uniform: int, seed: int) -> torch.Tensor:
        rivals = logit.choose_rivals(scores, answers, seen, torch.Generator().manual_seed(seed), 5, uniform)
        assert (rivals.items.gather(1, rivals.answer[:, None])[:, 0] == answers).all()
        used = rivals.log_weights > -torch.inf
        for row in range(40):
            rows = rivals.items[row][used[row]].tolist()
            assert len(rows) == len(set(rows))
            assert all(free[row, item] for item in rows)
        return (value.gather(1, rivals.items) + rivals.log_weights).exp().sum(1)

    torch.testing.assert_close(estimate(ITEMS, 0), expected)
    mean = torch.stack([estimate(12, seed) for seed in range(200)]).mean(0)
    assert ((mean - expected).abs() / expected).max() < 0.15


def test_ranks_are_exact_with_all_rivals() -> None:
    utility = torch.tensor([[0.0, 3.0, 1.0, 1.0, 2.0]])
    seen = torch.tensor([[False, True, False, False, False]])
    rivals = logit.choose_rivals(utility[None], torch.tensor([2]), seen, torch.Generator(), 2, 10)
    assert logit.ranks(utility.gather(1, rivals.items), rivals).tolist() == [2.5]  # behind 2.0, level with one other


def test_standardised_by_hand_and_what_is_neutral() -> None:
    scores, unseen = torch.tensor([[1.0, 2.0, 6.0]]), torch.tensor([[5.0, 5.0, 5.0]])
    spread = np.std([1, 2, 6])
    hidden = torch.tensor([False, True, False])
    expected = torch.tensor([[(1 - 3) / spread, 0.0, (6 - 3) / spread]], dtype=torch.float32)
    torch.testing.assert_close(logit.standardised(scores, None, hidden), expected)
    expected[0, 1] = 2 / spread
    torch.testing.assert_close(logit.standardised(scores, unseen, hidden), expected)


def test_it_learns_which_member_to_trust_for_which_items() -> None:
    """One member knows popular items, the other rare ones: a sum cannot follow, weights by the record can."""
    train = world()
    queries, members = asked(train), [table(1), table(2)]
    record = logit.known_of(torch.as_tensor(train.item_counts, dtype=torch.float32)).record
    own = [torch.as_tensor(member.score(queries)) for member in members]
    z = [(each - each.mean(1, keepdim=True)) / each.std(1, keepdim=True) for each in own]
    truth = (1.5 + 1.5 * record) * z[0] + (1.5 - 1.5 * record) * z[1]
    answers = drawn(truth, queries)

    def fitted(**options: bool) -> Logit:
        made = Logit(LogitConfig(hidden=[], bend=0, pull=1e-4, balance=False, **options), members, train)
        made.calibrate(queries, answers)
        return made

    made = fitted()
    a, b = made.numbers[:2], made.numbers[2:4]
    assert a.min() > 0.8
    assert b[0] > 0.7
    assert b[1] < -0.7
    held, more = asked(train), drawn(truth, queries, seed=9)

    def gain(scorer: Logit) -> float:
        scores = scorer.score(held)
        ranks = (scores > scores[np.arange(len(more)), more][:, None]).sum(1)
        return float((1 / np.log2(ranks + 2)).mean())

    assert gain(made) > gain(fitted(by_item=False)) + 0.02


@pytest.fixture(scope="module")
def texts_and_ids() -> tuple[Interactions, Queries, Sequence[TableScorer], np.ndarray]:
    """The id model is right for items with events; the text model is right for all, but noisier."""
    train = world()
    queries = asked(train)
    true = table(5)
    noise = table(6)
    text = TableScorer(true.items + 0.8 * noise.items, true.user_embeddings)
    text.unseen = text
    ids = TableScorer(true.items + 0.1 * noise.items, true.user_embeddings)
    utility = 2.0 * torch.as_tensor(true.score(queries))
    utility[:, train.item_counts == 0] = -torch.inf  # validation answers have events
    return train, queries, [ids, text], drawn(utility, queries)


def test_simulated_coldness_teaches_what_validation_cannot_show(texts_and_ids) -> None:
    train, queries, members, answers = texts_and_ids
    made = Logit(LogitConfig(bend=0, balance=False), members, train)
    made.calibrate(queries, answers)
    plain = Logit(LogitConfig(bend=0, balance=False, hidden=[]), members, train)
    plain.calibrate(queries, answers)
    on_unseen = [each.numbers[1] + each.numbers[5] for each in (made, plain)]  # of the text member: a and e
    assert on_unseen[0] > on_unseen[1] + 0.1
    assert made.numbers[-1] > plain.numbers[-1] + 0.1  # items without events are never the answer there
    scores = made.score(queries)
    new = np.flatnonzero(train.item_counts == 0)
    of_text = members[1].score(queries)[:, new]
    same = [np.corrcoef(ours, theirs)[0, 1] for ours, theirs in zip(scores[:, new], of_text, strict=True)]
    assert np.min(same) > 0.999  # new items are ordered by texts; what the id model says of them is no knowledge


def test_balance_places_new_items_nearly_as_high_as_texts_do(texts_and_ids) -> None:
    train, queries, members, answers = texts_and_ids
    without = Logit(LogitConfig(balance=False), members, train)
    without.calibrate(queries, answers)
    made = Logit(LogitConfig(), members, train)
    made.calibrate(queries, answers)
    torch.testing.assert_close(made.numbers, without.numbers)
    assert made.offsets[logit.OTHER] == 0
    assert worst(made, queries, answers) > worst(without, queries, answers) + 0.02
    assert worst(made, queries, answers) > 0.9


def worst(made: Logit, queries: Queries, answers: np.ndarray) -> float:
    """The smallest ratio to the best member, over kinds of answers, on questions with other hidden items."""
    hidden = [torch.zeros(ITEMS, dtype=torch.bool), *logit.hidden_items(made.counts, [0.3, 0.3, 0.3])[1:]]
    blocks = made._blocks(queries, torch.as_tensor(answers), hidden)
    utility = [logit.utilities(made.numbers, b.scores, b.known, b.users) + made.offsets[b.known.kinds] for b in blocks]
    kinds = [block.known.kinds.gather(1, block.rivals.answer[:, None])[:, 0] for block in blocks]

    def placed(each: list[torch.Tensor]) -> torch.Tensor:
        rank = torch.cat([logit.ranks(scores, block.rivals) for scores, block in zip(each, blocks, strict=True)])
        return torch.zeros(4, 3).index_add_(0, torch.cat(kinds), kind_constants.measured(rank))

    single = [placed([block.scores[member] for block in blocks]) for member in range(2)]
    counts = torch.bincount(torch.cat(kinds), minlength=4) >= kind_constants.LEAST
    return float((placed(utility) / torch.stack(single).max(0).values)[counts].min())


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("by_user", [False, True])
def test_the_joined_vectors_give_the_same_scores(texts_and_ids, bias: bool, by_user: bool) -> None:
    train, queries, members, answers = texts_and_ids
    members = [*members, table(8, bias=bias)]
    made = Logit(LogitConfig(by_user=by_user, bend=0), members, train)
    made.calibrate(queries, answers)
    check(made.towers(), made.score(queries), queries)
    joined = WeightedSum(SumConfig(weights=[1.0, 0.5, 2.0]), members, train)
    check(joined.towers(), joined.score(queries), queries)


def check(towers: Towers | None, expected: np.ndarray, queries: Queries) -> None:
    assert towers is not None
    found = towers.users(queries) @ towers.items.T
    found = found if towers.bias is None else found + towers.bias
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-3)


def test_without_questions_it_is_the_plain_sum(texts_and_ids) -> None:
    train, queries, members, _ = texts_and_ids
    made = Logit(LogitConfig(), members, train)
    made.calibrate(Queries.of([]), np.zeros(0, np.int64))
    old = train.item_counts > 0
    expected = WeightedSum(SumConfig(weights=[0.5, 0.5]), members, train).score(queries)
    np.testing.assert_allclose(made.score(queries)[:, old], expected[:, old], atol=1e-5)


def test_shares_of_hidden_items_lie_between_0_and_1() -> None:
    with pytest.raises(ValueError, match="above 0 and below 1"):
        LogitConfig(hidden=[0.5, 1.0])


@pytest.mark.parametrize(("spread", "welcoming"), [(0.0, False), (1e-4, True), (0.9, True), (40.0, True)])
def test_a_member_welcomes_newcomers_if_it_tells_any_two_items_apart(
    texts_and_ids, spread: float, welcoming: bool
) -> None:
    train, _, members, _ = texts_and_ids
    scores = torch.linspace(0.0, spread, ITEMS)[:, None]
    said = TableScorer(scores, lambda some: torch.ones(len(some), 1))
    made = Logit(LogitConfig(), [*(_reading_histories(member) for member in members), said], train)
    assert made.welcoming.tolist() == [False] * len(members) + [welcoming]
    assert made.welcomes_newcomers == welcoming


@pytest.mark.parametrize("bias", [False, True])
def test_who_has_no_history_gets_what_is_said_of_newcomers(texts_and_ids, bias: bool) -> None:
    """Popularity has the word alone: weights and constants that were learned on histories say nothing there."""
    train, queries, members, answers = texts_and_ids
    counts = torch.as_tensor(train.item_counts, dtype=torch.float32)
    popular = TableScorer(
        torch.zeros(ITEMS, 1) if bias else counts[:, None], lambda some: torch.ones(len(some), 1),
        counts if bias else None,
    )  # fmt: skip
    histories_only = [_reading_histories(member) for member in members]
    made = Logit(LogitConfig(max_questions=100, bend=0), [*histories_only, popular], train)
    assert made.welcoming.tolist() == [False] * len(members) + [True]
    made.calibrate(queries, answers)
    nothing: list[list[int]] = [[], [1, 2]]
    some = Queries.of(nothing)
    scores = made.score(some)
    known = np.argsort(-counts.numpy()[counts.numpy() > 0], kind="stable")
    np.testing.assert_array_equal(np.argsort(-scores[0][counts.numpy() > 0], kind="stable"), known)
    assert np.corrcoef(scores[1], counts.numpy())[0, 1] < 0.999
    check(made.towers(), scores, some)


def _reading_histories(member: TableScorer) -> TableScorer:
    """The same items; users are sums over their histories, so nobody without one has a vector."""

    def users(queries: Queries) -> torch.Tensor:
        return torch.stack(
            [member.items[torch.as_tensor(queries.history(b).astype(np.int64))].sum(0) for b in range(len(queries))]
        )

    return TableScorer(member.items, users, None, member.unseen)


def test_bends_by_hand() -> None:
    scores = torch.tensor([[[1.0, 2.5]], [[4.0, -3.0]]])
    assert logit.bent(scores, 0) is scores
    torch.testing.assert_close(logit.bent(scores, 2.0), torch.cat([scores, torch.tensor([[[0.0, 0.5]], [[2.0, 0.0]]])]))


def test_a_member_that_is_right_only_where_it_is_sure_is_heard_there() -> None:
    """The answer is what one member puts far above the rest, else what the other says: only bends can say both."""
    train = world()
    queries, sure, steady = asked(train), table(1), table(2)
    own = [torch.as_tensor(member.score(queries)) for member in (sure, steady)]
    z = [(each - each.mean(1, keepdim=True)) / each.std(1, keepdim=True) for each in own]
    truth = 6 * (z[0] - 1.5).clamp(min=0) + 1.0 * z[1]
    answers, later = drawn(truth, queries), drawn(truth, queries, seed=4)

    def likelihood(bend: float) -> float:
        config = LogitConfig(hidden=[], bend=bend, balance=False, pull=1e-3)
        made = Logit(config, [sure, steady], train)
        made.calibrate(queries, answers)
        scores = torch.as_tensor(made.score(queries)).masked_fill(seen_mask(queries, ITEMS), -torch.inf)
        return float(scores.log_softmax(1)[torch.arange(len(later)), torch.as_tensor(later)].mean())

    assert likelihood(1.5) > likelihood(0) + 0.1
    made = Logit(LogitConfig(), [sure, steady], train)
    assert made.towers() is None  # a bend is no product


def test_questions_without_a_history_are_learned_from_apart(texts_and_ids) -> None:
    """Newcomers follow one of two popularities; whoever has a history does not learn from them."""
    train, queries, members, answers = texts_and_ids
    draw = torch.Generator().manual_seed(2)
    rows = [torch.randn(ITEMS, 1, generator=draw) for _ in range(2)]
    popular = [TableScorer(each, lambda some: torch.ones(len(some), 1)) for each in rows]
    parts = [*(_reading_histories(member) for member in members), *popular]
    lists: list[list[int]] = [[] for _ in range(200)]
    followed = torch.stack([2 * rows[1][:, 0]] * 200)
    newcomers = drawn(followed, Queries.of(lists))
    some = Queries.of([*lists, *(queries.history(row).tolist() for row in range(len(queries)))])
    some = replace(some, users=np.arange(len(some)))
    config = LogitConfig(balance=False, hidden=[])
    made = Logit(config, parts, train)
    assert made.welcome.tolist() == [0.0, 0.0, 0.5, 0.5]
    made.calibrate(some, np.concatenate([newcomers, answers]))
    assert made.welcome[:2].tolist() == [0.0, 0.0]
    assert made.welcome[3] > 4 * made.welcome[2].abs()
    alone = Logit(config, parts, train)
    alone.calibrate(some.take(np.arange(200, len(some))), answers)
    torch.testing.assert_close(made.numbers, alone.numbers)
    assert alone.welcome.tolist() == [0.0, 0.0, 0.5, 0.5]


def test_where_no_member_knows_newcomers_the_constants_of_items_are_left(texts_and_ids) -> None:
    train, queries, members, answers = texts_and_ids
    made = Logit(LogitConfig(max_questions=100, bend=0), [_reading_histories(member) for member in members], train)
    assert not made.welcomes_newcomers
    made.calibrate(queries, answers)
    (scores,) = made.score(Queries.of([[]]))
    unseen = (made.known.kinds == logit.UNSEEN).float()
    constants = made.numbers[-2] * made.known.record + made.numbers[-1] * unseen + made.offsets[made.known.kinds]
    assert np.ptp(scores) > 0.01
    assert np.corrcoef(scores, constants.numpy())[0, 1] > 0.9


def test_few_users_pull_to_the_plain_sum_and_get_no_balance(texts_and_ids) -> None:
    train, queries, members, answers = texts_and_ids

    def fitted(users: int) -> Logit:
        which = np.repeat(np.arange(users), 300 // users)
        made = Logit(LogitConfig(bend=0), members, train)
        made.calibrate(queries.take(which), answers[which])
        return made

    few, many = fitted(10), fitted(300)  # as many questions
    plain = logit.plain(len(members))
    assert (few.numbers - plain).norm() < 0.5 * (many.numbers - plain).norm()
    assert not few.offsets.any()
    assert many.offsets.any()
