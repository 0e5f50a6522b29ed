"""CTRL and what A-LLMRec calls so: the similarity of sub-spaces, both contrasts by hand, sentences, and two phases."""

from __future__ import annotations

import functools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

from interlingua.align._prefix_sentences import Words
from interlingua.align.ctrl import Ctrl, CtrlConfig
from interlingua.align.ctrl_a_llmrec import CtrlALlmRec, CtrlALlmRecConfig, both_ways
from interlingua.contracts.batch import Embeddings, Encoded
from interlingua.contracts.fit_log import FitLog
from interlingua.contracts.fitting import Fitting
from interlingua.data.interactions import Interactions
from interlingua.errors import ConfigError
from interlingua.nn.sub_spaces import fine_grained
from interlingua.runs import recipe as recipes
from interlingua.runs import stages
from interlingua.runs.opening import open_session
from interlingua.runs.session import Session
from interlingua.training.prefixes import by_different_users, by_users, prefix_batches, spread
from interlingua.vectors.readable import ReadableRows

BOTH = pytest.mark.parametrize("name", ["ctrl", "ctrl-a-llmrec"])


def test_one_sub_space_is_the_plain_product() -> None:
    left, right = torch.randn(4, 1, 6), torch.randn(5, 1, 6)
    torch.testing.assert_close(fine_grained(left, right), left[:, 0] @ right[:, 0].T)


def test_similarity_is_a_sum_of_best_products_and_at_least_any_fixed_pairing() -> None:
    left, right = torch.randn(4, 3, 6), torch.randn(5, 3, 6)
    found = fine_grained(left, right)
    for a in range(4):
        for b in range(5):
            slow = sum(max(float(part @ other) for other in right[b]) for part in left[a])
            assert float(found[a, b]) == pytest.approx(slow, rel=1e-4, abs=1e-5)
    for pairing in ([0, 1, 2], [2, 0, 1], [1, 1, 0]):
        fixed = torch.einsum("amd,bmd->ab", left, right[:, pairing])
        assert bool((found >= fixed - 1e-5).all())


def test_infonce_of_raw_products_by_hand() -> None:
    """One sub-space of one dimension, two rows: products, not cosines, over 0.7, both directions halved."""
    states, sentences = torch.tensor([[[2.0]], [[1.0]]]), torch.tensor([[[3.0]], [[-1.0]]])
    products = np.array([[6.0, -2.0], [3.0, -1.0]]) / 0.7
    rows = np.log(np.exp(products).sum(1)) - products.diagonal()
    columns = np.log(np.exp(products).sum(0)) - products.diagonal()
    value = Ctrl(CtrlConfig(), 4, 4).contrast(states, sentences)
    assert float(value) == pytest.approx((rows.mean() + columns.mean()) / 2, rel=1e-4)


def test_the_other_ctrls_loss_is_of_the_diagonal_and_the_rest_apart() -> None:
    states, sentences = torch.randn(5, 3, 4), torch.randn(5, 3, 4)
    own = torch.eye(5)
    expected = torch.zeros(())
    for matrix in (fine_grained(states, sentences), fine_grained(sentences, states)):
        each = functional.binary_cross_entropy_with_logits(matrix, own, reduction="none")
        expected = expected + (each.diagonal().mean() + each[own == 0].mean()) / 2
    torch.testing.assert_close(both_ways(states, sentences), expected)
    blocks = CtrlALlmRec(CtrlALlmRecConfig(block=3), 4, 4).contrast(states, sentences)
    torch.testing.assert_close(blocks, both_ways(states[:3], sentences[:3]) + both_ways(states[3:], sentences[3:]))


def a_world() -> Interactions:
    histories = [[0, 1, 2, 3, 4, 5, 6], [7, 8], [9], [3, 2, 1, 0]]
    users = np.repeat(np.arange(4), [len(history) for history in histories])
    names = np.array([f"u{n}" for n in range(4)]), np.array([f"i{n}" for n in range(12)])
    return Interactions.of(*names, users, np.concatenate(histories))


def test_prefixes_lie_evenly_over_a_history_and_the_last_is_among_them() -> None:
    train = a_world()
    assert spread(train, 1).tolist() == [6, 8, 13]
    assert spread(train, 3).tolist() == [2, 4, 6, 8, 11, 12, 13]
    assert spread(train, 99).tolist() == [1, 2, 3, 4, 5, 6, 8, 11, 12, 13]


