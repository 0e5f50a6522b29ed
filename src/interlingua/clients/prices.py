"""Prices of tokens: a table by the user, because vendors change their prices and local servers cost nothing.

```toml
currency = "USD"

[models."some-model"]
input = 0.15    # per million tokens
output = 0.60
```
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import Field

from interlingua.config import Config, build
from interlingua.errors import ConfigError, unknown

MILLION = 1_000_000


class Price(Config):
    """Prices of one model."""

    input: float = Field(ge=0)
    """per million tokens of the prompt"""
    output: float = Field(default=0.0, ge=0)
    """per million tokens of the answer"""

    def of(self, prompt_tokens: float, completion_tokens: float) -> float:
        """Money for one call."""
        return (prompt_tokens * self.input + completion_tokens * self.output) / MILLION


class PriceTable(Config):
    """Prices of some models in one currency."""

    currency: str = "USD"
    """shown beside every amount"""
    models: dict[str, Price] = Field(default_factory=dict)
    """model name, as the server knows it -> its prices"""


FREE = Price(input=0.0, output=0.0)


def read_prices(path: Path) -> PriceTable:
    """A price table from a TOML file.

    Raises:
        ConfigError: it is not there, no TOML, or holds something else.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the price table {path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the price table {path} is not valid TOML: {error}") from None
    return build(PriceTable, values, str(path))


def price_of(model: str, table: PriceTable | None, *, needed: bool) -> Price | None:
    """The model's prices, or None if they are unknown.

    Args:
        model: the model's name.
        table: the user's price table.
        needed: a budget was set, so that a price must be known.

    Raises:
        ConfigError: a budget without a price.
    """
    if table is not None and model in table.models:
        return table.models[model]
    if not needed:
        return None
    if table is not None and table.models:
        raise ConfigError(unknown("model", model, table.models, "the price table"))
    raise ConfigError(
        f"a budget needs the price of {model!r}: write a table with [models.{model!r}] input = ... and output = ... "
        "(per million tokens) and name it with --prices FILE"
    )
