from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interlingua.data.domain import Domain
from interlingua.data.queries import PAD
from interlingua.errors import ConfigError
from interlingua.lm.prompt import CANDIDATE, HISTORY, USER, compile_template, embed_prompts
from interlingua.lm.template import Template, names
from interlingua.testing.tiny_models import TITLES, tiny

MOVIE = Domain("movie", "watch", "watched")


def said(lm, prompts, row):
    """The prompt with its vectors written as <kind:row>."""
    out, run = [], []
    slots = {
        int(t): (int(k), int(r))
        for b, t, k, r in zip(
            prompts.slot_batch, prompts.slot_positions, prompts.slot_kinds, prompts.slot_indices, strict=True
        )
        if b == row
    }
    for at in np.nonzero(prompts.attention_mask[row])[0]:
        if at in slots:
            out.append(lm.tokenizer.decode(run))
            out.append("<{}:{}>".format("uhct"[slots[at][0]], slots[at][1]))
            run = []
        else:
            run.append(int(prompts.input_ids[row, at]))
    return "".join([*out, lm.tokenizer.decode(run)])


HEAT = 3


def test_the_papers_prompt_word_for_word(llama):
    compiled = compile_template("next-item", llama, TITLES, MOVIE, slots={"user", "item"})
    prompts = compiled.assemble(np.array([[PAD, 0, HEAT], [PAD, PAD, PAD]]), np.array([[1, 2], [4, PAD]]))
    assert said(llama, prompts, 0) == (
        '<u:0> is a user representation. This user has watched "The Matrix (1999)"<h:0>, "Heat"<h:3> in the previous. '
        "Recommend one next movie for this user to watch next from the following movie title set, "
        '"Toy Story (1995)"<c:1>, "Toy Story 2 (1999)"<c:2>. The recommendation is'
    )
    assert said(llama, prompts, 1).startswith(
        "<u:1> is a user representation. This user has watched nothing yet in the"
    )
    assert said(llama, prompts, 1).endswith('title set, "Heat (1995)"<c:4>. The recommendation is')
    ids, lengths = compiled.target_ids(np.array([HEAT]))
    assert llama.tokenizer.decode(ids[0, : lengths[0]]) == ' "Heat"</s>'
    assert ids[0, lengths[0] - 1] == llama.eos_token_id


def test_without_the_user_its_sentence_goes(llama):
    compiled = compile_template("next-item", llama, TITLES, MOVIE, slots={"item"})
    prompts = compiled.assemble(np.array([[0]]), np.array([[1]]), has_user=False)
    assert said(llama, prompts, 0).startswith('This user has watched "The Matrix (1999)"<h:0>')
    with pytest.raises(ConfigError, match="user vectors are given"):
        compiled.assemble(np.array([[0]]), np.array([[1]]), has_user=True)


def test_both_sides_hold_the_same_prompts(llama):
    compiled = compile_template("next-item", llama, TITLES, MOVIE, slots={"user", "item"})
    history, candidates = np.array([[0, 1], [PAD, 2]]), np.array([[3, 4, 5]] * 2)
    left = compiled.assemble(history, candidates)
    right = compiled.assemble(history, candidates, side="right")
    np.testing.assert_array_equal(left.attention_mask, right.attention_mask[:, ::-1])
    np.testing.assert_array_equal(left.slot_indices, right.slot_indices)
    assert [said(llama, left, b) for b in (0, 1)] == [said(llama, right, b) for b in (0, 1)]
    np.testing.assert_array_equal(compiled.lengths(history, candidates), left.lengths)
    np.testing.assert_array_equal(left.attention_mask.sum(1), left.lengths)


rows = st.lists(st.sampled_from([PAD, *range(len(TITLES))]), min_size=3, max_size=3)


@given(st.lists(st.tuples(rows, rows), min_size=1, max_size=4), st.sampled_from(["left", "right"]))
@settings(max_examples=50, deadline=None)
def test_a_batch_equals_its_prompts_one_by_one(batch, side):
    lm = tiny("llama")
    compiled = compile_template("next-item", lm, TITLES, MOVIE, slots={"user", "item"})
    history = np.array([h for h, _ in batch])
    candidates = np.array([c for _, c in batch])
    together = compiled.assemble(history, candidates, side=side)
    for b in range(len(batch)):
        alone = compiled.assemble(history[b : b + 1], candidates[b : b + 1])
        np.testing.assert_array_equal(together.input_ids[b][together.attention_mask[b] > 0], alone.input_ids[0])
        mine = together.slot_batch == b
        assert together.slot_indices[mine][1:].tolist() == alone.slot_indices[1:].tolist()
        for kind, values in ((HISTORY, history[b]), (CANDIDATE, candidates[b])):
            chosen = together.slot_indices[mine & (together.slot_kinds == kind)]
            assert chosen.tolist() == [v for v in values.tolist() if v != PAD]
    assert (together.slot_kinds == USER).sum() == len(batch)


def test_vectors_go_to_their_places_with_gradients(llama):
    compiled = compile_template("next-item", llama, TITLES, MOVIE, slots={"user", "item"})
    prompts = compiled.assemble(np.array([[0, 1], [PAD, 2]]), np.array([[3], [4]]))
    users = torch.randn(2, 32, requires_grad=True)
    table = torch.randn(len(TITLES), 32, requires_grad=True)
    embeds = embed_prompts(llama, prompts, users, table[torch.as_tensor(prompts.item_indices)])
    for s in range(len(prompts.slot_indices)):
        expected = users[prompts.slot_indices[s]] if prompts.slot_kinds[s] == USER else table[prompts.slot_indices[s]]
        torch.testing.assert_close(embeds[prompts.slot_batch[s], prompts.slot_positions[s]], expected)
    embeds.sum().backward()
    assert (users.grad == 1).all()
    assert table.grad.abs().sum(1).nonzero().flatten().tolist() == [0, 1, 2, 3, 4]
    words = embed_prompts(llama, prompts, users, table[torch.as_tensor(prompts.item_indices)])
    plain = llama.embed(torch.as_tensor(prompts.input_ids))
    untouched = torch.as_tensor(prompts.attention_mask).bool()
    untouched[torch.as_tensor(prompts.slot_batch), torch.as_tensor(prompts.slot_positions)] = False
    torch.testing.assert_close(words[untouched], plain[untouched])


