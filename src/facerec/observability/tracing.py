"""Traces: what a request spends its time on, step by step, told to a collector by OpenTelemetry.

Off, which is the default, it costs one look at a variable for each step. The packages are imported once it
is on.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import facerec
from facerec.errors import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Span, SpanKind, Tracer

Attributes = Mapping[str, str | int | float | bool]

PARENT = "traceparent"
"""W3C's header, and the member of a job's payload, that name the span which this is a part of."""

_tracer: Tracer | None = None
"""Makes the spans of this process; None while it is off."""


@contextlib.contextmanager
def tracing(endpoint: str | None, *, process: str) -> Iterator[None]:
    """Tell the collector at `endpoint` (OTLP over HTTP) of every span until the end of the block.

    endpoint: None makes no spans. process: which of several this is. What waits is told at the end. A
    collector that is away costs spans, never a request. Raises ConfigurationError where packages are missing.
    """
    global _tracer
    if endpoint is None:
        yield
        return
    if importlib.util.find_spec("opentelemetry.exporter") is None:
        raise ConfigurationError(
            "OTEL_EXPORTER_OTLP_ENDPOINT needs OpenTelemetry: pip install 'facerec[otel]'"
        )
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    about = {"service.name": "facerec", "service.version": facerec.__version__, "process.name": process}
    provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracer = provider.get_tracer("facerec", facerec.__version__)
    try:
        yield
    finally:
        _tracer = None
        provider.shutdown()


def span(name: str) -> AbstractContextManager[object]:
    """A span of a block, part of the one that is open here. An error that leaves the block is its outcome."""
    if _tracer is None:
        return nullcontext()
    # By its class alone: the text of an error may name people.
    return _closed_by_errors(_tracer, name, None, None)


def span_of_request(headers: list[tuple[bytes, bytes]]) -> AbstractContextManager[Span | None]:
    """The span of a request, part of the caller's where its headers name one."""
    if _tracer is None:
        return nullcontext()
    from opentelemetry.trace import SpanKind

    given = {
        name.decode("latin-1"): value.decode("latin-1") for name, value in headers if name == b"traceparent"
    }
    return _closed_by_errors(_tracer, "request", _parent(given.get(PARENT)), SpanKind.SERVER)


def span_of_job(kind: str, parent: object) -> AbstractContextManager[Span | None]:
    """The span of a job, part of the request's that asked for it. parent: as `here` gave it."""
    if _tracer is None:
        return nullcontext()
    from opentelemetry.trace import SpanKind

    named = parent if isinstance(parent, str) else None
    return _closed_by_errors(_tracer, f"job {kind}", _parent(named), SpanKind.CONSUMER)


def here() -> str | None:
    """The span that is open here, as `traceparent` names it; None while it is off, or there is none."""
    if _tracer is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get(PARENT)


def _parent(named: str | None) -> Context | None:
    """The context of a span that another process has open; what cannot be read begins a trace of its own."""
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract(
        {} if named is None else {PARENT: named}, context=Context()
    )


@contextlib.contextmanager
def _closed_by_errors(
    tracer: Tracer, name: str, parent: Context | None, kind: SpanKind | None
) -> Iterator[Span]:
    from opentelemetry.trace import SpanKind, Status, StatusCode

    with tracer.start_as_current_span(
        name,
        context=parent,
        kind=SpanKind.INTERNAL if kind is None else kind,
        record_exception=False,
        set_status_on_exception=False,
    ) as opened:
        try:
            yield opened
        except BaseException as error:
            opened.set_status(Status(StatusCode.ERROR, type(error).__name__))
            raise
