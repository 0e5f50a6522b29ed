"""What goes in and comes out of the routes that the page uses. Unknown keys are refused, sizes are bounded."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from interlingua.serve.schema import Body, Id, Reason, Strict, Whole

MOST_K, MOST_FOUND, MOST_HISTORY, MOST_USERS = 50, 50, 100, 200


class ShownItem(Strict):
    """An item as the page shows it."""

    item_id: str
    title: str
    categories: list[str]
    events: int
    """in training"""
    new: bool
    """it came after training"""


class Titles(Strict):
    """Items found by words."""

    items: list[ShownItem]


class Column(Strict):
    """One of the lists that stand side by side."""

    id: str
    name: str
    about: str
    first: bool
    """whether it is shown at first"""


class About(Strict):
    """What the page says of the run that answers."""

    name: str
    """of the recipe"""
    model_version: str
    dataset: str
    thing: str
    """what an item is: movie, book, ..."""
    users: int
    items: int
    added: int
    """items that came after training"""
    reads_texts: bool
    """whether it takes sentences, and new items by their texts"""
    columns: list[Column]
    versions: bool
    """whether the service has a store with versions (``/v1/models``)"""
    training: dict[str, Any] | None = None
    """what is being trained beside (``interlingua play``)"""


class UsersRequest(Body):
    """Which users to show."""

    part: Annotated[str, Field(max_length=500)] = ""
    """of their ids; empty: some of those with events, few and many"""
    limit: Whole = Field(20, ge=1, le=MOST_FOUND)


class ShownUser(Strict):
    """A user as the page shows one."""

    user_id: str
    events: int
    """on record, later ones included"""
    last: list[str]
    """titles of the last few"""


class Users(Strict):
    """Users found."""

    users: list[ShownUser]
    total: int


class UserRequest(Body):
    """Which user."""

    user_id: Id


class UserHistory(Strict):
    """A user's own items."""

    user_id: str
    events: int
    history: list[ShownItem]
    """the last ones, oldest first"""


class Question(Body):
    """Who asks: a user, a history, or nobody; as in ``/v1/recommend``."""

    column: str = Field("served", max_length=100)
    user_id: Id | None = None
    history: list[Id] | None = Field(None, max_length=1000)

    @model_validator(mode="after")
    def _one_of_two(self) -> Question:
        if (self.user_id is None) == (self.history is None):
            raise ValueError("give exactly one of user_id and history")
        return self


class ListRequest(Question):
    """A list of one column."""

    text: str | None = Field(None, min_length=1, max_length=2000)
    """read by what is recommended alone"""
    text_weight: float = Field(0.5, ge=0, le=1)
    k: Whole = Field(10, ge=1, le=MOST_K)


class Listed(ShownItem):
    """An item in a list."""

    score: float
    stage: str


class ListResponse(Strict):
    """A list of one column."""

    column: str
    items: list[Listed]
    fallback_reason: str | None = None
    """why the language model did not order the list that is recommended: it was late; null: it did, or has no part"""
    notes: list[str]
    model_version: str
    latency_ms: float


class WhyRequest(Question):
    """Items of a list that are to be explained."""

    items: list[Id] = Field(min_length=1, max_length=20)
    text: str | None = Field(None, min_length=1, max_length=2000)
    """with which what is recommended was asked for"""
    text_weight: float = Field(0.5, ge=0, le=1)


class WhyResponse(Strict):
    """A reason for each item, in the order asked; none where the column has none."""

    reasons: list[Reason]


class Point(ShownItem):
    """An item on the map."""

    x: float
    y: float


class MapResponse(Strict):
    """The vector space laid flat."""

    space: str
    """whose vectors these are; empty: the run has none"""
    explained: list[float]
    """share of the variance along x and y"""
    points: list[Point]
    total: int
    """items of the catalogue"""
    model_version: str


class ItemRequest(Body):
    """Which item, and for how many users its place is looked up."""

    item_id: Id
    users: Whole = Field(MOST_USERS, ge=0, le=MOST_USERS)


class Alike(ShownItem):
    """An item like another."""

    score: float
    """cosine"""


class Place(Strict):
    """An item's place in a user's list."""

    user_id: str
    place: int


class ItemResponse(Strict):
    """Where an item stands, and in whose lists."""

    item: ShownItem
    point: list[float] | None
    """x and y on the map"""
    space: str
    """in what items are alike, in words, as the map names it"""
    alike: list[Alike]
    sampled: int
    """users of the sample who have not had it"""
    had: int
    """users of the sample who have had it"""
    in_10: int
    """in so many of their lists it is among the first ten"""
    in_100: int
    median: int | None
    """half of the places are at or before this one"""
    best: list[Place]
    """where it comes first"""


class ModelResponse(Strict):
    """The run that answers: what it is made of and what was measured."""

    name: str
    model_version: str
    dataset: str
    folder: str
    """its name; not where it lies"""
    stages: list[dict[str, Any]]
    protocols: dict[str, Any]
    """protocol -> what was measured: users, metrics, 95 % intervals, slices"""


class DriftRequest(Body):
    """Which version is compared with the one that answers."""

    version: Id


class DriftResponse(Strict):
    """The report of :mod:`interlingua.life.drift`."""

    report: dict[str, Any]
