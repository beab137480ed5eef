"""/docs works without internet: everything that it loads comes from this host."""

import asyncio
import re
import time
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import httpx
import pytest
from servers import serving
from starlette.applications import Starlette

from service.http.docs_page import docs_routes
from service.http.security.keys import new_key

TYPES = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".png": "image/png"}


def loaded_by(page: str) -> list[str]:
    """The addresses that a browser loads for the page, and the one of the document that its script reads."""
    found = re.findall(r"""(?:src|href)=["']([^"']+)|url: ["']([^"']+)""", page)
    return [loaded or read for loaded, read in found]


def test_everything_that_the_page_loads_is_there_and_of_the_right_type(client: httpx.Client) -> None:
    page = client.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    addresses = loaded_by(page.text)
    assert len(addresses) == 4
    for address in addresses:
        answer = client.get(address)
        assert answer.status_code == 200
        assert answer.headers["content-type"] == TYPES.get(Path(address).suffix, "application/json")
        assert len(answer.content) > 100


def test_no_address_of_the_page_or_its_styles_is_of_another_host(client: httpx.Client) -> None:
    page = client.get("/docs").text
    host = urlsplit(str(client.base_url)).netloc
    assert {urlsplit(urljoin(str(client.base_url), address)).netloc for address in loaded_by(page)} == {host}
    assert not re.search(r"(?:https?:)?//[a-z]", page)
    styles = client.get("/docs/swagger-ui.css").text
    assert all(target.lstrip("\"'").startswith("data:") for target in re.findall(r"url\(([^)]+)\)", styles))
    assert "@import" not in styles


def test_the_browser_is_told_to_load_from_this_host_alone(client: httpx.Client) -> None:
    page = client.get("/docs")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert not re.search(r"https?:|\*", policy)
    assert '"validatorUrl": null' in page.text  # Swagger would send the document's address there


def test_the_document_is_built_once_however_many_callers_are_the_first() -> None:
    built: list[float] = []

    def openapi() -> dict[str, str]:
        built.append(0.05)
        time.sleep(built[-1])
        return {"openapi": "3.1.0"}

    async def read_often() -> list[int]:
        transport = httpx.ASGITransport(Starlette(routes=docs_routes("a title", openapi)))
        async with httpx.AsyncClient(transport=transport, base_url="http://docs") as client:
            return [
                answer.status_code for answer in await asyncio.gather(*(client.get("/openapi.json") for _ in range(4)))
            ]

    assert asyncio.run(read_often()) == [200] * 4
    assert len(built) == 1


def test_swagger_renders_the_version_that_the_document_has(client: httpx.Client) -> None:
    assert client.get("/openapi.json").json()["openapi"].startswith("3.1.")
    assert "isOAS31" in client.get("/docs/swagger-ui-bundle.js").text


@pytest.mark.parametrize("path", ["/redoc", "/docs/oauth2-redirect", "/docs/redoc.standalone.js", "/docs/..%2Fcore.py"])
def test_nothing_else_is_served_beside_it(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404


def test_with_keys_the_page_and_its_files_need_none_and_an_operator_may_remove_them(
    registry: Path, tmp_path: Path
) -> None:
    keys = tmp_path / "keys.jsonl"
    key, line = new_key("shop", "read")
    keys.write_text(line + "\n")
    with serving(registry=registry, api_keys_file=keys) as client:
        assert {client.get(address).status_code for address in loaded_by(client.get("/docs").text)} == {200}
    with serving(registry=registry, api_keys_file=keys, docs=False) as client:
        for path in ("/docs", "/docs/swagger-ui.css", "/openapi.json"):
            assert client.get(path, headers={"X-API-Key": key}).status_code == 404
