"""What a page of another site makes a browser send changes nothing; what others send is answered as before."""

from pathlib import Path

import httpx
import pytest
from servers import serving

from service.errors import CrossSiteError
from service.http.security.cross_site import CrossSite
from service.http.security.keys import new_key

OWN_HOST = "127.0.0.1:8000"
EVIL = {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"}


def refuses(checked: CrossSite, **headers: str) -> bool:
    sent = {"host": OWN_HOST} | {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        checked.check([(name.encode(), value.encode()) for name, value in sent.items()])
    except CrossSiteError:
        return True
    return False


@pytest.mark.parametrize(
    "headers",
    [
        {},  # not a browser
        {"sec_fetch_site": "same-origin", "origin": "http://127.0.0.1:8000"},
        {"sec_fetch_site": "none"},
        {"origin": "http://127.0.0.1:8000"},
        {"origin": "http://shop.example", "host": "shop.example:80"},
        {"sec_fetch_site": "same-origin", "origin": "https://shop.example"},  # a proxy sends another Host
        {"sec_fetch_site": "cross-site", "origin": "https://listed.example"},
    ],
)
def test_other_clients_own_pages_and_those_of_listed_origins_may_send(headers: dict[str, str]) -> None:
    assert not refuses(CrossSite(["https://listed.example"]), **headers)


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "cross-site", "origin": "https://evil.example"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site", "origin": "http://127.0.0.1:3000"},  # another program of this machine
        {"sec_fetch_site": "cross-site", "origin": "http://127.0.0.1:8000"},  # a page in the page
        {"origin": "http://evil.example"},  # to an address without TLS browsers send no Sec-Fetch-Site
        {"origin": "http://127.0.0.1:3000"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "null", "host": ""},
        {"origin": "https://listed.example.evil.example"},
    ],
)
def test_pages_of_other_sites_may_not(headers: dict[str, str]) -> None:
    assert refuses(CrossSite(["https://listed.example"]), **headers)


def test_every_origin_may_where_the_operator_allows_all() -> None:
    assert not refuses(CrossSite(["*"]), sec_fetch_site="cross-site", origin="https://any.example")


@pytest.mark.parametrize(
    ("host", "refused"),
    [("evil.example:8000", True), ("localhost.evil.example", True), ("localhost:8000", False), ("[::1]:8000", False)],
)
def test_a_name_that_was_led_to_this_machine_is_no_name_of_a_service_that_only_it_reaches(
    host: str, refused: bool
) -> None:
    assert refuses(CrossSite(own_names=False), host=host, origin=f"http://{host}") is refused
    assert not refuses(CrossSite(), host=host, origin=f"http://{host}")


def test_a_refusal_says_what_was_found_and_what_was_expected(client: httpx.Client) -> None:
    refused = client.post("/bundles/rollback", headers=EVIL)
    assert (refused.status_code, refused.json()["error"]) == (403, "cross_site")
    assert refused.json()["detail"] == (
        "a page of https://evil.example sent this (found Sec-Fetch-Site: cross-site); expected a page of this service, "
        "or of an origin in RECO_CORS_ORIGINS"
    )


def test_reads_are_answered_whoever_sent_them(client: httpx.Client) -> None:
    assert client.get("/popular", headers=EVIL).status_code == client.head("/popular", headers=EVIL).status_code == 200


def test_pages_of_an_origin_that_may_read_may_also_write(registry: Path) -> None:
    with serving(registry=registry, cors_origins="https://shop.example") as client:
        for origin, status in [("https://shop.example", 200), ("https://evil.example", 403)]:
            sent = client.put("/items/item-1/hidden", headers={**EVIL, "Origin": origin})
            assert sent.status_code == status


def test_a_rebound_name_opens_no_admin_routes(registry: Path, tmp_path: Path) -> None:
    rebound = {"Host": "evil.example:8000", "Origin": "http://evil.example:8000"}
    with serving(registry=registry, data=tmp_path, admin_open=True) as client:
        assert client.post("/bundles/rollback", headers=rebound).json()["error"] == "cross_site"


def test_with_keys_the_key_decides_which_no_other_site_has(registry: Path, tmp_path: Path) -> None:
    key, line = new_key("shop", "read")
    (tmp_path / "keys").write_text(line)
    with serving(registry=registry, api_keys_file=tmp_path / "keys") as client:
        body = {"items": [{"item_id": "item-1"}]}
        assert client.post("/recommend", json=body, headers=EVIL).status_code == 401
        assert (
            client.post("/recommend", json=body, headers={**EVIL, "X-API-Key": key}).json().get("error") != "cross_site"
        )
