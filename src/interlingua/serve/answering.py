"""``POST /v1/recommend`` in the line: with reasons, for a sentence, or in the order of a language model.

Lists that a language model orders are made for several requests at once. Where it will not be done by the deadline, the
order of the stage before is the answer, and says so.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from fastapi import Response

from interlingua.serve.one_item import reason
from interlingua.serve.queue import BusyError, Together, WorkQueue
from interlingua.serve.quick import Quick, key_of
from interlingua.serve.schema import Item, Reason, RecommendRequest, RecommendResponse

if TYPE_CHECKING:
    from interlingua.recommender import Recommender
    from interlingua.runs.answers import Answer
    from interlingua.runtime.cancel import Cancellation

SPARE, SPARE_S = 0.2, 2.0
"""of the time until the deadline, and at most so many seconds, are kept for the answer without a language model"""


class Listed:
    """Makes answers in the line. One for each application."""

    def __init__(self, line: WorkQueue, quick: Quick) -> None:
        self.line, self.quick = line, quick

    async def answer(
        self, request: RecommendRequest, cancellation: Cancellation, recommender: Recommender, started: float
    ) -> RecommendResponse | Response:
        """The answer to one request.

        Raises:
            BusyError: no place in the line (429), or not done by the deadline (503).
        """
        by_model = request.rerank and recommender.has_ranker and request.text is None
        together = None
        if by_model and not request.explain:
            key = (id(recommender), key_of(request))
            together = Together(key, lambda some: answers(recommender, some), (request, started))
        spare = self.spare_s if by_model else 0.0
        work = self.line.do(
            lambda: answer(recommender, request, started), cancellation, together=together, spare_s=spare
        )
        try:
            return await work
        except BusyError as error:
            if not by_model or error.status != 503 or self.line.closed:
                raise
            made = await self.without_model(request, started)
            if made is None:
                raise
            return Response(made, media_type="application/json")

    @property
    def spare_s(self) -> float:
        """So long before the deadline a language model that orders is given up."""
        return min(SPARE * self.line.deadline_s, SPARE_S)

    async def without_model(self, request: RecommendRequest, started: float) -> bytes | None:
        """The order of what retrieves, without reasons, as it goes over the wire; None: nor is there time for that."""
        late = f"the language model was not done within {self.line.deadline_s:g} s: the order is that of what retrieves"
        if request.explain:
            late += ", without reasons"
        try:
            return await self.quick.ask(request.model_copy(update={"rerank": False, "explain": 0}), started, late)
        except BusyError:
            return None


def answers(
    recommender: Recommender, requests: Sequence[tuple[RecommendRequest, float]]
) -> Sequence[RecommendResponse]:
    """Answers without reasons to requests with the same options, each with its start."""
    first = requests[0][0]
    made = recommender.answers([(each.user_id, each.history) for each, _ in requests], first.k, **first.options())
    pairs = zip(made, requests, strict=True)
    return [respond(recommender, found, [], started) for found, (_, started) in pairs]


def answer(recommender: Recommender, request: RecommendRequest, started: float) -> RecommendResponse:
    """One answer; unknown item ids are left out and named."""
    made = recommender.answer(request.user_id, request.history, request.k, **request.options())
    known = recommender.train.item_indices
    history = None if request.user_id is not None else [item for item in request.history or [] if item in known]
    explained = [one.item_id for one in made.items[: request.explain]]
    reasons = recommender.explain_items(
        explained, request.user_id, history, rerank=request.rerank, quiet=True, text=request.text,
        text_weight=request.text_weight,
    )  # fmt: skip
    return respond(recommender, made, [reason(each) for each in reasons], started)


def respond(recommender: Recommender, made: Answer, reasons: Sequence[Reason], started: float) -> RecommendResponse:
    """A list as it goes over the wire; ``reasons``: for the first items."""
    items = [
        Item(
            item_id=one.item_id,
            title=one.title,
            score=one.score,
            stage=one.stage,
            reason=reasons[place] if place < len(reasons) else None,
        )
        for place, one in enumerate(made.items)
    ]
    return RecommendResponse(
        items=items,
        stages_used=list(dict.fromkeys(one.stage for one in made.items)),
        fallback_reason=None,
        unknown_items=list(made.unknown_items),
        notes=list(made.notes),
        model_version=recommender.version,
        latency_ms=round((time.perf_counter() - started) * 1000, 3),
    )
