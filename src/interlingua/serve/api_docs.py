"""``/docs`` and ``/openapi.json``: the routes, what they take and give, as a page and as OpenAPI.

A page of our own, without a script: the usual ones load theirs from elsewhere, and this service may stand where nothing
else can be reached.
"""

from __future__ import annotations

import json
from asyncio import to_thread
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from jinja2 import Environment, PackageLoader, StrictUndefined

STYLE = "/docs/style.css"


def api_docs() -> APIRouter:
    """The page and its style."""
    router = APIRouter(include_in_schema=False)
    style = (resources.files("interlingua.serve") / "templates" / "docs.css").read_bytes()

    made: dict[str, str] = {}  # both take a second to make: in a thread, once

    def text_of(app: FastAPI) -> dict[str, str]:
        if not made:
            schema = app.openapi()
            made.update(page=rendered(schema), schema=json.dumps(schema))
        return made

    @router.get("/docs")
    async def docs(http: Request) -> Response:
        return Response((await to_thread(text_of, http.app))["page"], media_type="text/html; charset=utf-8")

    @router.get("/openapi.json")
    async def openapi(http: Request) -> Response:
        return Response((await to_thread(text_of, http.app))["schema"], media_type="application/json")

    @router.get(STYLE)
    async def docs_style() -> Response:
        return Response(style, media_type="text/css; charset=utf-8")

    return router


def rendered(schema: Mapping[str, Any]) -> str:
    """The page of an OpenAPI text."""
    environment = Environment(
        loader=PackageLoader("interlingua.serve"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    schemas = schema.get("components", {}).get("schemas", {})
    return environment.get_template("docs.html").render(
        title=schema["info"]["title"],
        version=schema["info"]["version"],
        style=STYLE,
        operations=list(_operations(schema["paths"])),
        schemas={name: (each.get("description", ""), list(_fields(each))) for name, each in sorted(schemas.items())},
    )


def _operations(paths: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for path, verbs in paths.items():
        for verb, route in verbs.items():
            roles = [role for each in route.get("security", ()) for role in each.get("key", ())]
            parameters = [
                (each["name"], each["in"], type_of(each["schema"]), each.get("description", ""))
                for each in route.get("parameters", ())
            ]
            yield {
                "verb": verb.upper(),
                "path": path,
                "says": route.get("description", route.get("summary", "")),
                "role": roles[0] if roles else "",
                "parameters": parameters,
                "body": _named(route.get("requestBody", {})),
                "answers": {status: _named(each) for status, each in route["responses"].items()},
            }


def _fields(schema: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """Name, type, default and meaning."""
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        default = "" if name in required else repr(field["default"]) if "default" in field else "optional"
        yield name, type_of(field), default, field.get("description", "")


def _named(content: Mapping[str, Any]) -> str:
    """The schema of what is sent."""
    return next((_name(each.get("schema", {})) for each in content.get("content", {}).values()), "")


def _name(schema: Mapping[str, Any]) -> str:
    """Of a named schema; empty: it has none."""
    return str(schema.get("$ref", "")).rpartition("/")[2]


def type_of(schema: Mapping[str, Any]) -> str:
    """A type in words: ``list of text (1 to 500) or null``."""
    if "$ref" in schema:
        return _name(schema)
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(type_of(each) for each in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return " | ".join(repr(each) for each in schema.get("enum", [schema.get("const")]))
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {type_of(schema.get('items', {}))}{_bounds(schema, 'minItems', 'maxItems')}"
    if kind == "object":
        return f"object{_bounds(schema, 'minProperties', 'maxProperties')}"
    if kind == "string":
        return f"text{_bounds(schema, 'minLength', 'maxLength')}"
    return f"{kind}{_bounds(schema, 'minimum', 'maximum')}"


def _bounds(schema: Mapping[str, Any], least: str, most: str) -> str:
    low, high = schema.get(least), schema.get(most)
    if low is None and high is None:
        return ""
    if low is None:
        return f" (at most {high})"
    return f" (from {low})" if high is None else f" ({low} to {high})"
