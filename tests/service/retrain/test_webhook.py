"""An outside system: told by a signed POST, answers by one. It is a real HTTP server here."""

import gzip
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from bundles import make_content
from hypothesis import given
from hypothesis import strategies as st
from retrainings import ended, retraining, started, state
from servers import publish, serving, wait_until

from index.bundle import write_bundle
from index.registry import Registry
from service.errors import UnauthorizedError
from service.retrain.signature import SIGNATURE, TIMESTAMP, signature_headers, verify_signature
from service.retrain.webhook_launcher import WebhookLauncher

SECRET = "between us"


@dataclass
class Outside:
    """Answers with the statuses in turn, then with 200; keeps what it was sent once the signature was seen to fit."""

    statuses: list[int] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    url: str = ""

    def answer(self, headers: Any, body: bytes) -> int:
        verify_signature({name.lower(): value for name, value in headers.items()}, body, SECRET, time.time())
        self.asked.append(json.loads(body))
        self.keys.append(headers["Idempotency-Key"])
        return self.statuses.pop(0) if self.statuses else 200


@contextmanager
def outside(*statuses: int) -> Iterator[Outside]:
    system = Outside(list(statuses))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(system.answer(self.headers, body))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    system.url = f"http://127.0.0.1:{server.server_port}/train"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield system
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    publish(tmp_path / "bundles")
    return tmp_path / "bundles"


def by_webhook(registry: Path, url: str, **changes: Any) -> dict[str, Any]:
    webhook = {"retrain_launcher": "webhook", "retrain_webhook_url": url, "retrain_webhook_secret": SECRET}
    return retraining("unused", registry, **webhook, **changes)


def report(
    client: httpx.Client, path: str, result: dict[str, Any], secret: str = SECRET, age: float = 0
) -> httpx.Response:
    body = json.dumps(result).encode()
    return client.post(path, content=body, headers=signature_headers(body, secret, time.time() - age))


def new_bundle(registry: Path, **changes: Any) -> str:
    return write_bundle(registry, make_content(**changes), created_at=datetime.now(UTC)).name


def test_an_outside_system_is_told_trains_and_reports_its_bundle(registry: Path) -> None:
    with outside() as system, serving(**by_webhook(registry, system.url)) as client:
        job_id = started(client)
        wait_until(lambda: system.asked)
        (asked,) = system.asked
        assert (asked["event"], asked["job"], asked["arguments"][0]) == ("start", job_id, "retrain")
        assert Path(asked["events"]).is_dir()
        assert state(client, job_id) == "running"
        answer = report(client, asked["result_path"], {"bundle": new_bundle(registry)})
        assert answer.status_code == 202
        assert ended(client, job_id)["state"] == "published"


def test_a_failure_that_is_reported_is_the_jobs_reason(registry: Path) -> None:
    with outside() as system, serving(**by_webhook(registry, system.url)) as client:
        job_id = started(client)
        report(client, f"/retrain/{job_id}/result", {"reason": "no GPU was free"})
        job = ended(client, job_id)
    assert (job["state"], job["reason"]) == ("failed", "no GPU was free")


def test_a_bundle_that_simply_appears_ends_the_job_if_it_knows_the_log_so_far(registry: Path) -> None:
    with outside() as system, serving(**by_webhook(registry, system.url)) as client:
        client.post("/events", json={"user_id": "user-1", "item_id": "item-1", "kind": "like"})
        job_id = started(client)
        wait_until(lambda: system.asked)
        new_bundle(registry, events_position=0, seed=3)  # somebody else's
        time.sleep(0.3)
        assert state(client, job_id) == "running"
        mine = new_bundle(registry, events_position=1)
        job = ended(client, job_id)
    assert (job["state"], job["bundle"]) == ("published", mine)
    assert Registry(registry).current_id() == mine


def test_a_reported_bundle_that_is_not_there_fails_the_job(registry: Path) -> None:
    with outside() as system, serving(**by_webhook(registry, system.url)) as client:
        job_id = started(client)
        report(client, f"/retrain/{job_id}/result", {"bundle": "../../etc"})
        job = ended(client, job_id)
    assert job["state"] == "failed"
    assert "has no bundle '../../etc'" in job["reason"]


