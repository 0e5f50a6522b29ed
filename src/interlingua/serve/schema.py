"""What goes in and comes out over HTTP. Unknown keys are refused, sizes are bounded."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from interlingua.data.files.columns import plain
from interlingua.errors import DataError, identifier, shown
from interlingua.runs.answers import MOST_DIVERSITY
from interlingua.serve.filters_body import FilterBody, Value

Id = Annotated[str, Field(min_length=1, max_length=500)]


def _checked(value: str) -> str:
    try:
        return identifier(value, "the id")
    except DataError as error:
        raise ValueError(str(error)) from None


NewId = Annotated[Id, AfterValidator(_checked)]
"""of what comes after training"""


def _whole(value: Any) -> Any:
    """2.0 as 2: JSON has one kind of number, and tells whole ones by their value."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _time(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int | float | None):
        raise ValueError(f"the time is {shown(value)}; {TIMES}")
    return value


def _none(value: Any) -> Any:
    return [] if value is None else value


TIMES = "give seconds since 1970, a date such as 2026-01-31, or null for now"
Whole = Annotated[int, BeforeValidator(_whole)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Excluded = Annotated[Annotated[list[Id], Field(max_length=10_000)] | None, AfterValidator(_none)]
MAX_REASONS = 20
WHO = ("user_id", "history", "k")


class Strict(BaseModel):
    """Unknown keys are an error: a misspelt option must not be silently ignored."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Body(Strict):
    """What is sent in. A value has its type: no text, and no true, stands for a number."""

    model_config = ConfigDict(strict=True)


class ListRequest(Body):
    """Who asks, and for how much. Exactly one of ``user_id`` and ``history``; with a ``text`` neither is needed."""

    user_id: Id | None = None
    """a user that the run knows"""
    history: list[Id] | None = Field(None, max_length=10_000)
    """item ids, oldest first, of anybody; an empty list is a new user"""
    text: str | None = Field(None, min_length=1, max_length=2000)
    """what is looked for, in words; alone, or beside a user or a history"""
    text_weight: float = Field(0.5, ge=0, le=1)
    """of the text: 1 is the text alone; the rest is the history's, or popularity's where there is none"""
    k: Whole = Field(10, ge=1, le=1000)
    """how many items"""
    exclude: Excluded = Field(default_factory=list)
    """item ids that must not come out"""
    items: list[Id] | None = Field(None, max_length=10_000)
    """item ids that alone may come out; null: all"""
    filters: FilterBody = Field(default_factory=dict)
    """an expression, ``category in ["A", "B"] and price < 20 and not sold_out``; or conditions on columns of the
    catalogue, all of which must hold, the operator (``=``, ``!=``, ``<``, ``<=``, ``>``, ``>=``, ``contains``) in the
    key: ``{"categories": "Comedy", "year>=": 1990}``; a list is any of its values; null: no value"""
    rerank: bool = True
    """let the language model order what the backbone retrieved, where the run has one"""
    diversity: float = Field(0.0, ge=0, le=MOST_DIVERSITY)
    """0: by score alone; more: rather items of different categories, from some hundreds on by these alone"""
    repeat: bool = False
    """items that the user has had may come out too"""
    new_share: float = Field(0.0, ge=0, le=1)
    """at least this share of the k is new: items without an event in training, added ones among them"""

    @model_validator(mode="after")
    def _one_of_two(self) -> ListRequest:
        given = (self.user_id is not None) + (self.history is not None)
        if given > 1 or (given == 0 and self.text is None):
            raise ValueError("give exactly one of user_id and history, or a text")
        return self

    def options(self) -> dict[str, Any]:
        """All but who asks and ``k``, as :meth:`interlingua.recommender.Recommender.answer` takes it."""
        return {name: vars(self)[name] for name in ListRequest.model_fields if name not in WHO}


class RecommendRequest(ListRequest):
    """A list, and reasons for its first items."""

    explain: Whole = Field(0, ge=0, le=MAX_REASONS)
    """give a reason for so many of the first items; true: for all, up to 20"""

    @field_validator("explain", mode="before")
    @classmethod
    def _all_of_them(cls, value: Any) -> Any:
        return (MAX_REASONS if value else 0) if isinstance(value, bool) else value


class Support(Strict):
    """A history item that speaks for a recommendation."""

    item_id: str
    title: str
    influence: float
    """how much the item's score falls when this one is left out of the history"""
    rating: float | None = None
    """what the user said of it, where that is known"""


class Part(Strict):
    """A piece of a sentence."""

    text: str
    evidence: list[str] = []
    """ids of what its words were taken from; none: words that claim nothing"""


class Evidence(Strict):
    """Something that is known."""

    id: str
    kind: Literal["title", "categories", "description", "event", "text", "dataset"]
    item_id: str | None = None
    """whose it is; null: the dataset's, or what was asked for"""
    text: str
    """as it stands in the catalogue; of an event what is said of it; of a text what was asked for"""


class Reason(Strict):
    """Why an item is recommended."""

    sentence: str
    support: list[Support]
    from_template: bool
    """true: worded by a rule, not by a language model"""
    liked: bool = False
    """true: the user rated every item of the support at or above his own mean"""
    basis: Literal["score", "history"] = "score"
    """``history``: the model keeps one vector per known user and reads no history, so the influences are those on a
    score made from the history alone"""
    parts: list[Part] = []
    """the sentence in pieces, each with the ids of its evidence"""
    evidence: list[Evidence] = []
    """what the ids stand for"""


class Item(Strict):
    """One recommended item."""

    item_id: str
    title: str
    score: float
    """comparable within one answer only"""
    stage: str
    """which stage decided the place"""
    reason: Reason | None = None


class RecommendResponse(Strict):
    """The answer."""

    items: list[Item]
    stages_used: list[str]
    """the stages that decided a place: the backbone, the ranker that re-ranked, or ``popularity`` for a user of whom
    nothing is known"""
    fallback_reason: str | None = None
    """why a stage that was asked for did not decide: the language model was late; null: all did"""
    unknown_items: list[str]
    """ids of ``history``, ``items`` and ``exclude`` that the run does not know; they were left out"""
    notes: list[str]
    """what was left out, why the list is empty, that popularity decided; in words"""
    model_version: str
    """key of the run: changes with data, options and seed"""
    latency_ms: float


FIELDS = ("item_id", "title", "description", "categories", "available")
"""of an item; its attributes have other names"""


class ItemBody(Body):
    """An item: what a catalogue has of it. Of a known one, what is not given stays; null takes a value away."""

    title: Annotated[str, Field(max_length=2000)] | None = None
    description: Annotated[str, Field(max_length=50_000)] | None = None
    categories: list[Id] | Annotated[str, Field(max_length=2000)] | None = None
    """several as a list, or as ``Comedy|Drama``"""
    available: bool | None = None
    """false: it is known, and does not come out"""
    attributes: dict[Id, Value] = Field(default_factory=dict, max_length=100)
    """further columns, which ``filters`` know: ``{"price": 19.5}``; null: no value"""

    @field_validator("attributes")
    @classmethod
    def _no_fields(cls, attributes: dict[str, Any]) -> dict[str, Any]:
        for name in attributes:
            if plain(name) in FIELDS:
                raise ValueError(f"{name!r} is a field of its own, and no attribute: give it beside attributes")
        return attributes

    def line(self, item_id: str) -> dict[str, Any]:
        """The item as a line of a catalogue."""
        categories = "|".join(self.categories) if isinstance(self.categories, list) else self.categories
        own = {"title": self.title, "description": self.description, "categories": categories}
        given = {name: value for name, value in own.items() if name in self.model_fields_set}
        return {**self.attributes, **given, "available": self.available, "item_id": item_id}


class NewItem(ItemBody):
    """An item with its id."""

    item_id: NewId


class ItemsRequest(Body):
    """Items to put in."""

    items: list[NewItem] = Field(min_length=1, max_length=1000)


class ItemsResponse(Strict):
    """What changed."""

    added: list[str]
    updated: list[str]
    removed: list[str]
    notes: list[str] = []
    """what was left out or could not be done, in words"""


class NewEvent(Body):
    """A user had an item."""

    user_id: NewId
    item_id: NewId
    time: Annotated[Number | Annotated[str, Field(max_length=100)] | None, BeforeValidator(_time)] = None
    """seconds since 1970, or a date with or without a time of day, read as in data files: ``2026-01-31``,
    ``2026-01-31T18:30:00+01:00`` (UTC where no zone is written), ``20260131``; null: now"""
    value: float | None = Field(None, allow_inf_nan=False)
    """a rating, or 1 and 0"""


class EventsRequest(Body):
    """Events in their order."""

    events: list[NewEvent] = Field(min_length=1, max_length=1000)
    idempotency_key: NewId | None = None
    """of this batch (or the header ``Idempotency-Key``): sent again, it adds nothing"""


class EventsResponse(Strict):
    """What was entered."""

    added: int
    """0: this batch came before"""
    unknown_items: list[str]
    """ids that the run does not know: their events are kept, and count once there is such an item"""
    notes: list[str] = []
    """how many events are of items that the run does not know, and what of them no answer reads, in words"""
