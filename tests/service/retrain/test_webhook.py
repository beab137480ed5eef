"""An outside system: told by a signed POST, answers by one. It is a real HTTP server here."""

import asyncio
import gzip
import json
import logging
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from bundles import make_content
from floods import flooding
from hypothesis import given
from hypothesis import strategies as st
from made_events import made
from processes import process
from retrainings import ended, retraining, started, state
from servers import publish, quiet_logs, serving, wait_until

from index.bundle import write_bundle
from index.registry import Registry
from service.errors import UnauthorizedError
from service.events.open_log import FILE as EVENTS_FILE
from service.events.sqlite_log import SqliteLog
from service.retrain.job import Job
from service.retrain.launcher import LauncherError, LauncherUnavailableError, TrainingTask
from service.retrain.signature import SIGNATURE, TIMESTAMP, Message, joined, signature_headers, verify_signature
from service.retrain.webhook_launcher import WebhookLauncher
from service.settings import Settings
from service.telemetry.metrics import Metrics

SECRET = "between us"


@dataclass
class Outside:
    """Answers with the statuses in turn, then with 200; keeps what it was sent once the signature was seen to fit."""

    statuses: list[int] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    url: str = ""
    on_message: Callable[[], object] = lambda: None

    def answer(self, path: str, headers: Any, body: bytes) -> int:
        given = {name.lower(): value for name, value in headers.items()}
        verify_signature(given, Message("POST", path, body), SECRET, time.time())
        self.asked.append(json.loads(body))
        self.keys.append(headers["Idempotency-Key"])
        self.on_message()
        return self.statuses.pop(0) if self.statuses else 200


@contextmanager
def outside(*statuses: int) -> Iterator[Outside]:
    system = Outside(list(statuses))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(system.answer(self.path, self.headers, body))
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
    return client.post(
        path, content=body, headers=signature_headers(Message("POST", path, body), secret, time.time() - age)
    )


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


def test_a_service_killed_while_it_tells_the_outside_system_tells_it_the_same_again(
    registry: Path, tmp_path: Path
) -> None:
    """Events that came meanwhile are not this job's: its bundle, trained without them, must still end it."""
    with outside() as system:
        changes = by_webhook(registry, system.url, admin_open=True)
        del changes["registry"]
        with process(registry, tmp_path / "log", **changes) as (running, client):
            client.post("/events", json={"user_id": "user-1", "item_id": "item-1", "kind": "like"}).raise_for_status()
            system.on_message = running.kill
            job_id = started(client)
            running.wait()
        system.on_message = lambda: None
        asyncio.run(append_later_event(changes["data"]))
        with process(registry, tmp_path / "log", **changes) as (_, client):
            wait_until(lambda: len(system.asked) == 2)
            new_bundle(registry, events_position=system.asked[0]["events_position"])
            job = ended(client, job_id)
    assert job["state"] == "published"
    assert system.asked[0] == system.asked[1]
    assert system.keys[0] == system.keys[1]


async def append_later_event(data: Path) -> None:
    log = SqliteLog(data / EVENTS_FILE, Settings(registry=data), Metrics(), time.time)
    await log.append([made("later", kind="like")])
    await log.close()


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


@pytest.fixture
def task(tmp_path: Path) -> TrainingTask:
    job = Job(id="j1", trigger="call", asked_by="ann", created_at=0, events_position=0, launcher="webhook")
    return TrainingTask(job, tmp_path, tmp_path, Registry(tmp_path), tmp_path)


def start(task: TrainingTask, url: str, attempts: int = 1) -> None:
    """Send the start of a training."""

    async def run() -> None:
        launcher = WebhookLauncher(url, SECRET, clock=time.time, first_wait_s=0.01, attempts=attempts)
        try:
            await launcher.start(task)
        finally:
            await launcher.close()

    asyncio.run(run())


def test_of_a_refusal_without_end_only_the_start_is_read(task: TrainingTask) -> None:
    with flooding(403) as flood:
        with pytest.raises(LauncherError, match=r"the webhook answered 403: x{200}$"):
            start(task, flood.url)
        assert flood.sent < 20_000_000  # what the buffers of two sockets hold


def test_no_log_line_tells_the_password_of_the_address(task: TrainingTask, capfd: pytest.CaptureFixture[str]) -> None:
    with outside() as system, quiet_logs("debug"):
        start(task, system.url.replace("http://", "http://airflow:qZqZ@") + "?token=qZqZ")
        logging.getLogger("httpx").warning("it is heard")
    told = capfd.readouterr().err
    assert "it is heard" in told
    assert "qZqZ" not in told


def test_the_answer_of_a_success_is_not_read_at_all(task: TrainingTask) -> None:
    with flooding(200) as flood:
        start(task, flood.url)
        assert flood.sent < 20_000_000


