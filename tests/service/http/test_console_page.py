"""/console: the page and its files are served safely, and only where and to whom they may be."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from bundles import make_content
from servers import publish, serving
from starlette.applications import Starlette
from starlette.testclient import TestClient

from deploy.processes import free_port
from index.errors import InputError
from service.http.console_page import BUILT, console_routes, policy, read_console
from service.http.security.keys import new_key
from service.items.image_urls import picture_origins
from service.settings import load_settings

PAGE = (
    '<!doctype html><link href="./assets/a-1.svg"><script type="module" src="./assets/a-1.js"></script>'
    '<link rel="stylesheet" href="./assets/a-1.css">'
)
FILES = {"a-1.js": b"export {}", "a-1.css": b"p {}", "a-1.svg": b"<svg/>", "a-1.map": b"{}"}


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A folder as `make console` leaves it."""
    (tmp_path / "assets").mkdir()
    (tmp_path / "index.html").write_text(PAGE)
    for name, content in FILES.items():
        (tmp_path / "assets" / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def site(built: Path) -> TestClient:
    return TestClient(Starlette(routes=console_routes(read_console(built), ())))


def addresses(html: str) -> list[str]:
    return re.findall(r'(?:src|href)="([^"]+)"', html)


# The files.


def test_the_page_names_its_files_relative_to_itself_so_that_they_load_below_any_prefix(site: TestClient) -> None:
    page = site.get("/console")
    assert addresses(page.text) == [f"console/assets/a-1.{kind}" for kind in ("svg", "js", "css")]
    below = TestClient(site.app, base_url="http://testserver/shop/reco/", root_path="/shop/reco")
    for address in addresses(below.get("console").text):
        assert below.get(address).status_code == 200


def test_its_address_with_a_slash_leads_to_it_below_any_prefix(site: TestClient) -> None:
    for address in ("http://testserver/console", "http://testserver/shop/reco/console"):
        sent = site.get("/console/", follow_redirects=False)
        assert (sent.status_code, str(httpx.URL(f"{address}/").join(sent.headers["location"]))) == (307, address)


@pytest.mark.parametrize(
    ("kind", "media_type"),
    [("js", "text/javascript; charset=utf-8"), ("css", "text/css; charset=utf-8"), ("svg", "image/svg+xml")],
)
def test_a_file_has_its_type_and_is_cached_for_good(site: TestClient, kind: str, media_type: str) -> None:
    file = site.get(f"/console/assets/a-1.{kind}")
    assert (file.content, file.headers["content-type"]) == (FILES[f"a-1.{kind}"], media_type)
    assert file.headers["cache-control"] == "public, max-age=31536000, immutable"


def test_the_page_is_asked_for_again_each_time(site: TestClient) -> None:
    assert site.get("/console").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("path", ["/console", "/console/assets/a-1.js"])
def test_head_has_the_headers_of_get_and_no_body(site: TestClient, path: str) -> None:
    got, asked = site.get(path), site.head(path)
    assert (asked.status_code, asked.content, asked.headers) == (200, b"", got.headers)


@pytest.mark.parametrize(
    "path",
    [
        "/console/index.html",
        "/console/assets/",
        "/console/assets/none.js",
        "/console/assets/a-1.map",
        "/console/assets/../index.html",
        "/console/assets/..%2findex.html",
        "/console/assets/%2e%2e/index.html",
        "/console/assets/..%5cindex.html",
        "/console/assets//etc/passwd",
        "/console/assets/%2fetc%2fpasswd",
        "/console/assets/a-1.js%00",
        "/console/assets/a-1.js/",
        "/CONSOLE",
    ],
)
def test_nothing_else_is_served_whatever_the_path(client: httpx.Client, path: str) -> None:
    request = client.build_request("GET", "/")
    request.url = request.url.copy_with(raw_path=path.encode())  # as it is, where httpx would tidy it
    answer = client.send(request)
    assert (answer.status_code, answer.json()["error"]) == (404, "not_found")


def test_a_build_while_the_service_runs_takes_no_file_away(built: Path, site: TestClient) -> None:
    (built / "assets" / "a-1.js").unlink()
    assert site.get("/console/assets/a-1.js").content == FILES["a-1.js"]


def test_every_file_that_the_real_build_names_is_served(client: httpx.Client) -> None:
    console = read_console()
    assert console is not None, "run `make console`"
    assert {file.name for file in (BUILT / "assets").iterdir()} == set(console.files)
    assert {client.get(address).status_code for address in addresses(client.get("/console").text)} == {200}


# What a browser may do with them.


def directives(header: str) -> dict[str, str]:
    return {name: value for name, _, value in (part.strip().partition(" ") for part in header.split(";"))}


def test_the_policy_allows_files_of_this_service_alone_and_nothing_inline() -> None:
    found = directives(policy(()))
    assert found["default-src"] == "'none'"
    assert {found[name] for name in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert found["img-src"] == "'self' blob:"
    assert {found[name] for name in ("base-uri", "form-action", "frame-ancestors")} == {"'none'"}
    assert (found["require-trusted-types-for"], found["trusted-types"]) == ("'script'", "'none'")
    assert not re.search(r"unsafe|\*|https?:|data:", policy(()))


@pytest.mark.parametrize("path", ["/console", "/console/assets/a-1.svg"])
def test_page_and_files_have_the_policy_and_belong_to_this_origin(site: TestClient, path: str) -> None:
    headers = site.get(path).headers
    assert headers["content-security-policy"] == policy(())
    assert headers["cross-origin-opener-policy"] == headers["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize(
    ("images", "hosts", "origins"),
    [
        (None, (), ()),
        ("https://cdn.example/p/a", (), ("https://cdn.example:443",)),
        ("http://10.0.0.5:8080", (), ("http://10.0.0.5:8080",)),
        ("https://user:secret@cdn.example/", (), ("https://cdn.example:443",)),
        ("https://bücher.example/p", (), ("https://xn--bcher-kva.example:443",)),
        (
            "https://cdn.example/p",
            ("cdn.example", "http://b.example"),
            ("https://cdn.example:443", "http://b.example:80"),
        ),
    ],
)
def test_pictures_may_come_from_where_the_operator_says(
    images: str | None, hosts: tuple[str, ...], origins: tuple[str, ...]
) -> None:
    assert picture_origins(images, hosts) == origins


def test_pictures_of_a_folder_come_from_this_service_alone(tmp_path: Path) -> None:
    assert picture_origins(str(tmp_path), ()) == ()


def test_a_prefix_of_pictures_cannot_end_the_header(monkeypatch: pytest.MonkeyPatch, registry: Path) -> None:
    monkeypatch.setenv("RECO_REGISTRY", str(registry))
    monkeypatch.setenv("RECO_IMAGES", "https://cdn.example/\r\nSet-Cookie: a=b")
    with pytest.raises(InputError, match="without line breaks"):
        load_settings()


# Where it is served.


def test_sources_without_the_build_say_how_to_build_it_under_the_same_policy() -> None:
    page = TestClient(Starlette(routes=console_routes(None, ()))).get("/console")
    assert (page.status_code, page.headers["content-security-policy"]) == (503, policy(()))
    assert "make console" in page.text
    assert not re.search(r"<script|<style|style=|\bon\w+=", page.text)


@pytest.fixture
def setting(monkeypatch: pytest.MonkeyPatch, registry: Path) -> Any:
    monkeypatch.setenv("RECO_REGISTRY", str(registry))
    return lambda name, value: monkeypatch.setenv(f"RECO_{name}", value)


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        ({}, True),
        ({"HOST": "localhost"}, True),
        ({"HOST": "::1"}, True),
        ({"HOST": "0.0.0.0"}, False),
        ({"HOST": "::"}, False),
        ({"HOST": "127.1"}, False),  # some systems read it as 127.0.0.1, others look a name up
        ({"CONSOLE": "false"}, False),
        ({"ADMIN_PORT": "8001"}, True),
        ({"ADMIN_PORT": "8001", "ADMIN_HOST": "0.0.0.0"}, False),
        ({"HOST": "0.0.0.0", "ADMIN_PORT": "8001"}, False),
        ({"TRUSTED_PROXIES": "127.0.0.1"}, False),
        ({"HOST": "0.0.0.0", "ADMIN_PORT": "8001", "API_KEYS_FILE": "keys", "CONSOLE": "true"}, True),
    ],
)
def test_it_is_on_by_default_only_where_no_other_machine_reaches_it(
    setting: Any, settings: dict[str, str], shown: bool
) -> None:
    for name, value in settings.items():
        setting(name, value)
    assert load_settings().shows_console is shown


