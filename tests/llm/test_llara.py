"""LLaRA: loss, curriculum, projector and the rule of its answers, on a tiny model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from tests.llm.word_rankers import inputs, plain_loss, tiny_folder

from interlingua.config import FitConfig
from interlingua.contracts.batch import Batch
from interlingua.data.queries import PAD, Queries
from interlingua.injection import title_scoring
from interlingua.lm import token_pool
from interlingua.lm.adapters import LoraOptions
from interlingua.lm.models import LanguageModel
from interlingua.lm.prompt import compile_template
from interlingua.rankers.llara import Llara, LlaraConfig, hybrid_share
from interlingua.testing.tiny_models import TITLES
from interlingua.training.loop import fit_best, seed_all

pytest.importorskip("peft")
NAMES = ("llara", "llara-2", "llara-3")
LORA = LoraOptions(rank=2, alpha=8, modules="all")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return tiny_folder(tmp_path_factory.mktemp("lm"))


def make(folder: str, **options: object) -> Llara:
    seed_all(2)
    fit = FitConfig(learning_rate=1e-2, batch_size=4, epochs=3)
    common = {"model": folder, "num_candidates": 4, "history_length": 4, "lora": LORA, "fit": fit}
    return Llara(LlaraConfig.model_validate(common | options), inputs()).eval()


def first_batch(ranker: Llara, epoch: int = 0) -> Batch:
    return next(iter(ranker.batches(epoch, np.random.default_rng(0))))


@pytest.mark.parametrize("prompts", ["text", "hybrid"])
def test_the_loss_is_the_plain_model_s_on_title_and_end_of_line(folder: str, prompts: str) -> None:
    ranker = make(folder, prompts=prompts)
    batch = first_batch(ranker)
    torch.manual_seed(5)
    got = float(ranker(batch)["lm"].detach())
    torch.manual_seed(5)
    torch.rand(())
    wording = int(torch.randint(3, ()))
    shown = torch.cat([batch.positives[:, None], batch.negatives], 1)
    shown = shown.gather(1, torch.rand(shown.shape).argsort(1)).numpy()
    compiled = (ranker.hybrid_prompts if prompts == "hybrid" else ranker.text_prompts)[wording]
    sums, count = 0.0, 0
    for row in range(len(batch)):
        embeds, mask = ranker._prompts(compiled, batch.histories[row : row + 1].numpy(), shown[row : row + 1])
        assert mask.all()
        answer = ranker.lm.tokenize(f" {TITLES[int(batch.positives[row])]}") + ranker.lm.tokenize("\n")
        joined = torch.cat([embeds, ranker.lm.embed(torch.tensor([answer]))], 1)
        labels = torch.cat([torch.full(embeds.shape[:2], -100), torch.tensor([answer])], 1)
        with torch.no_grad():
            sums += float(ranker.lm.model(inputs_embeds=joined, labels=labels).loss) * len(answer)
        count += len(answer)
    assert got == pytest.approx(sums / count, rel=1e-4)


def test_text_prompts_are_words_alone(folder: str) -> None:
    ranker = make(folder, prompts="text")
    assert ranker.item_projector is None
    prompt = ranker.text_prompts[0].assemble(np.array([[0, 3]]), np.array([[8, 4]]))
    ids = [*prompt.input_ids[0].tolist(), *ranker.lm.tokenize(" Alien\n")]
    embeds, _ = ranker._prompts(ranker.text_prompts[0], np.array([[0, 3]]), np.array([[8, 4]]))
    assert torch.equal(embeds[0], ranker.lm.embed(torch.tensor(prompt.input_ids[0])))
    assert plain_loss(ranker.lm, ids, 2)[1] == 2
    assert "The Matrix (1999), Heat. The movie that comes next is one of these: Alien, Heat (1995)." in (
        ranker.lm.tokenizer.decode(prompt.input_ids[0].tolist())
    )


def test_the_share_of_hybrid_prompts_rises_to_all_of_them() -> None:
    assert [hybrid_share("curriculum", step, 4) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert [hybrid_share("two-stage", step, 4) for step in range(4)] == [0, 0, 1, 1]
    assert [hybrid_share("two-stage", step, 3) for step in range(3)] == [0, 0, 1]
    assert {hybrid_share("hybrid", step, 4) for step in range(4)} == {1}
    assert {hybrid_share("text", step, 4) for step in range(4)} == {0}


def test_the_counter_runs_over_all_epochs(folder: str) -> None:
    ranker = make(folder)
    steps = [int(b.step) for epoch in range(3) for b in ranker.batches(epoch, np.random.default_rng(epoch))]
    assert steps == list(range(len(steps)))
    assert len(steps) == 3 * ranker.steps_per_epoch()
    few = make(folder, fit=FitConfig(batch_size=4, epochs=3, steps_per_epoch=2), all_positions=True)
    assert few.steps_per_epoch() == 2
    assert int(first_batch(few, epoch=2).step) == 4


def test_a_batch_of_text_leaves_the_projector_alone_and_a_hybrid_one_does_not(folder: str) -> None:
    ranker = make(folder, prompts="two-stage")
    assert ranker.item_projector is not None

    def gradient(epoch: int) -> bool:
        ranker.zero_grad(set_to_none=True)
        ranker.train()(first_batch(ranker, epoch))["lm"].backward()
        assert any(p.grad is not None and bool(p.grad.any()) for p in ranker.tuned.parameters())
        return any(p.grad is not None for p in ranker.item_projector.parameters())

    assert not gradient(0)
    assert gradient(2)


def test_the_projector_is_linear_gelu_linear(folder: str) -> None:
    projector = make(folder).item_projector
    assert projector is not None
    x = torch.randn(3, 6)
    inner = torch.nn.functional.gelu(x @ projector.first.weight.T + projector.first.bias)
    torch.testing.assert_close(projector(x), inner @ projector.last.weight.T + projector.last.bias)


def test_untrained_adapters_score_as_the_base_model_and_order_by_the_line_s_likelihood(folder: str) -> None:
    ranker = make(folder)
    queries, items = Queries.of([[0, 3, 5]], np.array([1])), np.array([[4, 8, 7]])
    before = ranker.score(queries, items)
    whole = ranker.lm.whole
    assert whole is not None
    shown = title_scoring.presented(items, queries)
    embeds, _ = ranker._prompts(ranker.hybrid_prompts[0], queries.padded(4)[:, 1:], shown)
    for column, item in enumerate(items[0]):
        answer = ranker.lm.tokenize(f" {TITLES[item]}") + ranker.lm.tokenize("\n")
        joined = torch.cat([embeds, whole.embed(torch.tensor([answer]))], 1)
        with torch.no_grad():
            logits = whole.model(inputs_embeds=joined).logits.log_softmax(-1)[0, -len(answer) - 1 : -1]
        wanted = logits.gather(1, torch.tensor(answer)[:, None]).sum()
        assert before[0, column] == pytest.approx(float(wanted), abs=2e-3)
    fit_best(ranker, ranker.batches, ranker.config.fit, seed=1, device="cpu")
    assert not np.allclose(ranker.score(queries, items), before, atol=1e-3)


def test_the_authors_answer_is_one_candidate_or_none(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    said = ["heat (1995) it is", "Toy Story 2 (1999)", "Alien", "no idea"]
    monkeypatch.setattr(title_scoring, "write_line", lambda lm, embeds, mask, room: said[: len(embeds)])
    queries = Queries.of([[0], [0], [0], [0]])
    items = np.array([[4, 0], [1, 2], [8, 9], [1, 2]])  # 8 and 9 have one title
    named = make(folder, scoring="named").score(queries, items)
    assert named.tolist() == [[1, 0], [0, 1], [1, 1], [0, 0]]
    free = make(folder, scoring="free").score(queries, items)
    assert free.tolist() == [[0, 0], [0, 1], [1, 1], [0, 0]]


def test_training_makes_next_titles_likelier_and_a_line_names_one_candidate_or_none(folder: str) -> None:
    fit = FitConfig(learning_rate=1e-2, batch_size=16, epochs=3)
    ranker = make(folder, all_positions=True, num_layers=1, fit=fit)
    queries = Queries.of([[i, i + 1, i + 2] for i in range(4)])
    items = np.array([[i + 3, (i + 7) % 12, (i + 9) % 12] for i in range(4)])
    before = ranker.score(queries, items)[:, 0].mean()
    fit_best(ranker, ranker.batches, ranker.config.fit, seed=1, device="cpu")
    assert ranker.score(queries, items)[:, 0].mean() > before + 3
    named = make(folder, scoring="named", num_layers=1)
    named.load_state_dict(ranker.state_dict())
    assert set(np.unique(named.score(queries, items))) <= {0.0, 1.0}


def test_titles_are_tokenised_once_for_all_wordings_and_steps_are_counted_once(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    plain = token_pool.plain_ids

    def noted(lm: LanguageModel, texts: list[str], *, special: bool = False) -> list[list[int]]:
        read.extend(texts)
        return plain(lm, texts, special=special)

    monkeypatch.setattr(token_pool, "plain_ids", noted)
    ranker = make(folder)
    assert read.count(TITLES[0]) <= 1
    assert read.count(f" {TITLES[0]}") == 1
    assert len({id(each) for each in (*ranker.text_prompts, *ranker.hybrid_prompts)}) == 6
    alone = make(folder, prompts="text", third_template="llara")
    assert len({id(each) for each in (*alone.text_prompts, *alone.hybrid_prompts)}) == 2

    counted: list[int] = []
    train = ranker.inputs.train

    class Counted:
        def __getattr__(self, name: str) -> Any:
            counted.append(name == "user_counts")
            return getattr(train, name)

    batch = first_batch(ranker)
    ranker.inputs = replace(ranker.inputs, train=Counted())
    for _ in range(3):
        ranker(batch)
    assert sum(counted) == 0
    list(ranker.batches(1, np.random.default_rng(1)))
    assert sum(counted) == 1, "the batches themselves look which users have a next item"


def test_equal_prompts_come_out_whether_templates_are_compiled_together_or_alone(folder: str) -> None:
    ranker = make(folder, max_title_tokens=3)
    history, shown = np.array([[PAD, 0, 3]]), np.array([[8, 4]])
    for name, both in zip(NAMES, zip(ranker.text_prompts, ranker.hybrid_prompts, strict=True), strict=True):
        for slots, together in zip(({}, ranker.slots()), both, strict=True):
            alone = compile_template(name, ranker.lm, TITLES, ranker.inputs.domain, slots=slots, max_title_tokens=3)
            one, other = (each.assemble(history, shown) for each in (alone, together))
            assert np.array_equal(one.input_ids, other.input_ids)
            assert one.item_indices.tolist() == other.item_indices.tolist() == ([0, 3, 8, 4] if slots else [])
