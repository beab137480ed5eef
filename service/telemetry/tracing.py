"""OpenTelemetry traces of requests. Imported only where the settings name a collector: the extra `tracing` brings it.

A request's spans are made when it has been answered, from the times of its stages, so that a request that is not
traced costs nothing and one that is waits for nothing; they leave in batches from a thread of their own.
"""

import random
from collections.abc import Callable

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import Scope

from service.errors import request_id_of
from service.principal import principal_of
from service.telemetry.metrics import route_of
from service.telemetry.timings import Timings

NAME = "anchorrec"
EXPORT_S = 3.0  # for one batch, and so for the last one when the process ends
NANOSECONDS = 1_000_000_000
W3C = (b"traceparent", b"tracestate")


class Traces:
    """Makes spans of answered requests: one for the request, one below it for each stage."""

    def __init__(
        self, processor: SpanProcessor, *, share: float, wall_ns: Callable[[], int], rng: random.Random
    ) -> None:
        resource = Resource.create({SERVICE_NAME: NAME})
        self._provider = TracerProvider(resource=resource, sampler=ParentBased(ALWAYS_ON))
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer(NAME)
        self._share = share
        self._wall_ns = wall_ns
        self._rng = rng

    def record(self, scope: Scope, timings: Timings, status: int) -> None:
        """Make the spans of a request that has just been answered, below the caller's span where it names one."""
        given = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in W3C}
        context = TraceContextTextMapPropagator().extract(given) if given else None
        if not _has_caller(context) and self._rng.random() >= self._share:
            return  # a sampler would say so too, at twenty times the cost
        end = self._wall_ns()
        start = end - _ns(timings.clock() - timings.start)
        method, route = scope["method"], route_of(scope)
        span = self._tracer.start_span(
            f"{method} {route}",
            context=context,
            kind=SpanKind.SERVER,
            start_time=start,
            attributes={"http.request.method": method, "http.route": route, "http.response.status_code": status},
        )
        if span.is_recording():
            span.set_attributes({"request_id": request_id_of(scope), "caller": principal_of(scope).name})
            if status >= 500:
                span.set_status(Status(StatusCode.ERROR))
            self._record_stages(span, timings, start)
        span.end(end)

    def _record_stages(self, span: trace.Span, timings: Timings, start: int) -> None:
        below = trace.set_span_in_context(span)
        for name, seconds in timings.marks:
            child = self._tracer.start_span(name, context=below, start_time=start)
            start += _ns(seconds)
            child.end(start)

    def close(self) -> None:
        """Send what waits to be sent, for a moment, and stop."""
        self._provider.shutdown()


def open_traces(endpoint: str, *, share: float, wall_ns: Callable[[], int], rng: random.Random) -> Traces:
    """Traces that go to a collector by OTLP over HTTP: `http://collector:4318`, to which `/v1/traces` is added."""
    exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + "/v1/traces", timeout=EXPORT_S)
    return Traces(BatchSpanProcessor(exporter), share=share, wall_ns=wall_ns, rng=rng)


def _has_caller(context: Context | None) -> bool:
    return context is not None and trace.get_current_span(context).get_span_context().is_valid


def _ns(seconds: float) -> int:
    return round(seconds * NANOSECONDS)
