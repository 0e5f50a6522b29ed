"""One planted world, and small options for every component: a new file in the package joins with no edit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from interlingua import registry
from interlingua.config import Config, FitConfig, build
from interlingua.data.prepared import Dataset
from interlingua.data.queries import Queries
from interlingua.data.sources.planted import generate
from interlingua.errors import near
from interlingua.testing.fake_server import FakeServer, serving
from interlingua.vectors.readable import ReadableRows
from interlingua.vectors.rows import mean_of_items

SMALL: dict[str, Any] = {
    "embedding_dim": 16,
    "latent_dim": 8,
    "max_history": 10,
    "num_blocks": 1,
    "num_layers": 1,
    "dropout": 0.0,
    "dim": 16,
    "history": 4,
    "trainable": False,
    "train_layers": 1,
}
"""options by name: a component that has one of them gets this value"""
SMALL_FIT: dict[str, Any] = {"epochs": 2, "steps_per_epoch": 4, "batch_size": 32, "patience": None}


def pytest_configure(config: pytest.Config) -> None:
    """Marks that the suite uses, also where another project's settings are in force."""
    config.addinivalue_line("markers", "slow: takes more than a few seconds")


def pytest_terminal_summary(terminalreporter: Any, exitstatus: int, config: pytest.Config) -> None:
    """Says what is missing where ``-k NAME`` chose nothing: most often the package with the component."""
    keyword = str(config.getoption("keyword"))
    if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED and keyword:
        terminalreporter.write_line(no_such_component(keyword))


def no_such_component(keyword: str) -> str:
    """Why ``-k keyword`` chose no test, and what to do."""
    known = {name: kind for kind in registry.LISTED for name in registry.names(kind)}
    close = near(keyword, known)
    hint = f"; did you mean {close!r}?" if close else "."
    return (
        f"no test is about {keyword!r}{hint} A component is tested under its name once its package is installed (pip "
        "install -e .) and names it as an entry point in a group such as interlingua.backbone; interlingua list "
        f"{'|'.join(registry.LISTED.values())} shows what is installed"
    )


@pytest.fixture(scope="session")
def world() -> Dataset:
    """Users with tastes, items with texts that reveal them, cold items; leave-one-out."""
    return generate(num_users=200, num_items=60, seed=3, history=10)


@pytest.fixture(scope="session")
def texts(world: Dataset) -> list[str]:
    """(I,) one string per item."""
    items = world.catalogue.items
    return [f"{t}. {d or ''}" for t, d in zip(items["title"], items["description"], strict=True)]


@pytest.fixture(scope="session")
def table(texts: list[str], world: Dataset) -> ReadableRows:
    """Item vectors: words hashed into 64 places, users their items' mean. Alike texts have alike vectors."""
    items = hashed_words(texts)
    users, titles = mean_of_items(items, world.split.train), world.catalogue.titles
    return ReadableRows(items, users, titles=titles, texts=texts, encode=hashed_words)


def hashed_words(texts: Sequence[str]) -> torch.Tensor:
    """(n, 64) unit vectors of texts: how often a word falls into each place."""
    vectors = np.zeros((len(texts), 64), np.float32)
    for row, text in enumerate(texts):
        for word in text.lower().split():
            vectors[row, sum(word.encode()) * 31 % 64] += 1
    return torch.from_numpy(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@pytest.fixture(scope="session")
def queries(world: Dataset) -> Queries:
    """Known users, unknown ones, an empty history, a repeated item, a history longer than any model reads."""
    train = world.split.train
    known = train.queries(np.arange(6))
    histories = [known.history(row) for row in range(6)]
    lists = [*histories, np.array([], int), np.array([3]), np.array([5, 5, 5]), np.arange(train.num_items).repeat(3)]
    return Queries.of(lists, np.array([*range(6), -1, -1, -1, -1]))


@pytest.fixture(scope="session")
def supplied(tmp_path_factory: pytest.TempPathFactory, world: Dataset, table: ReadableRows) -> Iterator[dict[str, str]]:
    """Files and a server on this machine that a component may ask its user for, by the name of the option."""
    folder = tmp_path_factory.mktemp("supplied")
    np.save(folder / "vectors.npy", table.items.numpy())
    save_file({"items": torch.as_tensor(table.items)}, folder / "vectors.safetensors")
    with serving(FakeServer()) as url:
        yield {"path": str(folder / "vectors.npy"), "items": str(folder / "vectors.npy"), "base_url": url}


@pytest.fixture(scope="session")
def small(supplied: dict[str, str]) -> Callable[..., Any]:
    """Small options of a component class: ``small(cls, epochs=3, ...)``."""

    def make(cls: Any, **fit: Any) -> Config:
        fields = cls.Config.model_fields
        values = {k: v for k, v in SMALL.items() if k in fields}
        values |= {k: v for k, v in supplied.items() if k in fields and fields[k].annotation is str}
        if "fit" in fields:
            default = fields["fit"].default or FitConfig()  # None: the backbone's own
            values["fit"] = default.model_dump() | SMALL_FIT | fit
        return build(cls.Config, values, cls.__name__)

    return make


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for caches of this session."""
    return tmp_path_factory.mktemp("contract-cache")


@pytest.fixture(scope="session")
def contract() -> SimpleNamespace:
    """The checks that more than one kind of component must pass."""
    return SimpleNamespace(gradients_reach_all=gradients_reach_all, step=step, named=named)


def named(losses: dict[str, torch.Tensor]) -> None:
    """Losses are finite scalars under plain names, and at least one leads somewhere."""
    assert losses
    for name, value in losses.items():
        assert name
        assert name.replace("_", "").replace("-", "").isalnum()
        assert value.shape == (), f"{name} has shape {tuple(value.shape)}"
        assert bool(torch.isfinite(value)), f"{name} is {value}"
    assert any(value.requires_grad for value in losses.values())


def step(module: torch.nn.Module, batch: Any, optimizer: torch.optim.Optimizer | None = None) -> None:
    """One seeded forward and backward pass in training mode; gradients start from nothing."""
    torch.manual_seed(11)
    module.train()
    module.zero_grad(set_to_none=True)
    torch.stack([v.float() for v in module(batch).values()]).sum().backward()
    if optimizer is not None:
        optimizer.step()


def gradients_reach_all(module: torch.nn.Module, batches: list[Any]) -> None:
    """Every trainable parameter gets a gradient that is not zero in one of the batches, and no frozen one gets any."""
    reached = set()
    for batch in batches:
        step(module, batch)
        for name, parameter in module.named_parameters():
            if parameter.grad is not None:
                assert parameter.requires_grad, f"the frozen parameter {name} has a gradient"
                assert bool(torch.isfinite(parameter.grad).all()), f"the gradient of {name} is not finite"
                if bool(parameter.grad.any()):
                    reached.add(name)
    missed = {name for name, p in module.named_parameters() if p.requires_grad} - reached
    assert not missed, f"no gradient reaches {sorted(missed)}"
