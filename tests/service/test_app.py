import json
import re
import socket
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from bundles import make_content
from servers import counted, publish, serving

from index.bundle import Bundle
from service.http.responses import Ready

STRANGE_IDS = [
    "a/b",
    "/",
    "a//b/",
    "..",
    "a/../b",
    "with space",
    "a+b&c=d?e#f%g",
    "%2F",
    "Анна-Мария",
    "用户七",
    "مستخدم",
    "👩🏽‍🚀🎬",
    "line\nbreak\ttab",
    "nul\x00byte",
    "\x1b[31mred",
    'quote"back\\slash',
    ":",
    "reco:b1:user:=ann",
    "x" * 512,
    "é" * 512,
]


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A service whose users and items all have strange ids."""
    registry, n = tmp_path_factory.mktemp("strange"), len(STRANGE_IDS)
    publish(registry, make_content(n_users=n, n_items=n, user_ids=STRANGE_IDS, item_ids=STRANGE_IDS[::-1]))
    with serving(registry=registry) as client:
        yield client


@pytest.mark.parametrize("strange_id", STRANGE_IDS, ids=lambda text: ascii(text[:12]))
def test_an_id_of_any_script_is_found_by_its_percent_encoding(strange: httpx.Client, strange_id: str) -> None:
    path = quote(strange_id, safe="").replace(".", "%2E")  # an HTTP client would resolve a bare ".."
    answer = strange.get(f"/recommend/{path}?k=3").json()
    assert (answer["source"], answer["user_id"]) == ("user", strange_id)
    assert strange.get(f"/items/{path}").json()["item"]["item_id"] == strange_id
    assert strange.get(f"/similar/{path}?k=3").json()["item_id"] == strange_id


@pytest.mark.parametrize("known", ["a/b", "/", "a//b/", "a/../b"])
@pytest.mark.parametrize("noun", ["recommend", "similar", "items", "users"])
def test_a_slash_in_an_id_that_is_known_may_come_unescaped_too(strange: httpx.Client, noun: str, known: str) -> None:
    status, body = answered(strange, f"GET /{noun}/{known}")
    assert status == 200
    assert known in (body.get("user_id"), body.get("item_id"), body.get("item", {}).get("item_id"))


@pytest.mark.parametrize("tail", ["/", "/typo", "//", "/.", "/..", "/../x", "/a%2Fb", "/;", "/%20"])
@pytest.mark.parametrize("noun", ["recommend/user-1", "users/user-1", "similar/item-1", "items/item-1", "retrain/1"])
def test_more_segments_after_an_id_are_no_part_of_it(client: httpx.Client, noun: str, tail: str) -> None:
    status, body = answered(client, f"GET /{noun}{tail}")
    assert (status, body["error"]) == (404, "not_found")
    assert body["detail"].endswith("is one segment of the path; write a slash in it as %2F")


def test_an_admins_route_takes_no_unknown_id_in_several_segments_either(client: httpx.Client) -> None:
    for request in ("PUT /items/item-1/x/hidden", "DELETE /items//item-1/hidden", "POST /bundles/a/b/publish"):
        assert answered(client, request)[0] == 404, request
    assert client.get("/hidden").json()["total"] == 0


def test_a_user_of_whom_the_log_knows_is_found_by_an_unescaped_slash(registry: Path, tmp_path: Path) -> None:
    with serving(registry=registry, data=tmp_path) as client:
        assert answered(client, "GET /recommend/new/user")[0] == 404
        client.post("/events", json={"user_id": "new/user", "item_id": "item-1", "kind": "click"}).raise_for_status()
        assert answered(client, "GET /recommend/new/user")[1]["source"] == "fold_in"
        assert answered(client, "GET /recommend/new/user/")[0] == 404


@pytest.mark.parametrize(
    ("path", "user_id"), [("a%252Fb", "a%2Fb"), ("..", ".."), (".", "."), ("a;b=1", "a;b=1"), ("%2F", "/")]
)
def test_an_id_is_decoded_once_and_nothing_else_is_read_into_it(client: httpx.Client, path: str, user_id: str) -> None:
    assert answered(client, f"GET /recommend/{path}")[1]["user_id"] == user_id


def answered(client: httpx.Client, request: str) -> tuple[int, dict[str, Any]]:
    """Status and JSON of the answer to a request line as it stands: an HTTP client would resolve `..`."""
    answer = answer_to(client, f"{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    return int(answer.split()[1]), json.loads(answer.rpartition(b"\r\n\r\n")[2])


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ("x" * 10_000, "has 10000 characters, the limit is 512"),
        (quote("ж" * 5_000), "has 5000 characters, the limit is 512"),
        ("", "is empty, expected 1 to 512 characters"),
        ("%FF%FE", "expected percent-encoded UTF-8"),
        ("%ED%A0%80", "expected percent-encoded UTF-8"),  # a lone surrogate
    ],
    ids=["long", "long in Cyrillic", "empty", "no UTF-8", "surrogate"],
)
@pytest.mark.parametrize("noun", ["recommend", "similar", "items"])
def test_a_bad_id_is_refused_and_the_limit_named(client: httpx.Client, noun: str, raw: str, said: str) -> None:
    response = client.get(f"/{noun}/{raw}")
    assert response.status_code == 422
    assert response.json()["detail"].endswith(said)


def test_an_operator_may_allow_ids_of_ten_thousand_characters(tmp_path: Path) -> None:
    long = "ü" * 10_000
    publish(tmp_path, make_content(user_ids=[f"{i}{long}" for i in range(30)]))
    with serving(registry=tmp_path, id_max_chars=10_001) as client:
        answer = client.get(f"/recommend/{quote('4' + long)}").json()
    assert (answer["source"], answer["user_id"]) == ("user", "4" + long)


def answer_to(client: httpx.Client, request: bytes) -> bytes:
    """What the service sends back to these very bytes, which no HTTP client would send."""
    with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as raw:
        raw.sendall(request)
        return raw.makefile("rb").read()


def test_a_request_target_that_http_cannot_hold_is_refused_in_the_same_shape(client: httpx.Client) -> None:
    path = f"/recommend/{quote('🎬' * 10_000)}"
    answer = answer_to(client, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 414 ")
    body = json.loads(answer.rpartition(b"\r\n\r\n")[2])
    assert re.fullmatch(r"the request target has \d+ bytes or more, the limit is 65535", body["detail"])
    assert f"x-request-id: {body['request_id']}".encode() in answer


def test_what_is_no_http_is_refused_in_the_same_shape(client: httpx.Client) -> None:
    answer = answer_to(client, b"GET /recommend/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'{"error":"bad_request","detail":"Invalid HTTP request received."' in answer


def test_unknown_routes_and_methods_are_refused_in_one_shape(client: httpx.Client) -> None:
    for response, status, code in [
        (client.get("/recomend/ann"), 404, "not_found"),
        (client.get("/popular/"), 404, "not_found"),
        (client.post("/popular"), 405, "method_not_allowed"),
        (client.delete("/recommend/ann"), 405, "method_not_allowed"),
        (client.get("/items/none"), 404, "unknown_item"),
        (client.get("/popular?k=0"), 422, "invalid_request"),
    ]:
        assert counted(client, f'reco_errors_total{{code="{code}"}}') > 0
        assert response.status_code == status
        assert set(response.json()) == {"error", "detail", "request_id"}
        assert response.json()["error"] == code
        assert response.json()["request_id"] == response.headers["x-request-id"]
        assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/recommend/batch", "GET, HEAD, POST"),  # GET: of a user who is called batch
        ("POST", "/items/a%2Fb/hidden", "DELETE, PUT"),
        ("PUT", "/events", "POST"),
        ("HEAD", "/events", "POST"),
        ("OPTIONS", "/popular", "GET, HEAD"),
    ],
)
def test_a_method_that_is_not_answered_is_told_which_are(
    client: httpx.Client, method: str, path: str, allowed: str
) -> None:
    response = client.request(method, path)
    assert (response.status_code, response.headers["allow"]) == (405, allowed)


def test_a_failure_nobody_foresaw_is_a_500_of_the_same_shape_and_tells_no_secret(registry: Path) -> None:
    # The bundle's metadata goes bad after it was verified: the map's file is cut under the running service.
    folder = registry.parent / "cut"
    bundle = publish(folder)
    with serving(registry=folder) as client:
        offsets = bundle.path / "items" / "offsets.npy"
        data = bytearray(offsets.read_bytes())
        data[-8 * 41 :] = bytes(8 * 41)  # every offset 0: no item has any metadata
        with offsets.open("r+b") as file:
            file.write(data)
        response = client.get("/recommend/user-1")
    assert response.status_code == 500
    assert response.json() == {
        "error": "internal",
        "detail": "the service failed; its log has the details under this request id",
        "request_id": response.headers["x-request-id"],
    }


@pytest.mark.parametrize("sane", ["abc", "A-1_2.3", "f" * 128])
def test_a_sane_request_id_is_kept(client: httpx.Client, sane: str) -> None:
    response = client.get("/popular", headers={"X-Request-Id": sane})
    assert response.headers["x-request-id"] == response.json()["request_id"] == sane


@pytest.mark.parametrize("insane", ["", "a b", "f" * 129, 'a"b', "a;b", "é".encode()])
def test_an_insane_request_id_is_replaced(client: httpx.Client, insane: Any) -> None:
    response = client.get("/popular", headers={"X-Request-Id": insane})
    assert re.fullmatch("[0-9a-f]{32}", response.json()["request_id"])
    assert response.headers["x-request-id"] == response.json()["request_id"]


def test_timings_of_the_stages_come_in_a_header(client: httpx.Client) -> None:
    timing = client.get("/recommend/user-1?explain=true").headers["server-timing"]
    assert re.findall(r"(\w+);dur=\d+\.\d+", timing) == ["user", "search", "explain", "render", "total"]


def test_readiness_tells_bundle_index_and_redis(client: httpx.Client, bundle: Bundle) -> None:
    ready = client.get("/readyz").json()
    Ready.model_validate(ready)
    assert (ready["bundle"], ready["redis"], ready["status"]) == (bundle.bundle_id, "off", "ready")
    assert (ready["index"]["factory"], ready["index"]["device"]) == ("Flat", "cpu")
    assert (ready["model"], ready["fold_in"]) == ("anchorrec", "exact")
    assert ready["spaces"] == ["fused", "image", "multimodal", "text", "id"]
    assert client.get("/healthz").json()["status"] == "alive"


def test_requests_are_counted_by_route_template_and_unknown_paths_share_a_label(registry: Path) -> None:
    with serving(registry=registry) as client:
        for user in range(5):
            client.get(f"/recommend/user-{user}")
            client.get(f"/no/such/path/{user}")
        client.get("/recommend/nobody")
        client.get("/recommend/user-1?k=0")
        text = client.get("/metrics").text
        known = 'method="GET",route="/recommend/{user_id}"'
        assert counted(client, f'reco_requests_total{{{known},status="200"}}') == 6
        assert counted(client, f'reco_requests_total{{{known},status="422"}}') == 1
        assert counted(client, f"reco_request_seconds_count{{{known}}}") == 7
        assert counted(client, 'reco_requests_total{method="GET",route="other",status="404"}') == 5
        assert counted(client, 'reco_answers_total{source="popular"}') == 1
        assert counted(client, 'reco_vectors_total{source="bundle"}') == 5
        assert counted(client, "reco_requests_in_flight") == 1  # this very request
        assert counted(client, 'reco_stage_seconds_count{stage="search"}') == 6
    assert "user-1" not in text
    assert "such" not in text


def test_metrics_name_the_bundle(client: httpx.Client, bundle: Bundle) -> None:
    series = f'reco_bundle_info{{bundle_id="{bundle.bundle_id}",model="anchorrec"}}'
    assert counted(client, series) == 1


def test_the_openapi_document_describes_every_route_with_its_limits_and_answers(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert client.get("/docs").status_code == 200
    paths = document["paths"]
    assert set(paths) == {
        "/recommend",
        "/recommend/batch",
        "/recommend/{user_id}",
        "/rank",
        "/similar/{item_id}",
        "/images/{name}",
        "/items",
        "/items/schema",
        "/items/{item_id}",
        "/items/{item_id}/users",
        "/items/{item_id}/hidden",
        "/hidden",
        "/users",
        "/users/{user_id}",
        "/users/{user_id}/export",
        "/map",
        "/popular",
        "/trending",
        "/events",
        "/quality",
        "/retrain",
        "/retrain/{job}",
        "/retrain/{job}/result",
        "/bundles",
        "/bundles/{bundle_id}/publish",
        "/bundles/compare",
        "/bundles/rollback",
        "/experiments",
        "/experiments/{name}",
        "/experiments/{name}/publish",
        "/experiments/{name}/rollback",
        "/experiments/{name}/end-arm",
        "/experiments/{name}/end",
        "/healthz",
        "/readyz",
        "/metrics",
    }
    recommend = paths["/recommend/{user_id}"]["get"]
    limits = {one["name"]: one["schema"] for one in recommend["parameters"]}
    paging = {"k", "offset", "category", "require", "exclude", "filter", "fields", "exclude_seen"}
    ordering = {"diversity", "diversity_by", "category_cap", "seed", "exploration"}
    assert set(limits) == {"user_id", "explain", "counterfactual", "force_arm", *paging, *ordering}
    assert (limits["exclude"]["type"], limits["exclude"]["maxItems"]) == ("array", 500)
    assert (limits["k"]["minimum"], limits["k"]["maximum"], limits["k"]["default"]) == (1, 500, 10)
    answer = recommend["responses"]["200"]["content"]["application/json"]["schema"]
    assert answer == {"$ref": "#/components/schemas/RecommendAnswer"}
    refusal = recommend["responses"]["422"]["content"]["application/json"]["schema"]
    assert refusal == {"$ref": "#/components/schemas/Refusal"}
