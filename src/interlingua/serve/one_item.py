"""``/v1/similar``, ``/v1/explain``, ``/v1/why-not``: what is like an item, why it is recommended, and why it is not."""

from __future__ import annotations

import time
from asyncio import to_thread
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import Field, model_validator

from interlingua.errors import shown
from interlingua.runs.questions import MOST_NAMED
from interlingua.serve.access import needs
from interlingua.serve.filters_body import FilterBody
from interlingua.serve.guard import KEY
from interlingua.serve.model import ServedModel
from interlingua.serve.schema import (
    MAX_REASONS,
    Body,
    Evidence,
    Excluded,
    Id,
    ListRequest,
    Part,
    Reason,
    Strict,
    Support,
    Whole,
)

if TYPE_CHECKING:
    from interlingua.explain.explain import Explanation
    from interlingua.recommender import Recommender
    from interlingua.runs.answers import Support as Supported
    from interlingua.serve.queue import WorkQueue


class SimilarRequest(Body):
    """The items most like one."""

    item_id: Id
    k: Whole = Field(10, ge=1, le=1000)
    """how many"""
    exclude: Excluded = Field(default_factory=list)
    """item ids that must not come out"""
    items: list[Id] | None = Field(None, max_length=10_000)
    """item ids that alone may come out; null: all"""
    filters: FilterBody = Field(default_factory=dict)
    """as in recommend"""
    space: Literal["vectors", "texts", "events"] | None = None
    """in what items are compared: the model's vectors, their texts, who had them; null: the first of these that the run
    has and that knows the item"""


class Similar(Strict):
    """An item like another."""

    item_id: str
    title: str
    score: float
    """cosine"""


class Answered(Strict):
    """What every answer says of itself."""

    notes: list[str]
    """what was left out, in words"""
    model_version: str
    """key of the run: changes with data, options and seed"""
    latency_ms: float


class SimilarResponse(Answered):
    """The answer, best first."""

    items: list[Similar]
    space: str
    """in what the items were compared, in words"""


class ExplainRequest(Body):
    """Items, and exactly one of ``user_id`` and ``history``."""

    item_ids: list[Id] = Field(min_length=1, max_length=MAX_REASONS)
    user_id: Id | None = None
    """a user that the run knows"""
    history: list[Id] | None = Field(None, max_length=10_000)
    """item ids, oldest first, of anybody"""
    rerank: bool = True
    """false: the retriever's score is explained, not the ranker's"""

    @model_validator(mode="after")
    def _one_of_two(self) -> ExplainRequest:
        if (self.user_id is None) == (self.history is None):
            raise ValueError("give exactly one of user_id and history")
        return self


class Explained(Strict):
    """An item and the reason for it."""

    item_id: str
    reason: Reason


class ExplainResponse(Answered):
    """The reasons, in the order of the items."""

    items: list[Explained]


class WhyNotRequest(ListRequest):
    """An item, and the list in which it was looked for."""

    item_id: Id
    """any: that the run does not know it is an answer too"""


class Block(Strict):
    """What keeps the item out, whatever its score."""

    kind: str
    """``unknown``, ``had``, ``items``, ``exclude``, ``filter`` or ``unavailable``"""
    about: str
    """the condition in words, a near id"""


class Place(Strict):
    """Where one scorer puts the item, among those that may come out."""

    name: str
    role: str
    """``retriever``, ``member``, ``ranker``, ``popularity`` or ``text``"""
    decides: bool
    """whether the list has this order"""
    rank: int | None
    """from 1; null: it has no score"""
    of: int
    score: float | None
    cut: int
    """how many go on: into the list, or to the ranker"""
    last: float | None
    """score of the last of the others that goes on; null: all do"""
    distance: float | None
    """what the score lacks to go on; below 0: what it is ahead"""
    given: bool
    """false: the ranker was not given the item; this is what it would say in place of the last candidate"""


class Change(Strict):
    """One event more that brings the item in."""

    item_id: str
    title: str
    rank: int


