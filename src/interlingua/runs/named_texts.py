"""Further texts by name: the sections ``[texts.NAME]``, each with a text encoder of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from interlingua.errors import ConfigError, DataError, shown
from interlingua.runs.section import Section

NAMED_TEXT = re.compile(r"[a-z][a-z0-9_]*")


def named_texts(
    values: Mapping[str, Any], where: str, component: Callable[[str, Mapping[str, Any], str], Section]
) -> tuple[dict[str, Section], list[str]]:
    """The sections ``[texts.NAME]``, and what is wrong with them."""
    found, problems = dict[str, Section](), []
    for name, table in values.items():
        at = f"{where} [texts.{name}]"
        try:
            if not NAMED_TEXT.fullmatch(name):
                raise ConfigError(f"{at}: a text's name has small letters, digits and underscores, and no digit first")
            if not isinstance(table, Mapping):
                raise ConfigError(f"{at} is a table with a name, e.g. --set texts.{name}.name=lsa; got {shown(table)}")
            if "name" not in table:
                raise ConfigError(f"{at} has no name; interlingua list encoders shows what there is")
            found[name] = component("text", table, at)
            if "text.table" not in found[name].cls.makes(found[name].config):
                raise ConfigError(f"{at}: only [text] can be trained along; set texts.{name}.trainable = false")
        except ConfigError as error:
            problems.append(str(error))
    return found, problems


@contextmanager
def own_words(section: str) -> Iterator[None]:
    """Options that a text encoder's errors name are those of ``section``: ``text``, or ``texts.NAME``.

    Raises:
        ConfigError: as it was raised inside.
        DataError: likewise.
    """
    try:
        yield
    except (ConfigError, DataError) as error:
        words = re.sub(r"(?<![\w.])text\.(?=[a-z_]+\b)", f"{section}.", str(error))
        if words == str(error):
            raise
        raise type(error)(words) from None