@pytest.mark.parametrize("size", [2, 3, 50])
def test_no_batch_of_ctrl_has_a_user_twice_and_an_epoch_has_every_prefix_once(size: int) -> None:
    train = a_world()
    events = spread(train, 99)
    parts = by_different_users(events, train, size, np.random.default_rng(0))
    assert sorted(np.concatenate(parts).tolist()) == events.tolist()
    for part in parts:
        assert len(part) <= size
        assert len(set(train.users[part].tolist())) == len(part)


def test_batches_of_the_other_hold_users_with_all_their_prefixes_in_order() -> None:
    train = a_world()
    parts = by_users(spread(train, 99), train, 2, np.random.default_rng(0))
    assert sorted(len(set(train.users[part].tolist())) for part in parts) == [1, 2]
    for part in parts:
        for user in set(train.users[part].tolist()):
            own = part[train.users[part] == user].tolist()
            assert own == [event for event in spread(train, 99).tolist() if train.users[event] == user]


def test_a_prefix_batch_is_what_came_before_each_event() -> None:
    train = a_world()
    (batch,) = prefix_batches(train, [np.array([5, 8, 12])], 3)
    assert batch.histories is not None
    assert batch.events is not None
    assert batch.histories.tolist() == [[2, 3, 4], [-1, -1, 7], [-1, 3, 2]]
    assert (batch.positives.tolist(), batch.events.tolist()) == ([5, 8, 1], [5, 8, 12])
    assert batch.negatives is None, "nobody reads any"


def source(titles: list[str], texts: list[str], encode: Any = None) -> ReadableRows:
    """Three wide vectors of items, and of whatever is read."""
    made = encode or (lambda read: torch.randn(len(read), 3))
    return ReadableRows(torch.randn(len(titles), 3), None, titles=titles, texts=texts, encode=made)