class WhyNotResponse(Answered):
    """The facts; where something keeps the item out, places are those that it would have if nothing did."""

    item_id: str
    title: str | None
    k: int
    rank: int | None
    """place in the list as it is; null: it is not in it"""
    sentences: list[str]
    """all of this in words"""
    blocks: list[Block]
    places: list[Place]
    most: list[Support]
    """items of the history that raise its score most"""
    least: list[Support]
    """those that raise it least, or lower it"""
    basis: str
    changes: list[Change]
    """each alone is enough"""
    tried: int
    """how many similar items were tried for ``changes``"""
    into: str
    """``list``, or ``candidates``: what the ranker is given"""


def one_item(model: ServedModel, line: WorkQueue) -> APIRouter:
    """The routes; they wait in the line of the model."""
    router = APIRouter(prefix="/v1", dependencies=[Depends(needs("read"))])

    @router.post("/similar")
    async def similar(request: SimilarRequest, http: Request) -> SimilarResponse:
        """The items most like one; what is not available does not come out."""
        started, now = time.perf_counter(), model.now

        def work() -> SimilarResponse:
            options = {"items": request.items, "exclude": request.exclude, "filters": request.filters}
            found = now.like(request.item_id, request.k, space=request.space, **options)
            items = [Similar(item_id=each.item_id, title=each.title, score=each.score) for each in found.items]
            return SimilarResponse(items=items, space=found.space, **_about(now, started, found.notes))

        return await line.do(work, http.scope[KEY])

    @router.post("/explain")
    async def explain(request: ExplainRequest, http: Request) -> ExplainResponse:
        """The reason for each of some items, measured on what recommends them."""
        started, now = time.perf_counter(), model.now
        await _known(now, request.user_id)

        def work() -> ExplainResponse:
            known = now.train.item_indices
            history = None if request.history is None else [item for item in request.history if item in known]
            gone = list(dict.fromkeys(item for item in request.history or [] if item not in known))
            said = ", ".join(map(shown, gone[:MOST_NAMED]))
            notes = [f"history: ids that the run does not know, left out: {said}"] if gone else []
            made = now.explain_items(request.item_ids, request.user_id, history, rerank=request.rerank, quiet=True)
            pairs = zip(request.item_ids, made, strict=True)
            items = [Explained(item_id=item, reason=reason(why)) for item, why in pairs]
            return ExplainResponse(items=items, **_about(now, started, notes))

        return await line.do(work, http.scope[KEY])

    @router.post("/why-not")
    async def why_not(request: WhyNotRequest, http: Request) -> WhyNotResponse:
        """Why an item is not in the list of a user, a history or a text; 200 also for an item that is not known."""
        started, now = time.perf_counter(), model.now
        await _known(now, request.user_id)

        def work() -> WhyNotResponse:
            found = now.why_not(request.item_id, request.user_id, request.history, request.k, **request.options())
            facts = found.facts()
            about = _about(now, started, facts.pop("notes"))
            return WhyNotResponse(**facts, **about)

        return await line.do(work, http.scope[KEY])

    return router


async def _known(recommender: Recommender, user: str | None) -> None:
    """An unknown user does not wait for the model."""
    if user is not None:
        await to_thread(recommender.user_row, user)


def _about(recommender: Recommender, started: float, notes: list[str]) -> dict[str, Any]:
    taken = round((time.perf_counter() - started) * 1000, 3)
    return {"notes": notes, "model_version": recommender.version, "latency_ms": taken}


def reason(why: Explanation[Supported]) -> Reason:
    """A reason as it goes over the wire."""
    return Reason(
        sentence=why.sentence,
        support=[Support(**each._asdict()) for each in why.support],
        from_template=why.from_template,
        liked=why.liked,
        basis=why.basis.value,
        parts=[Part(text=part.text, evidence=list(part.evidence)) for part in why.parts],
        evidence=[
            Evidence(id=each.id, kind=each.kind, item_id=None if each.item is None else str(each.item), text=each.text)
            for each in why.evidence
        ],
    )
