"""``filters`` of a body: a text or an object; what is neither, or holds what no condition can, is refused in words."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

LONGEST_ID, LONGEST_VALUE, LONGEST_TEXT = 500, 500, 10_000
MOST_COLUMNS, MOST_VALUES = 20, 1000
KINDS = {dict: "an object", list: "a list", bool: "true or false", int: "a number", float: "a number"}
INSTEAD = 'give a text such as "price < 20", or an object of column: value'

Value = (
    Annotated[str, Field(max_length=LONGEST_VALUE)] | bool | int | Annotated[float, Field(allow_inf_nan=False)] | None
)


def _read(value: Any, read: ValidatorFunctionWrapHandler) -> Any:
    """The filters; null is none. pydantic's own words name its types, not what is wrong."""
    if value is None:
        return {}
    try:
        return read(value)
    except ValidationError:
        raise ValueError(wrong_filters(value)) from None


FilterBody = Annotated[
    Annotated[
        dict[
            Annotated[str, Field(min_length=1, max_length=LONGEST_ID)],
            Value | Annotated[list[Value], Field(max_length=MOST_VALUES)],
        ],
        Field(max_length=MOST_COLUMNS),
    ]
    | Annotated[str, Field(max_length=LONGEST_TEXT)]
    | None,
    WrapValidator(_read),
]


def wrong_filters(value: Any) -> str:
    """Why filters cannot be read.

    Args:
        value: what the JSON says.
    """
    if isinstance(value, str):
        return f"filters: a text of {len(value):,} characters; at most {LONGEST_TEXT:,} are read"
    if not isinstance(value, dict):
        return f"filters is {KINDS.get(type(value), 'something else')}; {INSTEAD}"
    if len(value) > MOST_COLUMNS:
        return f"filters: {len(value):,} columns; at most {MOST_COLUMNS} are read"
    for name, given in value.items():
        if not 0 < len(name) <= LONGEST_ID:
            return f"filters: a column's name has 1 to {LONGEST_ID} characters, this one {len(name):,}"
        values = given if isinstance(given, list) else [given]
        if len(values) > MOST_VALUES:
            return f"filters: {name!r} has {len(values):,} values; at most {MOST_VALUES:,} are read"
        for each in values:
            if isinstance(each, dict | list):
                return (
                    f"filters: {name!r} has {KINDS[type(each)]} as a value; give a text, a number, true, false or null"
                )
            if isinstance(each, str) and len(each) > LONGEST_VALUE:
                return f"filters: {name!r} has a text of {len(each):,} characters; at most {LONGEST_VALUE} are read"
            if isinstance(each, float) and not math.isfinite(each):
                return f"filters: {name!r} has the value {each}; give a finite number, or null for no value"
    return f"filters cannot be read; {INSTEAD}"
