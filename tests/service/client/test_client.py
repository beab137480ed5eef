import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from bundles import make_content
from floods import flooding
from servers import publish, serving

from service.app import create_app
from service.client import (
    AsyncClient,
    CatalogueFull,
    Client,
    ClientError,
    Conflict,
    Forbidden,
    GivenEvent,
    GivenItem,
    InvalidRequest,
    NotFound,
    RateLimited,
    Refused,
    ServiceUnavailable,
    Unauthorized,
    UnexpectedAnswer,
    Unreachable,
)
from service.client.client import _Endpoints
from service.http.security.keys import new_key
from service.settings import Settings


@pytest.fixture(scope="module")
def url(registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(registry=registry, data=tmp_path_factory.mktemp("data")) as client:  # its events are no other test's
        yield str(client.base_url)


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as client:
        yield client


def test_importing_the_client_brings_nothing_of_the_server() -> None:
    heavy = ("numpy", "faiss", "fastapi", "starlette", "uvicorn", "redis", "prometheus_client", "service.settings")
    code = f"import sys, service.client.client; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_recommendations_come_typed_with_their_explanation(client: Client) -> None:
    answer = client.recommend("user-1", k=3, explain=True, counterfactual=True)
    assert (answer.user_id, answer.source, len(answer.items)) == ("user-1", "user", 3)
    explanation = answer.items[0].explanation
    assert explanation is not None
    assert explanation.parts is not None
    assert sum(explanation.parts.values()) == pytest.approx(answer.items[0].score, abs=1e-4)
    assert client.recommend("user-1", k=3, offset=1).items[0].item_id == answer.items[1].item_id


def test_sessions_and_batches_are_asked_for(client: Client) -> None:
    looked, liked, disliked = (client.popular(k=3).items[i].item_id for i in range(3))
    session = client.recommend_session([looked, (liked, 2.0)], disliked=[disliked], k=5)
    assert session.source == "session"
    assert {looked, liked, disliked}.isdisjoint(item.item_id for item in session.items)
    pinned = client.recommend_session([looked], rules={"pin": [{"item_id": liked, "position": 1}]}, k=2)
    assert (pinned.items[0].item_id, pinned.items[0].pinned) == (liked, True)
    batch = client.recommend_batch(["user-1", "user-2", "nobody"], k=2)
    assert [one.user_id for one in batch.answers] == ["user-1", "user-2", "nobody"]
    assert [one.source for one in batch.answers] == ["user", "user", "popular"]


def test_candidates_are_ranked_with_the_fields_that_are_asked_for(client: Client) -> None:
    given = [item.item_id for item in client.popular(k=5).items]
    answer = client.rank([*given, "nothing"], [given[0]], user_id="user-1", fields=["material"], explain=True)
    assert ({item.item_id for item in answer.items}, answer.unknown_items) == ({*given}, ["nothing"])
    assert all(item.attributes and not item.title for item in answer.items)
    assert client.popular(k=1, fields=["weight"]).warnings == ["fields: no item has 'weight'"]


def test_a_picture_is_fetched_as_bytes(registry: Path, tmp_path: Path) -> None:
    picture = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
    (tmp_path / "7.png").write_bytes(picture)
    with serving(registry=registry, images=str(tmp_path)) as served, Client(str(served.base_url)) as client:
        assert client.image("7.png") == picture
        with pytest.raises(NotFound):
            client.image("../7.png")


def test_neighbours_items_and_lists_are_asked_for(client: Client) -> None:
    first, second = (item.item_id for item in client.popular(k=2).items)
    assert client.item(first).item["item_id"] == first
    assert client.item_users(first, k=1).users == client.item(first).users
    near = client.similar(first, by="text", explain=True, k=2, exclude=[second])
    assert (near.by, near.item_id) == ("text", first)
    assert second not in {item.item_id for item in near.items}
    assert near.items[0].explanation is not None


def test_events_get_an_id_here_and_are_taken_once(client: Client) -> None:
    item = client.popular(k=1).items[0].item_id
    event = GivenEvent(user_id="user-1", item_id=item, kind="click")
    assert client.send_events([event, event]).accepted == 2  # two acts of one user
    named = GivenEvent(event_id="e-1", user_id="user-1", item_id=item, kind="click")
    assert client.send_events(named).accepted == 1
    assert client.send_events(named).duplicates == 1
    assert client.quality().overall.events["click"] == 3
    by_day = client.quality(until=4_000_000_000, by="day")
    assert by_day.until <= 4_000_000_000
    assert [day.events for day in by_day.days or ()] == [{}]


def test_an_item_is_hidden_and_shown_again(client: Client) -> None:
    item = client.popular(k=1).items[0].item_id
    assert client.hide_item(item).hidden
    assert client.hidden_items().item_ids == [item]
    assert client.item(item).hidden
    assert client.popular(k=1).items[0].item_id != item
    assert not client.show_item(item).hidden
    assert client.hidden_items(k=1, offset=0).total == 0


def test_items_are_put_patched_found_and_deleted(client: Client) -> None:
    chair = GivenItem(title="Settle", categories=("seat",), attributes={"price": 20.0}, features={"text": (0.5,)})
    assert client.put_item("schema", chair).changed == 1  # an id that is a path of its own
    assert client.put_items({"schema": chair, "new/2": GivenItem(title="Lamp")}).unchanged == 1
    assert client.patch_item("new/2", {"attributes": {"price": 3.5}}).changed == 1
    assert client.item_schema().attributes == {"price": "number"}
    assert client.declare_attributes({"stock": "number"}).attributes == {"price": "number", "stock": "number"}
    found = client.items(title="SET")
    assert [(one.item_id, one.state, one.trained) for one in found.items] == [("schema", "waiting", False)]
    assert client.items(k=5, after=client.items(k=5).next).items[0].item_id == "item-5"
    assert client.item("new/2").item["attributes"] == {"price": 3.5}
    for item_id in ("schema", "new/2"):
        assert client.delete_item(item_id).changed == 1
        with pytest.raises(NotFound):
            client.item(item_id)
    with pytest.raises(InvalidRequest, match=r"attributes\.price: found string, expected number"):
        client.put_item("new/2", GivenItem(attributes={"price": "dear"}))


def test_more_items_than_are_allowed_are_told_apart(registry: Path, tmp_path: Path) -> None:
    with serving(registry=registry, data=tmp_path, live_items_max=1) as http, Client(str(http.base_url)) as client:
        client.put_item("a", GivenItem())
        with pytest.raises(CatalogueFull, match="retrain"):
            client.put_item("b", GivenItem())


def test_users_and_what_is_on_the_rise_are_asked_for(client: Client) -> None:
    assert (client.user("user-2").trained, client.user("nobody").source) == (True, "popular")
    assert client.trending(half_life_hours=2, k=2).half_life_hours == 2


def test_a_person_is_exported_and_forgotten(client: Client) -> None:
    client.send_events(GivenEvent(user_id="user-9", item_id="item-2", kind="purchase", value=9.5, quantity=2))
    client.send_events(GivenEvent(user_id="user-9", item_id="item-2", kind="purchase"))
    assert [(event.value, event.quantity) for event in client.export_user("user-9").events] == [(9.5, 2), (1.0, None)]
    receipt = client.forget_user("user-9")
    assert (receipt.removed.events, receipt.user_id) == (2, "user-9")
    assert client.export_user("user-9").forgotten == [receipt.receipt]
    assert client.user("user-9").source == "popular"


def test_bundles_are_listed_compared_published_and_rolled_back(tmp_path: Path) -> None:
    first = publish(tmp_path, make_content(seed=1)).bundle_id
    second = publish(tmp_path, make_content(seed=2)).bundle_id
    with serving(registry=tmp_path) as http, Client(str(http.base_url), timeout_s=1) as client:
        told = client.bundles()
        assert (told.published, {one.bundle_id for one in told.bundles}) == (second, {first, second})
        assert client.compare_bundles(first, second, user_id="user-3", k=5).a.bundle_id == first
        assert client.publish(first, force=True).published == first
        assert client.popular().bundle == first
        assert client.rollback(leaving=first).published == second
        with pytest.raises(NotFound):
            client.publish("20000101T000000Z-none-00000000")


def test_retraining_is_asked_for_and_its_absence_is_a_conflict(client: Client) -> None:
    for ask in (
        lambda: client.retrain(arm="candidate"),
        client.retrainings,
        lambda: client.retraining("j"),
        lambda: client.cancel_retraining("j"),
    ):
        with pytest.raises(Conflict, match="RECO_RETRAIN_DATA"):
            ask()


def test_the_state_of_the_service_is_asked_for(client: Client) -> None:
    assert client.healthz().status == "alive"
    assert client.readyz().spaces
    assert "reco_requests_total" in client.metrics()


@pytest.mark.parametrize("strange", ["a/b", "..", "a?b#c%20", "用户", "nul\x00"])
def test_an_id_of_any_shape_arrives_as_it_is(tmp_path: Path, strange: str) -> None:
    ids = [strange, *(f"item-{i}" for i in range(49))]
    publish(tmp_path, make_content(n_items=50, item_ids=ids))
    with serving(registry=tmp_path) as http, Client(str(http.base_url)) as client:
        assert client.item(strange).item["item_id"] == strange
        assert client.similar(strange, k=1).item_id == strange
        assert client.recommend(strange, k=1).user_id == strange


def test_the_same_calls_can_be_awaited(url: str) -> None:
    async def run() -> None:
        async with AsyncClient(url) as client:
            answers = await asyncio.gather(*(client.recommend(f"user-{i}", k=2) for i in range(10)))
            assert [answer.user_id for answer in answers] == [f"user-{i}" for i in range(10)]
            with pytest.raises(NotFound):
                await client.item("none")

    asyncio.run(run())


def test_a_refusal_is_an_exception_with_the_services_words(client: Client) -> None:
    with pytest.raises(NotFound, match="404 unknown_item: item_id: this bundle has no item 'none'") as caught:
        client.item("none")
    assert caught.value.request_id in str(caught.value)
    with pytest.raises(InvalidRequest, match="k: "):
        client.popular(k=0)


def test_keys_and_rates_are_told_apart(registry: Path, tmp_path: Path) -> None:
    key, line = new_key("reader", "read")
    keys = tmp_path / "keys.jsonl"
    keys.write_text(line)
    limit = {"rate_limit_per_s": 0.01, "rate_limit_burst": 2}
    with serving(registry=registry, api_keys_file=keys, **limit) as http:
        with Client(str(http.base_url)) as stranger, pytest.raises(Unauthorized):
            stranger.popular()
        with Client(str(http.base_url), api_key=key) as reader:
            with pytest.raises(Forbidden):
                reader.send_events(GivenEvent(user_id="u", item_id="i", kind="view"))
            reader.popular()
            with pytest.raises(RateLimited) as caught:
                reader.popular()
            assert 90 < (caught.value.retry_after or 0) <= 100
            assert key not in repr(vars(reader))


Script = list[Callable[["Handler"], None]]


class Handler(BaseHTTPRequestHandler):
    """Answers each request by the next step of a script; keeps what came."""

    protocol_version = "HTTP/1.1"
    script: Script
    came: list[tuple[str, Any]]

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.came.append((f"{self.command} {self.path}", json.loads(body) if body else None))
        self.script.pop(0)(self)

    do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - the base class's names

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def reply(status: int, body: Any = None, **headers: str) -> Callable[[Handler], None]:
    def step(handler: Handler) -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        handler.send_response(status)
        for name, value in {"content-length": str(len(data)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(data)

    return step


def hang_up(handler: Handler) -> None:
    handler.close_connection = True


def sleepy(handler: Handler) -> None:
    time.sleep(0.5)


ALIVE = reply(200, {"status": "alive", "request_id": "r"})
BUSY = reply(503, {"error": "busy", "detail": "later", "request_id": "r"})
TAKEN = reply(
    202, {"bundle": "b", "source": "events", "request_id": "r", "accepted": 1, "duplicates": 0, "unknown_items": []}
)


@contextmanager
def scripted(*steps: Callable[[Handler], None]) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    """A server that answers in these steps, and what it was asked."""
    came: list[tuple[str, Any]] = []
    kind = type("Scripted", (Handler,), {"script": list(steps), "came": came})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", came
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("passing", [BUSY, hang_up, reply(502, "<html>"), reply(429, {}, retry_after="0")])
def test_what_will_pass_is_asked_again(passing: Callable[[Handler], None]) -> None:
    with scripted(passing, passing, ALIVE) as (url, came), Client(url) as client:
        assert client.healthz().status == "alive"
        assert len(came) == 3


def test_what_will_not_pass_or_lasts_too_long_is_told_at_once() -> None:
    final = [reply(500, {"error": "internal", "detail": "x", "request_id": "r"}), reply(429, {}, retry_after="3600")]
    for step, kind in zip(final, (Refused, RateLimited), strict=True):
        with scripted(step, ALIVE) as (url, came), Client(url) as client:
            with pytest.raises(kind):
                client.healthz()
            assert len(came) == 1


def test_it_is_asked_so_often_and_no_more() -> None:
    with scripted(BUSY, BUSY, ALIVE) as (url, came), Client(url, retries=1) as client:
        with pytest.raises(ServiceUnavailable, match="503 busy: later"):
            client.healthz()
        assert len(came) == 2


def test_the_pause_is_the_one_that_the_service_names() -> None:
    with scripted(reply(503, {}, retry_after="1"), ALIVE) as (url, _), Client(url) as client:
        start = time.monotonic()
        client.healthz()
        assert time.monotonic() - start >= 1


def test_events_sent_again_carry_the_ids_they_had() -> None:
    with scripted(hang_up, BUSY, TAKEN) as (url, came), Client(url) as client:
        client.send_events([GivenEvent(user_id="u", item_id="i", kind="view")] * 2)
    assert len(came) == 3
    assert came[0] == came[1] == came[2]
    assert len({event["event_id"] for event in came[0][1]["events"]}) == 2


def test_a_service_that_is_not_there_or_does_not_answer_is_unreachable() -> None:
    with Client("http://127.0.0.1:1", retries=1) as client, pytest.raises(Unreachable, match="ConnectError"):
        client.healthz()
    with (
        scripted(sleepy) as (url, _),
        Client(url, timeout_s=0.1, retries=0) as client,
        pytest.raises(Unreachable, match="ReadTimeout"),
    ):
        client.healthz()


@pytest.mark.parametrize("body", ["<html>", "{}", '{"status": 1}', ""])
def test_an_answer_of_something_else_is_said_to_be_one(body: str) -> None:
    with scripted(reply(200, body)) as (url, _), Client(url) as client, pytest.raises(UnexpectedAnswer) as raised:
        client.healthz()
    assert "\n" not in str(raised.value)
    assert "pydantic" not in str(raised.value)


def test_all_that_can_go_wrong_is_one_kind_of_error() -> None:
    assert issubclass(Refused, ClientError)
    assert issubclass(Unreachable, ClientError)
    assert issubclass(UnexpectedAnswer, ClientError)


def test_there_is_a_call_for_every_route(registry: Path) -> None:
    paths = create_app(Settings(registry=registry)).openapi()["paths"]
    del paths["/retrain/{job}/result"]  # signed, and for an outside system that trains
    routes = sum(len(methods) for methods in paths.values())
    calls = [name for name in vars(_Endpoints) if not name.startswith("_")]
    assert len(calls) == routes, f"{sorted(calls)} for {sorted(paths)}"


@pytest.mark.parametrize("status", [200, 500])
def test_an_answer_without_end_is_read_up_to_a_limit(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.client.client.MAX_ANSWER_BYTES", 1_000_000)

    async def awaited(url: str) -> None:
        async with AsyncClient(url, retries=0) as client:
            await client.healthz()

    with flooding(status) as flood:
        with Client(flood.url, retries=0) as client, pytest.raises(UnexpectedAnswer, match="longer than"):
            client.healthz()
        with pytest.raises(UnexpectedAnswer, match="longer than"):
            asyncio.run(awaited(flood.url))
        assert flood.sent < 40_000_000


def test_an_answer_that_drips_is_given_up_after_the_whole_time() -> None:
    with (
        flooding(pause_s=0.02) as flood,
        Client(flood.url, retries=0, timeout_s=0.3) as client,
        pytest.raises(Unreachable, match="too slowly"),
    ):
        client.popular()


def test_an_experiment_is_declared_reported_and_ended(client: Client) -> None:
    arms = [{"name": "control", "weight": 50}, {"name": "twin", "weight": 50}]
    assert client.declare_experiment("twins", {"arms": arms}).experiment.phase == 1
    assert [arm.state for arm in client.experiment("twins").arms] == ["serving", "serving"]
    assert client.end_arm("twins", "twin").experiment.arms[1].state == "ended"
    assert client.end_experiment("twins").published is None
    assert [one.name for one in client.experiments().ended] == ["twins"]


def test_users_are_found_by_the_beginning_of_their_ids(client: Client) -> None:
    first = client.users("user-1", k=2)
    assert [one.user_id for one in first.users] == ["user-1", "user-10"]
    assert client.users("user-1", k=2, after=first.next).users[0].user_id == "user-11"