@pytest.mark.parametrize(
    ("settings", "missing"),
    [
        ({"HOST": "0.0.0.0"}, "RECO_API_KEYS_FILE and RECO_ADMIN_PORT"),
        ({"HOST": "0.0.0.0", "API_KEYS_FILE": "keys"}, "RECO_ADMIN_PORT"),
        ({"HOST": "0.0.0.0", "ADMIN_PORT": "8001"}, "RECO_API_KEYS_FILE"),
        ({"ADMIN_HOST": "0.0.0.0", "ADMIN_PORT": "8001"}, "RECO_API_KEYS_FILE"),
    ],
)
def test_where_others_reach_it_a_start_without_keys_and_admin_port_is_refused(
    setting: Any, settings: dict[str, str], missing: str
) -> None:
    for name, value in {**settings, "CONSOLE": "true"}.items():
        setting(name, value)
    found = r"found RECO_CONSOLE=true, and other machines may reach 0\.0\.0\.0; expected "
    with pytest.raises(InputError, match=f"{found}{missing} too, or a loopback address"):
        load_settings()


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, httpx.Client]]:
    """A service with keys: clients of its public and of its admin port, without a key."""
    folder = tmp_path_factory.mktemp("guarded")
    publish(folder / "registry", make_content())
    (folder / "keys").write_text(new_key("shop", "read")[1])
    port, admin_port = free_port(), free_port()
    with (
        serving(
            registry=folder / "registry", api_keys_file=folder / "keys", port=port, admin_port=admin_port
        ) as public,
        httpx.Client(base_url=f"http://127.0.0.1:{admin_port}") as admin,
    ):
        yield public, admin


def test_with_an_admin_port_the_page_opens_there_alone_and_without_a_key(
    guarded: tuple[httpx.Client, httpx.Client],
) -> None:
    public, admin = guarded
    page = admin.get("/console")
    assert {admin.get(path).status_code for path in ("/console", *addresses(page.text))} == {200}
    assert {public.get(path).status_code for path in ("/console", *addresses(page.text))} == {404}


# GET /.


def test_the_first_page_is_the_console_on_its_port_and_the_documentation_elsewhere(
    guarded: tuple[httpx.Client, httpx.Client],
) -> None:
    public, admin = guarded
    leads = [(answer.status_code, answer.headers["location"]) for answer in (admin.get("/"), public.get("/"))]
    assert leads == [(307, "console"), (307, "docs")]


def test_without_console_and_documentation_there_is_no_first_page(registry: Path) -> None:
    with serving(registry=registry, console=False, docs=False) as client:
        assert client.get("/").json()["error"] == "not_found"
        assert client.get("/console").status_code == 404