def test_mismatches_are_errors(llama):
    with pytest.raises(ConfigError, match="vectors for user, but template next-item-titles has no such slot"):
        compile_template("next-item-titles", llama, TITLES, slots={"user"})
    with pytest.raises(ConfigError, match="needs vectors for the slot item"):
        compile_template("next-item-vectors", llama, TITLES, slots={"user"})
    with pytest.raises(ConfigError, match="did you mean 'item'"):
        compile_template("next-item", llama, TITLES, slots={"items"})
    compiled = compile_template("next-item", llama, TITLES, slots={"item"})
    with pytest.raises(ConfigError, match="no candidates was given"):
        compiled.assemble(np.array([[0]]))
    vectors = compile_template("next-item-vectors", llama, TITLES, slots={"user", "item"})
    with pytest.raises(ConfigError, match=r"has no slot \{candidates\}"):
        vectors.assemble(np.array([[0]]), np.array([[1]]))
    prompts = compiled.assemble(np.array([[0]]), np.array([[1]]))
    with pytest.raises(ConfigError, match="2 places for item vectors, but 0"):
        embed_prompts(llama, prompts)
    with pytest.raises(ConfigError, match="0 places for user vectors, but 1"):
        embed_prompts(llama, prompts, torch.zeros(1, 32), torch.zeros(2, 32))
    with pytest.raises(ConfigError, match="longer than the model's 10"):
        compiled.assemble(np.array([[0]]), np.array([[1]]), max_length=10)


def test_titles_are_data_and_not_markers(llama):
    """A title with ``</s>`` in it is written in letters: it cannot end the text."""
    compiled = compile_template("next-item-titles", llama, TITLES, slots=())
    row = TITLES.index("</s> ends")
    prompts = compiled.assemble(np.array([[row]]), np.array([[row]]))
    assert llama.eos_token_id not in prompts.input_ids
    assert said(llama, prompts, 0).count('"</s> ends"') == 2
    ids, _ = compiled.target_ids(np.array([row]))
    assert (ids[0] == llama.eos_token_id).sum() == 1


def test_long_titles_can_be_cut(llama):
    whole = compile_template("next-item-titles", llama, TITLES, slots=())
    cut = compile_template("next-item-titles", llama, TITLES, slots=(), max_title_tokens=2)
    history, candidates = np.array([[0]]), np.array([[5]])
    assert cut.lengths(history, candidates)[0] < whole.lengths(history, candidates)[0]
    assert said(llama, cut.assemble(history, candidates), 0).count('"') == 4


def test_begin_token_only_where_the_tokenizer_sets_one():
    plain, begun = tiny("llama"), tiny("llama", bos=True)
    a = compile_template("next-item-titles", plain, TITLES, slots=()).assemble(np.array([[0]]), np.array([[1]]))
    b = compile_template("next-item-titles", begun, TITLES, slots=()).assemble(np.array([[0]]), np.array([[1]]))
    assert b.input_ids[0].tolist() == [1, *a.input_ids[0].tolist()]


def test_shipped_templates_load_and_bad_ones_are_named(tmp_path):
    assert {"next-item", "next-item-vectors", "next-item-titles", "explain", "genre"} <= set(names())
    for name in names():
        assert (
            Template.load(name, more=("code", "out", "date", "last", "edges")).name == name
        )  # of rankers with slots of their own
    with pytest.raises(ConfigError, match="did you mean 'next-item'"):
        Template.load("next-itm")
    file = tmp_path / "mine.txt"
    file.write_text("history: {title}\n---\nLiked {histroy}", encoding="utf-8")
    with pytest.raises(ConfigError, match="did you mean 'history'"):
        Template.load(str(file))
    file.write_text("histor: {title}\n---\nLiked {history}", encoding="utf-8")
    with pytest.raises(ConfigError, match="did you mean 'history'"):
        Template.load(str(file))
    file.write_text("Liked {history}", encoding="utf-8")
    with pytest.raises(ConfigError, match="no line '---'"):
        Template.load(str(file))
    with pytest.raises(ConfigError, match="more than once"):
        Template.parse("x", "history: {title}\n---\n{history} {history}")
    with pytest.raises(ConfigError, match=r"has no line|no line 'history"):
        Template.parse("x", "separator: ,\n---\n{history}")
    file.write_text("history: - {title}\nseparator: \\n\n---\nThe {noun}s:\n{history}\nNext:", encoding="utf-8")
    lines = Template.load(str(file)).render(MOVIE, {"history": [{"title": "A"}, {"title": "B"}]})
    assert lines == "The movies:\n- A\n- B\nNext:"


def test_one_entry_per_line_is_kept(llama):
    template = Template.parse("lines", "history: - {title}\nseparator: \\n\n---\nThe {noun}s:\n{history}\nNext:")
    prompts = compile_template(template, llama, TITLES, MOVIE, slots=()).assemble(np.array([[0, HEAT]]))
    assert said(llama, prompts, 0) == "The movies:\n- The Matrix (1999)\n- Heat\nNext:"
