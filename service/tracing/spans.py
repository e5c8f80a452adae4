"""Spans over OpenTelemetry's SDK, exported over OTLP/HTTP.

A span has names, counts, states and error codes; never the text of an error, which may quote what
is secret. The provider is our own, not the global one of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.errors import RequestError, StartupFailed
from service.version import VERSION

logger = logging.getLogger(__name__)

CLOSE_TIMEOUT_S = 5.0
SERVICE_NAME = "cascade"
CANCELLED = "cancelled"

Attributes = Mapping[str, Any]

_propagator = TraceContextTextMapPropagator()


class Tracing:
    """Records spans from `open` to `close`."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        try:
            self._provider = TracerProvider(resource=_resource(environment), shutdown_on_exit=False)
            self._processor: BatchSpanProcessor | None = None
        except ValueError as exc:
            raise StartupFailed(f"OTEL_*: {exc}") from exc
        self._tracer = self._provider.get_tracer(SERVICE_NAME, VERSION)

    def open(self) -> None:
        """Start to export."""
        try:
            self._processor = BatchSpanProcessor(OTLPSpanExporter())
        except ValueError as exc:
            raise StartupFailed(f"OTEL_*: {exc}") from exc
        self._provider.add_span_processor(self._processor)
        logger.info("spans are recorded and exported with OpenTelemetry")

    async def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Export what is left, for a while: the collector may be down."""
        if self._processor is None:
            return
        # A thread of its own: that of an executor would have to end before the process can.
        thread = threading.Thread(target=self._provider.shutdown, daemon=True)
        thread.start()
        await asyncio.to_thread(thread.join, timeout_s)
        if thread.is_alive():
            logger.warning("the last spans were not exported within %g s", timeout_s)

    @contextlib.contextmanager
    def request_span(
        self, name: str, headers: Mapping[str, str], attributes: Attributes
    ) -> Iterator[Span]:
        """A span in the trace of the headers, or in a new one."""
        parent = _propagator.extract(headers, contexts.Context())
        present = {key: value for key, value in attributes.items() if value is not None}
        span = self._tracer.start_span(name, parent, SpanKind.SERVER, present)
        with self._run(span):
            yield span

    @contextlib.contextmanager
    def span(
        self, name: str, attributes: Attributes, kind: SpanKind = SpanKind.INTERNAL
    ) -> Iterator[Span]:
        """A span in the current one."""
        present = {key: value for key, value in attributes.items() if value is not None}
        with self._run(self._tracer.start_span(name, kind=kind, attributes=present)) as span:
            yield span

    @contextlib.contextmanager
    def call_span(self, name: str, attributes: Attributes) -> Iterator[Span]:
        """A span of a call to another service."""
        with self.span(name, attributes, SpanKind.CLIENT) as span:
            yield span

    def current_span(self) -> Span:
        """The current span; one that records nothing if there is none."""
        return trace.get_current_span()

    def is_in_trace(self) -> bool:
        """Whether there is a current span, even if its trace is not sampled."""
        return trace.get_current_span().get_span_context().is_valid

    def trace_id(self) -> str | None:
        """The id of the current trace."""
        context = trace.get_current_span().get_span_context()
        return trace.format_trace_id(context.trace_id) if context.is_valid else None

    def outgoing_headers(self) -> bytes:
        """The lines of `traceparent`, and of `tracestate` if there is one, for a call."""
        headers: dict[str, str] = {}
        _propagator.inject(headers)
        return b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items())

    def fail(self, span: Span, error: BaseException | str) -> None:
        """Mark the span as failed, by the code or the type of the error."""
        kind = error if isinstance(error, str) else _error_type(error)
        span.set_attribute("error.type", kind)
        span.set_status(Status(StatusCode.ERROR, kind))

    @contextlib.contextmanager
    def _run(self, span: Span) -> Iterator[Span]:
        token = contexts.attach(trace.set_span_in_context(span))
        try:
            yield span
        except BaseException as exc:
            self.fail(span, exc)
            raise
        finally:
            contexts.detach(token)
            span.end()


def _error_type(error: BaseException) -> str:
    if isinstance(error, RequestError):
        return error.code
    return CANCELLED if isinstance(error, asyncio.CancelledError) else type(error).__name__


def _resource(environment: Mapping[str, str]) -> Resource:
    ours = {"service.version": VERSION}
    named = environment.get("OTEL_RESOURCE_ATTRIBUTES", "")
    if not environment.get("OTEL_SERVICE_NAME") and "service.name=" not in named:
        ours["service.name"] = SERVICE_NAME
    return Resource.create(ours)
