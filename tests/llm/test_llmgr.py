"""LLMGR, reconstructed: the graph in words, prompt, scores and both losses by hand, and what each stage trains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.llm.vector_rankers import ITEMS, events, inputs
from torch.nn import functional

from interlingua.config import FitConfig, build
from interlingua.contracts.fitting import Fitting
from interlingua.data.queries import Queries
from interlingua.errors import ConfigError
from interlingua.injection.graph_prompts import GraphPrompts, session_edges
from interlingua.lm.adapters import LoraOptions
from interlingua.rankers.llmgr import Llmgr, LlmgrConfig
from interlingua.testing.tiny_models import TITLES
from interlingua.training.loop import fit_best


def make(folder, seed=1, given=None, **options):
    torch.manual_seed(seed)
    fit = FitConfig(learning_rate=1e-2, batch_size=8, epochs=2)
    return Llmgr(LlmgrConfig(model=folder, **{"history_length": 6, "fit": fit, **options}), given or inputs())


def job(ranker):
    def loop(batches, config, earlier=False):
        return fit_best(ranker, batches, config, seed=1 + earlier, device="cpu")

    return Fitting(ranker.inputs.train, loop=loop, earlier=lambda batches, config: loop(batches, config, True))


def tokens(lm, *texts):
    return [lm.embed(torch.tensor(ids_of(lm, text))) for text in texts]


def ids_of(lm, text):
    """A title may hold what looks like a special token."""
    return lm.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]


def by_hand(ranker, words):
    """() state at the end of words and vectors (item indices), one after the other."""
    lm = ranker.lm
    parts = []
    for part in words:
        parts += tokens(lm, part) if isinstance(part, str) else [ranker.item_projector(ranker.ids.items[[part]])]
    return lm.forward(torch.cat(parts)[None])


def test_a_session_s_nodes_and_edges():
    assert session_edges([7, 8, 7, 8, 8]) == ([7, 8], [(1, 2), (2, 1), (2, 2)])
    assert session_edges([4]) == ([4], [])
    assert session_edges([]) == ([], [])


def prompt_of(history, edges=True):
    nodes, steps = session_edges(history)
    words = ["A user has watched some movies in one session. The nodes are:"]
    for number, item in enumerate(nodes, start=1):
        words += [*([","] if number > 1 else []), f" {number}", ":", item, ' "', TITLES[item], '"']
    written = ", ".join(f"{one} -> {other}" for one, other in steps) or "none"
    told = [". The steps from node to node are:", f" {written}", ". The latest node is"]
    words += told if edges else [". The latest node is"]
    return [*words, f" {nodes.index(history[-1]) + 1}", ". The movie that comes next:"]


@pytest.mark.parametrize("options", [{}, {"edges": False}, {"head": "tied"}])
def test_scores_are_those_of_the_prompt_put_together_by_hand(folder, options):
    ranker = make(folder, **options)
    for batch in list(ranker.batches(0, np.random.default_rng(0)))[:3]:
        ranker(batch)["next"].backward()
    histories = [[3, 1, 3, 1, 1, 5], [2], [4, 5, 6]]
    scores = ranker.eval().score(Queries.of(histories))
    with torch.no_grad():
        for row, history in enumerate(histories):
            state = by_hand(ranker, prompt_of(history, ranker.config.edges)).states[0, -1]
            if ranker.config.head == "full":
                expected = ranker.head.weight @ state
            else:
                expected = ranker.item_projector(ranker.ids.items) @ ranker.head(state) / ranker.lm.hidden_size**0.5
            np.testing.assert_allclose(scores[row], expected, rtol=1e-3, atol=1e-4)
    assert np.isfinite(ranker.score(Queries.of([[]]))).all()


def test_stage_1_s_loss_is_the_titles_tokens_given_the_vector(folder):
    ranker = make(folder)
    batch = next(iter(ranker.node_batches(0, np.random.default_rng(0))))
    nats, count = 0.0, 0
    with torch.no_grad():
        for item in batch.positives.tolist():
            before = ["A node of the session graph is the movie", item, ". Its title is"]
            answer = [' "', TITLES[item], '"']
            ids = torch.tensor([token for part in answer for token in ids_of(ranker.lm, part)])
            states = by_hand(ranker, [*before, *answer]).states[0, -1 - len(ids) : -1]
            nats += float(functional.cross_entropy(ranker.lm.logits(states), ids, reduction="sum"))
            count += len(ids)
        assert float(ranker(batch)["title"]) == pytest.approx(nats / count, rel=1e-4)


def test_stage_1_reads_every_item_with_a_vector_once_and_trains_the_map_alone(folder):
    given = inputs(items_from_text=None)
    ranker = make(folder, given=given, first_epochs=8, first_learning_rate=0.02)
    shown = torch.cat([batch.positives for batch in ranker.node_batches(0, np.random.default_rng(0))])
    assert sorted(shown.tolist()) == list(range(ITEMS - 1)), "the last item never occurs and has no vector"
    before = {name: value.clone() for name, value in ranker.named_parameters()}
    seen = []

    def earlier(batches, config):
        log = fit_best(ranker, batches, config, seed=1, device="cpu")
        seen.extend(name for name, value in ranker.named_parameters() if not torch.equal(value, before[name]))
        return log

    def loop(batches, config):
        return fit_best(ranker, batches, config, seed=2, device="cpu")

    log = ranker.fit(Fitting(given.train, loop=loop, earlier=earlier))
    assert {name.split(".")[0] for name in seen} == {"item_projector"}
    titles = [record["losses"]["title"] for record in log.epochs if record.get("phase") == "nodes"]
    assert len(titles) == 8
    assert titles[-1] < titles[0] - 0.08
    assert [list(record["losses"]) for record in log.epochs if "phase" not in record] == [["next"]] * 2
    after = {name for name, value in ranker.named_parameters() if not torch.equal(value, before[name])}
    assert after == set(before), "stage 2 trains everything"
    assert all(parameter.requires_grad for parameter in ranker.parameters())


def test_one_stage_has_no_first_training_and_says_so_in_time(folder):
    ranker = make(folder, stages="one")
    assert ranker.earlier_epochs == 0
    assert {tuple(record["losses"]) for record in ranker.fit(job(ranker)).epochs} == {("next",)}
    assert make(folder, first_epochs=3).earlier_epochs == 3
    with pytest.raises(ConfigError, match="first_epochs"):
        build(LlmgrConfig, {"stages": "one", "first_epochs": 2}, "ranker")


def test_the_next_item_of_a_walk_is_learned_and_random_vectors_are_other_ones(folder):
    ranker = make(folder, fit=FitConfig(learning_rate=1e-2, batch_size=16, epochs=8))
    log = ranker.fit(job(ranker))
    losses = [record["losses"]["next"] for record in log.epochs if "phase" not in record]
    assert losses[-1] < 0.5 * losses[0]
    drawn = make(folder, item_vectors="random")
    assert not torch.allclose(drawn.ids.items, ranker.ids.items)
    assert torch.equal(drawn.ids.items, make(folder, item_vectors="random", seed=5).ids.items)


def test_every_event_but_the_first_is_a_target(folder):
    train = events()
    found = sum(len(batch) for batch in make(folder).batches(0, np.random.default_rng(0)))
    assert found == len(train) - train.num_users


def test_what_a_template_lacks_and_prompts_that_are_too_long_are_refused(folder, tmp_path):
    ranker = make(folder)
    path = tmp_path / "words.txt"
    path.write_text("history: {title}\n---\nNext:", encoding="utf-8")
    with pytest.raises(ConfigError, match="history"):
        GraphPrompts(str(path), ranker.lm, TITLES, ranker.inputs.domain)
    path.write_text("history: {title}\n---\nBefore: {history}. {last} {edges}", encoding="utf-8")
    with pytest.raises(ConfigError, match="item"):
        GraphPrompts(str(path), ranker.lm, TITLES, ranker.inputs.domain)
    with pytest.raises(ConfigError, match="history_length"):
        GraphPrompts("llmgr", ranker.lm, ["w " * 9000] * ITEMS, ranker.inputs.domain).assemble(np.array([[1, 2]]))


def test_its_question_its_node_sentence_and_its_adapters_may_be_other_ones(folder, tmp_path):
    question, node = tmp_path / "question.txt", tmp_path / "node.txt"
    words = "history: {number}:{item}\nseparator: ;\n---\nSeen: {history}. Last {last}.\n"
    question.write_text(words, encoding="utf-8")
    node.write_text('history: {item}\ntarget: "{title}"\nseparator:\n---\nThis is {history}, called', encoding="utf-8")
    ranker = make(folder, template=str(question), node_template=str(node), lora=LoraOptions(rank=2, modules=["q_proj"]))
    assert {name.split("/")[-4] for name, _ in ranker.tuned.named_parameters()} == {"q_proj"}
    batch = next(iter(ranker.node_batches(0, np.random.default_rng(0))))
    plain = make(folder)
    with torch.no_grad():
        item = int(batch.positives[0])
        ids = ids_of(ranker.lm, f' "{TITLES[item]}"')
        told = by_hand(ranker, ["This is", item, ", called", f' "{TITLES[item]}"']).states[0, -1 - len(ids) : -1]
        expected = float(functional.cross_entropy(ranker.lm.logits(told), torch.tensor(ids)))
        one = replace(batch, **{"positives": batch.positives[:1], "users": batch.users[:1]})
        assert float(ranker(one)["title"]) == pytest.approx(expected, rel=1e-3)
    asked = Queries.of([[3, 1, 5]])
    assert not np.allclose(ranker.eval().score(asked), plain.eval().score(asked))
