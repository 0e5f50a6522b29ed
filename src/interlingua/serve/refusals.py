"""What a request gets that is not answered: which errors become which status, in one form that the schema has."""

from __future__ import annotations

import json
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from interlingua.errors import InterlinguaError, UnknownIdError, shown
from interlingua.serve.fields import unknown_field
from interlingua.serve.places import without_places
from interlingua.serve.queue import BusyError


class Problem(BaseModel):
    """What is wrong at one place of a request."""

    type: str
    loc: list[str | int]
    """the place: ``body``, ``query``, ..., then keys and indices"""
    msg: str


class Refused(BaseModel):
    """Why a request is not answered."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    detail: str | list[Problem]
    """in words; or, where the request has not the form of the schema, place by place"""


class Broken(BaseModel):
    """Something broke in the service."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    detail: str
    request_id: str
    """under which the log says where"""


SAID = {
    400: "The body is no JSON in UTF-8, or there is no Host header.",
    401: "No valid key.",
    403: "A key of a lower role, or none and not from this machine.",
    404: "Unknown user, item, version or path.",
    408: "The body did not come in time.",
    413: "The body is too large.",
    421: "The service is not called by this name.",
    422: "A request that cannot be read, or asks for what is not there.",
    429: "Too many requests, of this caller or of all; see Retry-After.",
    503: "Not answered in time, or the service stops; see Retry-After.",
}
RESPONSES: dict[int | str, dict[str, Any]] = {
    **{status: {"description": said, "model": Refused} for status, said in SAID.items()},
    500: {"description": "Something broke in the service.", "model": Broken},
}
"""of every route, for the schema"""


NO_OBJECT = ("model_attributes_type", "model_type", "dict_type")
"""of a body that was not read as JSON"""


def _is_json(request: Request) -> bool:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def add_refusals(app: FastAPI) -> None:
    """Turns refused requests into 422, unknown users into 404; those without a place or time into 429 and 503."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        # FastAPI's own answer repeats the input, and fails on what JSON lets in but not out: lone surrogates (half of
        # a character's escape), NaN. Where and why is enough, in ASCII, because a wrong key is part of "where".
        problems = [{key: problem[key] for key in ("type", "loc", "msg")} for problem in error.errors()]
        for problem in problems:
            if problem["type"] in NO_OBJECT and len(problem["loc"]) == 1 and not _is_json(request):
                sent = request.headers.get("content-type")
                problem["msg"] = (
                    f"the content-type is {shown(sent)}; send application/json" if sent else "send application/json"
                )
            if problem["type"] == "extra_forbidden":
                problem["msg"] = unknown_field(request.scope["endpoint"], problem["loc"])
        return Response(json.dumps({"detail": problems}), status_code=422, media_type="application/json")

    @app.exception_handler(405)
    async def other_method(request: Request, error: HTTPException) -> JSONResponse:
        found = (error.headers or {}).get("Allow", "").split(", ")
        methods = [each for name in found for each in ((name, "HEAD") if name == "GET" else (name,))]
        said = f"{request.method} is not answered at this path; send {' or '.join(methods)}"
        return JSONResponse({"detail": said}, 405, {"Allow": ", ".join(methods)})

    @app.exception_handler(InterlinguaError)
    async def refused(request: Request, error: InterlinguaError) -> JSONResponse:
        return JSONResponse({"detail": without_places(str(error), request.app.state.model.folders)}, status_code=422)

    @app.exception_handler(UnknownIdError)
    async def not_found(request: Request, error: UnknownIdError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_code=404)

    @app.exception_handler(BusyError)
    async def busy(request: Request, error: BusyError) -> JSONResponse:
        return JSONResponse({"detail": error.reason}, error.status, {"Retry-After": str(error.retry_after)})
