"""Whatever bytes a request's head has, the answer is an answer or a refusal: never a fault of ours.

`FUZZ_EXAMPLES` says how many heads of each kind are drawn; `make fuzz` draws thousands.
"""

import json
import os
import random
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest
import stand_in_trainer
from retrainings import retraining
from servers import publish, serving

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "25"))
VALUES = (
    *b"a 0 -1 +1 1e3 0x10 1_0 18446744073709551616 NaN null {} * % %00 %ff chunked gzip br identity close".split(),
    *b"bytes=0- 100-continue websocket h2c Bearer ::1 999.999.999.999 http://[ localhost:99999999".split(),
    *b"text/html;charset=utf-16 Basic=OjpA https://shop.example t=99999999999999999999,v1=00".split(),
    *(b"00-%b-%b-01" % (b"0" * 32, b"0" * 16), b"00-%b-%b-ff" % (b"f" * 32, b"1" * 16), b"t=1,v1=" + b"0" * 64),
    *(
        b"",
        b" ",
        b"\t",
        b'"',
        b"\x7f",
        b"\xff",
        b"\x80" * 200,
        b"\xc3\x28",
        b"\xed\xa0\x80",
        b"Bearer \xff",
        b"a=b; c=\xff",
    ),
    *(b"a" * 60_000, b"," * 1_000, b"9" * 500, b"gzip, br", b"keep-alive, Upgrade", b"Thu, 01 Jan 1970 00:00:00 GMT"),
)
NAMES = (
    *b"X-API-Key X-Request-Id traceparent tracestate If-None-Match If-Modified-Since Range Accept".split(),
    *b"Content-Type Content-Encoding Content-Length Transfer-Encoding Expect Upgrade Connection".split(),
    *b"Cookie Host Origin Access-Control-Request-Method X-Forwarded-For X-Forwarded-Proto Forwarded TE".split(),
    *b"Idempotency-Key X-Timestamp X-Signature webhook-id webhook-timestamp webhook-signature Date".split(),
    *b"X-Reco-Timestamp X-Reco-Signature Sec-WebSocket-Key HTTP2-Settings Authorization".split(),
    *(b"X-\xff", b"", b"a b"),
)
OPERATIONS = (
    *b"GET/recommend/ GET/similar/ GET/items/ GET/users/ GET/popular GET/trending GET/hidden GET/quality".split(),
    *b"GET/bundles GET/retrain GET/retrain/ GET/healthz GET/readyz GET/metrics GET/docs GET/openapi.json".split(),
    *b"POST/recommend POST/recommend/batch POST/events POST/bundles/ POST/retrain/a/result DELETE/retrain/".split(),
    *b"PUT/items/item-1/hidden DELETE/items/item-1/hidden POST/bundles/rollback".split(),
    *b"HEAD/popular OPTIONS/recommend PATCH/events TRACE/ get/popular QUERY/events GET// GET/./.. GET*".split(),
)
SEGMENTS = (
    *b"item-1 user-1 %00 %ff %ED%A0%80 % %zz %2F %2e%2e -1 NaN %F0%9F%98%80 %E2%80%AE / .. ;a=b ' %0d%0a".split(),
    *b"18446744073709551616 hidden /hidden /publish /result #x %22 %5C".split(),
    *(b"\xff", b"\xc3\xa9", b"\x7f", b"a" * 600, b"%61" * 600),
)
PARAMETERS = (
    *b"k offset category require exclude explain counterfactual diversity diversity_by category_cap seed by".split(),
    *b"exclude_seen user_id half_life_hours since limit log_lines force leaving unknown %ff k%00".split(),
    b"",
)


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service with everything on that reads headers: a webhook, traces, a trusted proxy, CORS."""
    folder = tmp_path_factory.mktemp("heads")
    publish(folder / "registry")
    webhook = {
        "retrain_launcher": "webhook",
        "retrain_webhook_url": "http://127.0.0.1:9/",
        "retrain_webhook_secret": "s",
    }
    more = {
        "trusted_proxies": "127.0.0.1",
        "cors_origins": "https://shop.example",
        "otlp_endpoint": "http://127.0.0.1:9",
    }
    limits = {"read_timeout_s": 0.3, "rate_limit_per_s": 1e6, "rate_limit_burst": 10**6}
    chosen = {**retraining(stand_in_trainer.FAILS, folder / "registry"), **webhook, **more, **limits, "watch_s": 0}
    with serving(**chosen) as client:
        yield client


def answers(client: httpx.Client, request: bytes) -> list[bytes]:
    """The status of each answer on a connection of its own."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 0), timeout=20) as raw:
        with suppress(OSError):  # it may refuse before it has read everything
            raw.sendall(request)
        received = b""
        with suppress(OSError):
            while piece := raw.recv(65_536):
                received += piece
    return [part[:3] for part in received.split(b"HTTP/1.1 ")[1:]]


def head(rng: random.Random, *, odd_headers: int, odd_target: bool) -> bytes:
    method, slash, path = rng.choice(OPERATIONS).partition(b"/")
    path = slash + path + (rng.choice(SEGMENTS[:2]) if path.endswith(b"/") else b"")
    if odd_target:
        path += b"".join(rng.choice(SEGMENTS) for _ in range(rng.randrange(3)))
        values = [value.replace(b" ", b"+") for value in rng.choices((*SEGMENTS, *VALUES), k=rng.randrange(4))]
        path += b"?" + b"&".join(rng.choice(PARAMETERS) + b"=" + value for value in values)
    lines = [method + b" " + path + b" HTTP/1.1", b"Host: x"]
    lines += [rng.choice(NAMES) + b": " + rng.choice(VALUES) for _ in range(odd_headers)]
    body = (
        rng.choice((b"", b"{}", b"\xff", b'{"reason": "x"}', b'{"user_ids": ["user-1"]}')) if method == b"POST" else b""
    )
    return b"\r\n".join([*lines, b"Content-Length: %d" % len(body), b"Connection: close", b"", body])


@pytest.mark.parametrize(("odd_headers", "odd_target"), [(1, False), (3, False), (0, True), (2, True)])
def test_any_head_is_answered_or_refused(service: httpx.Client, odd_headers: int, *, odd_target: bool) -> None:
    rng, statuses = random.Random(f"{odd_headers} {odd_target}"), Counter[bytes]()
    for _ in range(EXAMPLES):
        request = head(rng, odd_headers=odd_headers, odd_target=odd_target)
        found = answers(service, request)
        statuses.update(found)
        assert found, request[:2_000]
        assert not {b"500", b"502", b"504"} & {*found}, request[:2_000]
    assert json.loads(service.get("/healthz").content)["status"] == "alive"
    print({status.decode(): n for status, n in sorted(statuses.items())})