@BOTH
def test_a_user_who_has_every_item_is_contrasted_too(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Phase 1 draws no negatives, so nobody is left out, and nothing is said of it."""
    from interlingua import registry

    everything = Interactions.of(
        np.array(["u0", "u1"]), np.array(["i0", "i1", "i2"]), np.array([0, 0, 0, 1, 1]), np.array([0, 1, 2, 2, 0])
    )
    for train in (everything, everything.filter(everything.users == 0)):
        cls: Any = registry.find("align", name)
        aligner = cls(cls.Config(prefixes=9), 3, 3)
        aligner.start(SimpleNamespace(), source(["a", "b", "c"], ["a", "b", "c"]))
        backbone: Any = SimpleNamespace(config=None, history_length=lambda _: 10)
        batches = list(aligner.batches(backbone, train, cls.Config().fit)(0, np.random.default_rng(0)))
        found = torch.cat([batch.events for batch in batches]).sort().values
        assert found.tolist() == spread(train, 9).tolist()
        assert set(train.users[found.numpy()].tolist()) == set(train.users.tolist())
    assert capsys.readouterr().err == ""


def test_sentences_tell_the_next_item_in_ctrl_and_the_history_twice_in_the_other() -> None:
    words = Words(["A", "B", "C"], ["A. red", "B. blue", "C. green"], lambda texts: lambda numbers: torch.zeros(1, 1))
    said = Ctrl(CtrlConfig(), 4, 4).sentence(words, [0, 1], 2)
    assert said == "The user recently chose A|B. The next item is C. green"
    other = CtrlALlmRec(CtrlALlmRecConfig(), 4, 4).sentence(words, [0, 1], 2)
    assert other == "This is a user, who has recently chosen A|B. This is: A. red,B. blue"


def run(name: str, out: Path, control: str = "none") -> Session:
    values = {
        "data": {"name": "planted", "options": {"num_users": 60, "num_items": 40}},
        "backbone": {"name": "sasrec", "embedding_dim": 8, "max_history": 6, "fit": {"epochs": 2}},
        "text": {"name": "lsa", "dim": 16, "control": control},
        "align": {"name": name, "prefixes": 2, "fit": {"epochs": 3, "batch_size": 32}},
        "evaluate": {"protocols": ["full"]},
    }
    return stages.run(recipes.resolve(values, name), out=out, seed=3, device="cpu")


@BOTH
def test_two_phases_are_trained_and_the_backbone_alone_is_kept(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = run(name, tmp_path / "runs")
    lines = (made.done["align"].path / "log.jsonl").read_text().splitlines()
    assert [line.count("contrast") for line in lines[:-1]] == [2, 2, 2, 0, 0], "its phase and its only loss, by name"
    assert '"losses": {"ce"' in lines[3]
    queries = made.data.split.queries("test").slice(0, 5)
    scores = made.backbone.score(queries)
    monkeypatch.setattr("interlingua.runs.session.make_text", lambda *_: pytest.fail("no text is read to score"))
    np.testing.assert_array_equal(open_session(made.path, "cpu").backbone.score(queries), scores)


@BOTH
def test_other_words_make_another_backbone(name: str, tmp_path: Path) -> None:
    plain, shuffled = (run(name, tmp_path / "runs", control) for control in ("none", "shuffled"))
    queries = plain.data.split.queries("test").slice(0, 5)
    assert not np.allclose(plain.backbone.score(queries), shuffled.backbone.score(queries))


@BOTH
@pytest.mark.parametrize("text", [{"name": "lsa", "control": "noise"}, None])
def test_texts_that_cannot_be_read_anew_are_refused(name: str, text: dict[str, Any] | None) -> None:
    values = {"data": {"name": "planted"}, "backbone": {"name": "sasrec"}, "align": {"name": name}}
    with pytest.raises(ConfigError, match="own words"):
        recipes.resolve(values | ({} if text is None else {"text": text}))


@BOTH
def test_phase_one_trains_the_backbone_by_the_contrast_alone(name: str) -> None:
    """Its own losses come in phase two only, with its own batches and options."""
    from interlingua import registry
    from interlingua.backbones.mf import Mf, MfConfig
    from interlingua.training.joint import Joint

    train, seen = a_world(), []
    backbone = Mf(MfConfig(embedding_dim=4), train)
    cls: Any = registry.find("align", name)
    aligner = cls(cls.Config(joint_dim=5, sub_spaces=2), 4, 3)
    words = [f"t{n}" for n in range(12)], [f"x{n}" for n in range(12)]
    text = source(*words, lambda texts: torch.tensor([[len(t), 1.0, 0.0] for t in texts]))
    joint = Joint(backbone, aligner, text)

    def loop(batches: Any, options: Any, phase: str = "second") -> FitLog:
        losses = joint(next(iter(batches(0, np.random.default_rng(0)))))
        seen.append((phase, set(losses), options.batch_size))
        return FitLog([{"epoch": 1, "rows": 1, "steps": 1}])

    log = aligner.fit(Fitting(train, text, backbone, loop, functools.partial(loop, phase="first")))
    own = cls.Config().fit.batch_size
    assert seen == [("first", {"contrast"}, own), ("second", {"bpr"}, 1024)]
    assert [record.get("phase") for record in log.epochs] == ["contrast", None]


def test_a_state_meets_the_sentence_of_its_own_prefix() -> None:
    train = a_world()
    aligner = Ctrl(CtrlConfig(joint_dim=3, sub_spaces=1, prefixes=99, history_titles=99), 3, 3)
    seen: list[str] = []

    def encode(texts: list[str]) -> torch.Tensor:
        seen.extend(texts)
        nonlocal vectors
        vectors = torch.randn(len(texts), 3)
        return vectors

    text = source([f"t{n}" for n in range(12)], [f"x{n}" for n in range(12)], encode)
    vectors = torch.zeros(0, 3)
    aligner.start(SimpleNamespace(), text)  # type: ignore[arg-type]
    backbone: Any = SimpleNamespace(config=None, history_length=lambda _: 10)
    batches = aligner.batches(backbone, train, CtrlConfig().fit)(0, np.random.default_rng(0))
    for batch in batches:
        assert batch.events is not None
        assert batch.histories is not None
        for row, place in enumerate(aligner.places[batch.events].tolist()):
            history = "|".join(f"t{item}" for item in batch.histories[row].tolist() if item >= 0)
            assert seen[place] == f"The user recently chose {history}. The next item is x{int(batch.positives[row])}"
        states = torch.randn(len(batch), 3)
        encoded = Encoded(Embeddings(None, torch.zeros(1, 3)), states)
        _, losses = aligner(lambda inputs, batch, made=encoded: made, Embeddings(None, torch.zeros(1, 3)), text, batch)
        sentences = aligner.text_parts(aligner.text_map(vectors[aligner.places[batch.events]]))
        products = aligner.state_parts(aligner.state_map(states)) @ sentences.T / 0.7
        own = torch.arange(len(states))
        expected = (functional.cross_entropy(products, own) + functional.cross_entropy(products.T, own)) / 2
        torch.testing.assert_close(losses["contrast"], expected)