@pytest.mark.parametrize(
    ("secret", "age", "said"),
    [("another", 0, "does not match"), (SECRET, 3_600, "from our clock"), (SECRET, -3_600, "from our clock")],
)
def test_a_report_that_is_not_signed_by_us_or_is_old_is_refused(
    registry: Path, secret: str, age: float, said: str
) -> None:
    with outside() as system, serving(**by_webhook(registry, system.url)) as client:
        job_id = started(client)
        answer = report(client, f"/retrain/{job_id}/result", {"reason": "x"}, secret, age)
        assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized")
        assert said in answer.json()["detail"]
        unsigned = client.post(f"/retrain/{job_id}/result", json={"reason": "x"})
        assert unsigned.status_code == 401
        assert state(client, job_id) in ("queued", "running")
        both = report(client, f"/retrain/{job_id}/result", {"reason": "x", "bundle": "y"})
        assert both.status_code == 422


def test_an_answer_that_may_pass_is_asked_again_with_the_same_key_and_another_is_not(
    registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = WebhookLauncher.__init__

    def hurried(self: WebhookLauncher, *arguments: Any, **options: Any) -> None:
        made(self, *arguments, **options, first_wait_s=0.01)

    monkeypatch.setattr(WebhookLauncher, "__init__", hurried)
    with outside(503, 429, 500) as system, serving(**by_webhook(registry, system.url)) as client:
        job_id = started(client)
        wait_until(lambda: len(system.asked) == 4)
        assert system.keys == [f"{job_id}-start"] * 4
        client.delete(f"/retrain/{job_id}")
        assert ended(client, job_id)["state"] == "cancelled"
        assert system.asked[-1]["event"] == "cancel"
    with outside(403) as system, serving(**by_webhook(registry, system.url)) as client:
        job = ended(client, started(client))
        assert (job["state"], job["reason"]) == ("failed", "the webhook answered 403: ")
        assert len(system.asked) == 1


def test_a_system_that_is_not_there_fails_the_job(registry: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.retrain.webhook_launcher.LONGEST_WAIT_S", 0.02)
    with outside() as system:
        url = system.url
    with serving(**by_webhook(registry, url)) as client:
        job = ended(client, started(client))
    assert job["state"] == "failed"
    assert "no answer from the webhook in 6 attempts" in job["reason"]


@given(st.binary(max_size=100), st.integers(0, 2**33), st.integers(-400, 400))
def test_what_is_signed_is_taken_within_five_minutes_and_any_change_is_refused(
    body: bytes, now: int, late: int
) -> None:
    headers = {name.lower(): value for name, value in signature_headers(body, SECRET, now).items()}
    if abs(late) <= 300:
        verify_signature(headers, body, SECRET, now + late)
    else:
        with pytest.raises(UnauthorizedError):
            verify_signature(headers, body, SECRET, now + late)
    for changed, other in (
        (headers, body + b" "),
        (headers | {TIMESTAMP.lower(): str(now + 1)}, body),
        (headers | {SIGNATURE.lower(): "sha256="}, body),
        ({}, body),
    ):
        with pytest.raises(UnauthorizedError):
            verify_signature(changed, other, SECRET, now)


@pytest.mark.parametrize("timestamp", ["9" * 400, "9" * 5_000, "-" + "9" * 400, "1e3", "NaN", "", "\u0661"])
def test_a_timestamp_that_is_no_time_is_refused(timestamp: str) -> None:
    headers = {TIMESTAMP.lower(): timestamp, SIGNATURE.lower(): "sha256=\u00ff"}
    with pytest.raises(UnauthorizedError):
        verify_signature(headers, b"{}", SECRET, 1e9)


def test_a_report_may_be_compressed_and_is_signed_as_it_was_before(registry: Path) -> None:
    body = b'\xef\xbb\xbf{"reason": "x"}'
    headers = {**signature_headers(body, SECRET, time.time()), "Content-Encoding": "gzip"}
    with outside() as system, serving(**by_webhook(registry, system.url)) as client:
        job_id = started(client)
        client.post(f"/retrain/{job_id}/result", content=gzip.compress(body), headers=headers).raise_for_status()
        assert ended(client, job_id)["reason"] == "x"
