import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from servers import serving

from service.settings import Settings
from service.telemetry import tracing
from service.telemetry.timings import ARM, Timings
from service.telemetry.tracing import Traces

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = PARENT[:-1] + "0"


class Clock:
    now = 5.0

    def __call__(self) -> float:
        return self.now


def recorded(
    *,
    share: float = 1.0,
    status: int = 200,
    traceparent: str | None = None,
    seed: int = 0,
    arm: dict[str, str] | None = None,
) -> list[ReadableSpan]:
    """The spans of one request that began at second 1000 and took 0.3 of one: 0.1 for `user`, 0.2 for `search`."""
    kept, clock = InMemorySpanExporter(), Clock()
    stages = Timings(clock)
    for stage, seconds in (("user", 0.1), ("search", 0.2)):
        clock.now += seconds
        stages.mark(stage)
    headers = [] if traceparent is None else [(b"traceparent", traceparent.encode())]
    scope: dict[str, Any] = {"type": "http", "method": "GET", "headers": headers, "request_id": "r-1"}
    if arm is not None:
        scope[ARM] = arm
    rng = random.Random(seed)
    traces = Traces(SimpleSpanProcessor(kept), share=share, wall_ns=lambda: 1_000_300_000_000, rng=rng)
    traces.record(scope, stages, status)
    return list(kept.get_finished_spans())


def test_a_request_is_a_span_and_each_stage_one_below_it_at_its_own_time() -> None:
    user, search, request = recorded()
    assert (request.name, request.kind) == ("GET other", SpanKind.SERVER)
    assert (request.start_time, request.end_time) == (1_000_000_000_000, 1_000_300_000_000)
    assert (user.start_time, user.end_time) == (1_000_000_000_000, 1_000_100_000_000)
    assert (search.start_time, search.end_time) == (1_000_100_000_000, 1_000_300_000_000)
    assert request.context is not None
    for stage in (user, search):
        assert stage.parent is not None
        assert stage.parent.span_id == request.context.span_id
    assert request.attributes is not None
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["request_id"] == "r-1"


def test_the_span_of_a_request_names_the_arm_that_answered_and_its_experiment() -> None:
    *_, request = recorded(arm={"experiment": "trial", "arm": "candidate"})
    assert request.attributes is not None
    assert (request.attributes["reco.experiment"], request.attributes["reco.arm"]) == ("trial", "candidate")
    *_, without = recorded()
    assert "reco.arm" not in (without.attributes or {})


def test_the_callers_trace_goes_on_and_its_word_on_whether_to_trace_holds() -> None:
    spans = recorded(share=0.0, traceparent=PARENT)
    assert len(spans) == 3
    assert {format(span.context.trace_id, "032x") for span in spans if span.context} == {PARENT.split("-")[1]}
    assert spans[-1].parent is not None
    assert format(spans[-1].parent.span_id, "016x") == PARENT.split("-")[2]
    assert recorded(share=1.0, traceparent=UNSAMPLED) == []


@pytest.mark.parametrize(
    "odd", ["", "x", "00-0-0-01", "é", PARENT + "-more", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"]
)
def test_an_odd_header_begins_a_trace_of_its_own(odd: str) -> None:
    assert recorded(traceparent=odd)[-1].parent is None
    assert recorded(traceparent=odd, share=0.0) == []


def test_without_a_caller_a_share_is_traced() -> None:
    assert recorded(share=0.0) == []
    assert 15 <= sum(bool(recorded(share=0.5, seed=seed)) for seed in range(50)) <= 35


def test_a_failure_is_marked_and_a_refusal_is_not() -> None:
    assert recorded(status=500)[-1].status.status_code is StatusCode.ERROR
    assert recorded(status=404)[-1].status.status_code is StatusCode.UNSET


@contextmanager
def collector() -> Iterator[tuple[str, list[Any]]]:
    """A collector over HTTP, and the spans that reached it."""
    spans: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.path == "/v1/traces":
                message = ExportTraceServiceRequest.FromString(body)
                spans.extend(s for r in message.resource_spans for scope in r.scope_spans for s in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", spans
        finally:
            server.shutdown()
            thread.join()


def test_a_running_service_sends_its_traces_to_a_collector_before_it_ends(registry: Path) -> None:
    with collector() as (url, spans):
        with serving(registry=registry, otlp_endpoint=url) as client:
            client.get("/recommend/user-1?explain=true", headers={"traceparent": PARENT})
            client.get("/items/none")
        named = {span.name for span in spans}
        assert {"GET /recommend/{user_id}", "user", "search", "explain", "GET /items/{item_id}"} <= named
        (request,) = (span for span in spans if span.name == "GET /recommend/{user_id}")
        assert request.trace_id.hex() == PARENT.split("-")[1]
        assert not any("user-1" in str(span) for span in spans)


def test_a_collector_that_is_away_fails_no_request_and_holds_up_the_end_for_one_export_at_most(
    registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = []

    def exporter(*, endpoint: str, timeout: float) -> OTLPSpanExporter:
        limits.append(timeout)
        return OTLPSpanExporter(endpoint=endpoint, timeout=timeout)

    monkeypatch.setattr(tracing, "OTLPSpanExporter", exporter)
    with serving(registry=registry, otlp_endpoint="http://127.0.0.1:1") as client:
        assert client.get("/recommend/user-1").status_code == 200
    assert limits == [tracing.EXPORT_S]
    assert Settings(registry=registry).drain_s > tracing.EXPORT_S


def test_without_the_setting_nothing_of_it_is_even_loaded() -> None:
    ours = (
        "service.telemetry.tracing",
        "opentelemetry.exporter",
        "opentelemetry.sdk.trace",
    )  # redis loads some of the library
    code = f"import sys, service.app; print([name for name in {ours} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
