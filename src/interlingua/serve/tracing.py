"""Spans for OpenTelemetry (extra ``otel``): one for each request, a child of its caller's.

The instrumentation that OpenTelemetry has for ASGI writes down addresses with paths and query strings, which name items
and users here; so a span has what a line of the log has (:mod:`interlingua.serve.seen`), and nothing else.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from interlingua import __version__
from interlingua.errors import MissingExtraError
from interlingua.serve.access import CALLER
from interlingua.serve.asgi import App, Message, Receive, Scope, Send
from interlingua.serve.seen import GONE, REQUEST_ID, route_of

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

ENDPOINT_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"
"""OpenTelemetry's own variable with the address of a collector"""
LAST_S = 2.0
"""seconds that sending may take at the end of the service"""
NAME_VARIABLE = "OTEL_SERVICE_NAME"


def provider_of(endpoint: str | None) -> TracerProvider | None:
    """What sends spans to a collector, OTLP over HTTP; None where no address is given.

    Raises:
        MissingExtraError: the packages are not installed.
    """
    if not endpoint:
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(error.name), "otel", f"sending spans ({ENDPOINT_VARIABLE})") from None
    own = {} if os.environ.get(NAME_VARIABLE) else {"service.name": "interlingua"}
    provider = TracerProvider(resource=Resource.create({**own, "service.version": __version__}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")))
    return provider


async def sent(provider: TracerProvider | None) -> None:
    """Waits until the last spans are sent, at most :data:`LAST_S`."""
    if provider is not None:
        with suppress(TimeoutError):
            await asyncio.wait_for(asyncio.to_thread(provider.force_flush, round(LAST_S * 1000)), LAST_S)


class Traced:
    """The layer that makes the spans."""

    def __init__(self, app: App, provider: TracerProvider) -> None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self.app, self.propagator = app, TraceContextTextMapPropagator()
        self.tracer = provider.get_tracer("interlingua.serve", __version__)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One connection's message: only HTTP requests are traced."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        from opentelemetry.trace import SpanKind, Status, StatusCode

        sent = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        carrier = {name: sent[name] for name in ("traceparent", "tracestate") if name in sent}
        status = GONE

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
            await send(message)

        with self.tracer.start_as_current_span(
            scope["method"], self.propagator.extract(carrier), SpanKind.SERVER, record_exception=False,
            set_status_on_exception=False,
        ) as span:  # fmt: skip
            try:
                await self.app(scope, receive, noted)
            except Exception as error:  # by its type alone: what it says may hold an id
                status = 500 if status == GONE else status
                span.set_attribute("error.type", type(error).__name__)
                raise
            finally:
                route, caller = route_of(scope), scope.get(CALLER)
                span.update_name(f"{scope['method']} {route}")
                span.set_attribute("http.request.method", scope["method"])
                span.set_attribute("http.route", route)
                span.set_attribute("http.response.status_code", status)
                span.set_attribute("interlingua.request_id", scope.get(REQUEST_ID, ""))
                if caller is not None and caller.name is not None:
                    span.set_attribute("interlingua.key", caller.name)
                if status >= 500:
                    span.set_status(Status(StatusCode.ERROR))
