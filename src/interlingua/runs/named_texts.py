"""Further texts by name: the sections ``[texts.NAME]``, each with a text encoder of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from interlingua.config import Config
from interlingua.data.catalogue import Catalogue
from interlingua.errors import ConfigError, DataError, shown
from interlingua.runs.section import Section

NAMED_TEXT = re.compile(r"[a-z][a-z0-9_]*")


def named_texts(
    values: Mapping[str, Any], where: str, component: Callable[[str, Mapping[str, Any], str], Section]
) -> tuple[dict[str, Section], list[str]]:
    """The sections ``[texts.NAME]``, and the problems found in them."""
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
def errors_name(section: str, config: Config) -> Iterator[None]:
    """Makes the errors of a text encoder name its options as those of ``section`` (``text`` or ``texts.NAME``).

    Only the names of ``config``'s options are rewritten: ``/data/text.npy`` stays a file.

    Raises:
        ConfigError: as it was raised inside.
        DataError: likewise.
    """
    try:
        yield
    except (ConfigError, DataError) as error:
        options = "|".join(map(re.escape, type(config).model_fields))
        words = re.sub(rf"(?<![\w./\\])text\.(?=(?:{options}|name)\b)", f"{section}.", str(error))
        if words == str(error):
            raise
        raise type(error)(words) from None


def textless(sections: Iterable[tuple[str, Section]], catalogue: Catalogue) -> list[str]:
    """A line for each section (its words, itself) whose columns hold no text of any item."""
    found = []
    for words, part in sections:
        columns = [catalogue.column(field) for field in part.config.fields]
        values = [catalogue.items[column] for column in columns if column is not None]
        if part.config.reads_fields and values and all(each.null_count() == len(each) for each in values):
            found.append(
                f"{words} ({part.name}) reads {', '.join(part.config.fields)}, and no item has any: its vectors "
                "tell nothing apart; give the catalogue titles or descriptions, or leave it out"
            )
    return found
