"""Sends OpenTelemetry traces of requests; imported only with RECO_OTLP_ENDPOINT, since it needs the extra `tracing`.

The spans of a request are created after its response, from its timings, so that an untraced request costs nothing and
no request waits for the export, which runs in batches in a thread of its own.
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
from service.telemetry.fast_metrics import method_label, route_of
from service.telemetry.timings import ARM, Timings

NAME = "anchorrec"
EXPORT_S = 3.0  # timeout of one batch, also of the last one when the process stops
NANOSECONDS = 1_000_000_000
W3C = (b"traceparent", b"tracestate")


class Traces:
    """Creates the spans of finished requests: one for the request, with a child for each stage."""

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
        """Create the spans of a finished request, as children of the caller's span where the request names one."""
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"] if name in W3C}
        context = TraceContextTextMapPropagator().extract(headers) if headers else None
        if not _has_parent(context) and self._rng.random() >= self._share:
            return  # a sampler would decide the same at twenty times the cost
        end = self._wall_ns()
        start = end - _ns(timings.clock() - timings.start)
        method, route = method_label(scope["method"]), route_of(scope)
        span = self._tracer.start_span(
            f"{method} {route}",
            context=context,
            kind=SpanKind.SERVER,
            start_time=start,
            attributes={"http.request.method": method, "http.route": route, "http.response.status_code": status},
        )
        if span.is_recording():
            span.set_attributes({"request_id": request_id_of(scope), "caller": principal_of(scope).name})
            span.set_attributes({f"reco.{name}": value for name, value in scope.get(ARM, {}).items()})
            if status >= 500:
                span.set_status(Status(StatusCode.ERROR))
            self._record_stages(span, timings, start)
        span.end(end)

    def _record_stages(self, span: trace.Span, timings: Timings, start: int) -> None:
        parent = trace.set_span_in_context(span)
        for name, seconds in timings.marks:
            child = self._tracer.start_span(name, context=parent, start_time=start)
            start += _ns(seconds)
            child.end(start)

    def close(self) -> None:
        """Export the pending spans, within EXPORT_S, and stop."""
        self._provider.shutdown()


def open_traces(endpoint: str, *, share: float, wall_ns: Callable[[], int], rng: random.Random) -> Traces:
    """Traces that are exported by OTLP over HTTP; `/v1/traces` is appended to the endpoint, `http://collector:4318`."""
    exporter = OTLPSpanExporter(endpoint=endpoint.rstrip("/") + "/v1/traces", timeout=EXPORT_S)
    return Traces(BatchSpanProcessor(exporter), share=share, wall_ns=wall_ns, rng=rng)


def _has_parent(context: Context | None) -> bool:
    return context is not None and trace.get_current_span(context).get_span_context().is_valid


def _ns(seconds: float) -> int:
    return round(seconds * NANOSECONDS)