def test_an_answer_that_drips_is_given_up_after_the_whole_time(
    task: TrainingTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.retrain.webhook_launcher.TIMEOUT_S", 0.3)
    with (
        flooding(403, pause_s=0.05) as flood,
        pytest.raises(LauncherUnavailableError, match="in 2 attempts: TimeoutError"),
    ):
        start(task, flood.url, attempts=2)


def test_a_redirect_is_a_refusal_and_nothing_signed_goes_to_its_target(task: TrainingTask) -> None:
    with (
        flooding() as target,
        flooding(307, headers=f"Location: {target.url}/train\r\n") as flood,
        pytest.raises(LauncherError, match="answered 307"),
    ):
        start(task, flood.url)
    assert target.requests == []


def test_a_result_signed_for_one_job_is_refused_for_another(registry: Path) -> None:
    with outside() as system, serving(**by_webhook(registry, system.url)) as client:
        first = started(client)
        body = json.dumps({"reason": "no GPU was free"}).encode()
        headers = signature_headers(Message("POST", f"/retrain/{first}/result", body), SECRET, time.time())
        assert client.post(f"/retrain/{first}/result", content=body, headers=headers).status_code == 202
        assert ended(client, first)["state"] == "failed"
        second = started(client)
        assert client.post(f"/retrain/{second}/result", content=body, headers=headers).status_code == 401
        assert state(client, second) in ("queued", "running")
        again = client.post(f"/retrain/{first}/result", content=body, headers=headers)
        assert (again.status_code, again.json()["error"]) == (409, "result_known")


def test_of_two_results_of_a_job_the_first_counts_on_whichever_replica(registry: Path) -> None:
    with (
        outside() as system,
        serving(**by_webhook(registry, system.url, retrain_poll_s=0.5)) as one,
        serving(**by_webhook(registry, system.url, retrain_poll_s=0.5)) as other,
    ):
        job_id = started(one)
        wait_until(lambda: system.asked)
        path = system.asked[0]["result_path"]
        answers = [report(client, path, {"reason": f"by {i}"}) for i, client in enumerate((one, other, one))]
        assert [answer.status_code for answer in answers] == [202, 409, 409]
        assert ended(one, job_id)["reason"] == "by 0"


MESSAGE = Message("POST", "/retrain/j1/result", b"{}")


@given(st.binary(max_size=100), st.integers(0, 2**33), st.integers(-400, 400))
def test_what_is_signed_is_taken_within_five_minutes_and_any_change_is_refused(
    body: bytes, now: int, late: int
) -> None:
    message = Message("POST", "/a?b=1", body)
    made = signature_headers(message, SECRET, now)
    headers = {name.lower(): value for name, value in made.items()}
    if abs(late) <= 300:
        verify_signature(headers, message, SECRET, now + late)
    else:
        with pytest.raises(UnauthorizedError):
            verify_signature(headers, message, SECRET, now + late)
    unversioned = made[SIGNATURE].removeprefix("v1=")
    for changed, other in (
        (headers, message._replace(body=body + b" ")),
        (headers, message._replace(method="PUT")),
        (headers, message._replace(path="/a?b=2")),
        (headers, message._replace(path="/a")),
        (headers | {TIMESTAMP.lower(): str(now + 1)}, message),
        (headers | {SIGNATURE.lower(): "v1="}, message),
        (headers | {SIGNATURE.lower(): unversioned}, message),
        (headers | {SIGNATURE.lower(): f"v2={unversioned}"}, message),
        ({}, message),
    ):
        with pytest.raises(UnauthorizedError):
            verify_signature(changed, other, SECRET, now)


@pytest.mark.parametrize("timestamp", ["", "-1", "1e3", "1_0", " 1", "\u0661", "9" * 400, "9" * 5_000, "nan"])
def test_a_time_that_is_no_number_of_seconds_is_refused(timestamp: str) -> None:
    made = {name.lower(): value for name, value in signature_headers(MESSAGE, SECRET, 0).items()}
    with pytest.raises(UnauthorizedError, match="expected unix seconds"):
        verify_signature(made | {TIMESTAMP.lower(): timestamp}, MESSAGE, SECRET, 0)


@pytest.mark.parametrize("twice", [TIMESTAMP, SIGNATURE])
@pytest.mark.parametrize("first", [True, False])
def test_a_header_that_is_sent_twice_is_refused_whichever_is_right(twice: str, first: bool) -> None:
    made = list(signature_headers(MESSAGE, SECRET, 0).items())
    made.insert(0 if first else len(made), (twice, "1"))
    headers = joined((name.lower().encode(), value.encode()) for name, value in made)
    with pytest.raises(UnauthorizedError, match=twice):
        verify_signature(headers, MESSAGE, SECRET, 0)


def test_a_report_may_be_compressed_and_is_signed_as_it_was_before(registry: Path) -> None:
    body = b'\xef\xbb\xbf{"reason": "x"}'
    with outside() as system, serving(**by_webhook(registry, system.url)) as client:
        path = f"/retrain/{started(client)}/result"
        headers = {**signature_headers(Message("POST", path, body), SECRET, time.time()), "Content-Encoding": "gzip"}
        client.post(path, content=gzip.compress(body), headers=headers).raise_for_status()
        assert ended(client, path.split("/")[2])["reason"] == "x"


def test_the_worked_example_of_the_page_is_what_is_signed() -> None:
    page = (Path(__file__).parents[3] / "docs" / "retraining.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```console\n(.*?)```", page, re.DOTALL)
    script, shown = re.findall(r"^\$ (.*?)^(v1=[0-9a-f]{64})$", example, re.DOTALL | re.MULTILINE)[0]
    found = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    message = Message("POST", "/retrain/20260101t000000-9f86d081/result", b'{"reason": "no GPU was free"}')
    assert found.stdout.strip() == shown == signature_headers(message, "between us", 1767225600)[SIGNATURE]


@pytest.mark.parametrize(
    "url", ["ftp://h/x", "h/x", "http://", "http://h:99999/", "http://[::zz]/", "http:h", " http://h", "http://h\n"]
)
def test_an_address_that_is_no_url_stops_the_start(registry: Path, url: str) -> None:
    with pytest.raises(ValueError, match="retrain_webhook_url"):
        Settings(**by_webhook(registry, url))
