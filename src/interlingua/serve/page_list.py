"""The page's list in the order of a language model; where that is late, in the order of what retrieves, and said."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from interlingua.runs.stage_lists import SERVED
from interlingua.serve.page_schema import ListRequest, ListResponse
from interlingua.serve.page_views import PageViews, response
from interlingua.serve.queue import BusyError
from interlingua.serve.schema import WHO, RecommendRequest

if TYPE_CHECKING:
    from interlingua.runtime.cancel import Cancellation
    from interlingua.serve.answering import Listed as Answering


async def listed(
    views: PageViews, request: ListRequest, cancellation: Cancellation, answering: Answering
) -> ListResponse:
    """The list of one column, as ``POST /v1/recommend`` would have it.

    Raises:
        BusyError: as there.
    """
    started, served, line = time.perf_counter(), views.now(), answering.line
    by_model = request.column == SERVED and served.has_ranker and request.text is None
    try:
        return await line.do(
            lambda: views.listed(request), cancellation, spare_s=answering.spare_s if by_model else 0.0
        )
    except BusyError as error:
        if not by_model or error.status != 503 or line.closed:
            raise
        plain = RecommendRequest.model_validate({name: vars(request)[name] for name in WHO})
        made = await answering.without_model(plain, started)
        if made is None:
            raise
    found, now = json.loads(made), views.now()  # who serves by then
    known = now._lists.train.item_indices
    items = [(one["item_id"], one["score"], one["stage"]) for one in found["items"] if one["item_id"] in known]
    return response(now, request.column, items, found["notes"], started, found["fallback_reason"])
