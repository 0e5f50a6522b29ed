"""NextItNet: convolutions written out, what a state reads and what not, padding without effect or trained on."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from interlingua.backbones.nextitnet import NextItNet, NextItNetConfig, receptive_field
from interlingua.config import build
from interlingua.contracts.batch import Batch
from interlingua.data.queries import PAD, Queries
from interlingua.errors import ConfigError
from interlingua.training.loop import seed_all


def model_of(train, **options):
    seed_all(0)
    made = NextItNet(NextItNetConfig(**{"embedding_dim": 6, "max_history": 20, "num_blocks": 2, **options}), train)
    with torch.no_grad():
        made.bias.normal_(std=0.1)
        for block in made.blocks:  # norms that a test would miss if they were left out
            block.first_norm.weight.normal_(1.0, 0.2)
            block.second_norm.bias.normal_(std=0.2)
    return made.eval()


def written_out(model, rows):
    """(B, L, D) states of left-padded rows: sums over taps in a double loop, padding zeroed in every layer."""
    x = torch.zeros(*rows.shape, model.items.shape[1])
    x[rows != PAD] = model.items[rows[rows != PAD]]
    real = (rows != PAD)[..., None]
    for number, block in enumerate(model.blocks):
        dilation, y = model.config.dilations[number % len(model.config.dilations)], x
        for conv, norm, step in (
            (block.first.conv, block.first_norm, dilation),
            (block.second.conv, block.second_norm, 2 * dilation),
        ):
            out = torch.zeros_like(y) + conv.bias
            for position in range(y.shape[1]):
                for tap in range(model.config.kernel):
                    read = position - (model.config.kernel - 1 - tap) * step
                    if read >= 0:
                        out[:, position] = out[:, position] + y[:, read] @ conv.weight[:, :, tap].T
            y = functional.relu(functional.layer_norm(out, (out.shape[2],), norm.weight, norm.bias, 1e-8)) * real
        x = x + y
    return x


@pytest.mark.parametrize("kernel", [2, 3])
def test_states_are_the_papers_blocks_written_out(kernel, random_world):
    model = model_of(random_world(), kernel=kernel)
    rows = torch.tensor([[PAD, PAD, 3, 1, 4, 1, 5], [9, 2, 6, 5, 3, 5, 8]])
    expected = written_out(model, rows)
    states, lengths = model.states(model.items, rows)
    assert lengths.tolist() == [5, 7]
    torch.testing.assert_close(states[0, :5], expected[0, 2:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(states[1], expected[1], rtol=1e-4, atol=1e-5)


def test_padding_on_the_left_changes_no_state(random_world):
    model = model_of(random_world())
    alone, _ = model.states(model.items, torch.tensor([[3, 1, 4]]))
    for width in (4, 9, 20, 30):
        padded = torch.tensor([[PAD] * (width - 3) + [3, 1, 4], [7] * width])
        states, lengths = model.states(model.items, padded)
        assert lengths.tolist() == [3, min(width, 20)]
        torch.testing.assert_close(states[0, :3], alone[0])


def test_a_later_event_never_changes_an_earlier_state(random_world):
    model = model_of(random_world())
    first, _ = model.states(model.items, torch.tensor([[3, 1, 4, 1, 5, 9]]))
    other, _ = model.states(model.items, torch.tensor([[3, 1, 4, 1, 2, 9]]))
    torch.testing.assert_close(first[0, :4], other[0, :4])
    assert (first[0, 4:] - other[0, 4:]).abs().amax(1).min() > 1e-4


@pytest.mark.parametrize(
    ("dilations", "blocks", "expected"), [([1, 2], 6, 55), ([1, 4], 12, 181), ([1], 1, 7), ([1, 2], 2, 19)]
)
def test_receptive_field_is_the_papers(dilations, blocks, expected):
    assert receptive_field(dilations, blocks) == expected


def test_the_last_state_reads_its_receptive_field_and_nothing_before(random_world):
    model = model_of(random_world(), max_history=30)
    history = [(7 * n) % 30 for n in range(25)]
    reached = receptive_field(model.config.dilations, 2)
    last = model.user_embeddings(Queries.of([history]))
    for back, changes in ((reached - 1, True), (reached, False)):
        changed = list(history)
        changed[len(history) - 1 - back] = (changed[len(history) - 1 - back] + 1) % 30
        other = model.user_embeddings(Queries.of([changed]))
        assert bool((other - last).abs().max() > 1e-6) is changes, back


def test_scores_are_output_rows_and_bias_and_not_the_inputs(random_world):
    model = model_of(random_world())
    queries = Queries.of([[3, 1, 4], [], [5]])
    states = model.user_embeddings(queries)
    torch.testing.assert_close(torch.from_numpy(model.score(queries)), (states @ model.outputs.T + model.bias).detach())
    tied = model_of(random_world(), tied=True)
    states = tied.user_embeddings(queries)
    torch.testing.assert_close(torch.from_numpy(tied.score(queries)), (states @ tied.items.T + tied.bias).detach())


def a_batch():
    histories, positives = torch.tensor([[PAD, 3, 1], [5, 0, 2]]), torch.tensor([[PAD, 1, 8], [0, 2, 7]])
    negatives = torch.where(positives[..., None] == PAD, PAD, torch.tensor([[[4, 6]] * 3, [[9, 10]] * 3]))
    return Batch(torch.arange(2), positives, negatives, histories)


def test_the_loss_is_a_softmax_with_bias_at_every_position_with_a_target(random_world):
    model, batch = model_of(random_world()), a_batch()
    rows = torch.stack([written_out(model, batch.histories)[at] for at in ((0, 1), (0, 2), (1, 0), (1, 1), (1, 2))])
    expected = functional.cross_entropy(rows @ model.outputs.T + model.bias, torch.tensor([1, 8, 0, 2, 7]))
    value = model.losses(model.encode(model.input_embeddings(), batch), batch)["ce"]
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)


def test_a_sampled_softmax_scores_drawn_items_with_their_bias(random_world):
    model, batch = model_of(random_world(), loss="sampled-ce", num_negatives=2), a_batch()
    states = written_out(model, batch.histories)
    terms = []
    for at, goal, drawn in (((0, 1), 1, [4, 6]), ((0, 2), 8, [4, 6]), ((1, 0), 0, [9, 10]), ((1, 1), 2, [9, 10]),
                            ((1, 2), 7, [9, 10])):  # fmt: skip
        logits = model.outputs[[goal, *drawn]] @ states[at] + model.bias[[goal, *drawn]]
        shift = torch.tensor([0.0, *[float(np.log(29 / 2))] * 2])
        terms.append(functional.cross_entropy((logits + shift)[None], torch.tensor([0])))
    value = model.losses(model.encode(model.input_embeddings(), batch), batch)["sampled_ce"]
    torch.testing.assert_close(value, torch.stack(terms).mean(), rtol=1e-4, atol=1e-5)
    with pytest.raises(ConfigError, match="negatives"):
        model.losses(
            model.encode(model.input_embeddings(), batch),
            Batch(batch.users, batch.positives, None, batch.histories),
        )


def test_trained_padding_is_an_entry_of_the_vocabulary_that_is_read_and_predicted(random_world):
    """The port's way, written out: fill up, read, and predict padding after padding too."""
    model, batch = model_of(random_world(), padding="trained", max_history=5), a_batch()
    vocabulary = torch.cat([model.items, model.padding])
    output, bias = torch.cat([model.outputs, model.padding_row]), torch.cat([model.bias, model.padding_bias])
    filled = torch.tensor([[30, 30, 30, 3, 1], [30, 30, 5, 0, 2]])
    x = vocabulary[filled]
    for block in model.blocks:
        x = block(x)
    goals = torch.tensor([[30, 30, 3, 1, 8], [30, 5, 0, 2, 7]])
    expected = functional.cross_entropy((x @ output.T + bias).flatten(0, 1), goals.flatten())
    value = model.losses(model.encode(model.input_embeddings(), batch), batch)["ce"]
    torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.user_embeddings(Queries.of([[3, 1]]))[0], x[0, -1])
    assert model.score(Queries.of([[3, 1]])).shape == (1, 30), "padding is no candidate"


def test_options_that_cannot_be_are_named():
    with pytest.raises(ConfigError, match="no negatives are drawn for padding"):
        build(NextItNetConfig, {"padding": "trained", "loss": "sampled-ce"}, "backbone")
    with pytest.raises(ConfigError, match="dilation of 1 or more"):
        build(NextItNetConfig, {"dilations": []}, "backbone")
