"""The console of a service with API keys: what shows with which key, no leak of a key, and each kind of error."""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from browsers import leaks, new_page, open_view
from playwright.sync_api import Browser, Locator, Page, expect
from servers import publish, serving

from deploy.processes import HOST, child, free_port
from service.http.security.keys import new_key
from service.principal import Role

VIEWS = (
    "try?user=user-3",
    "items",
    "items/item-3",
    "map",
    "models",
    "experiments",
    "experiments?show=quality",
    "health",
)
ROLES: tuple[Role, ...] = ("read", "admin")


@dataclass(frozen=True)
class Shop:
    """A service with keys, a process that logs all that it can."""

    console: str  # the address of its admin port
    public: httpx.Client
    keys: dict[str, str]  # by role; `slow`: of role read, one request in 100 s
    written: tuple[Path, ...]  # the log, the audit log

    def texts(self) -> str:
        return "".join(file.read_text() for file in self.written if file.exists())  # audited: what admins do


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder = tmp_path_factory.mktemp("shop")
    publish(folder / "registry")
    made = {role: new_key(role, role) for role in ROLES}
    slow, line = new_key("slow", "read")
    limited = json.dumps({**json.loads(line), "rate_limit_per_s": 0.01, "rate_limit_burst": 1})
    (folder / "keys").write_text("\n".join([*(line for _, line in made.values()), limited]))
    port, admin_port, log, audit = free_port(), free_port(), folder / "log", folder / "audit"
    settings = {
        "RECO_REGISTRY": str(folder / "registry"),
        "RECO_PORT": str(port),
        "RECO_ADMIN_PORT": str(admin_port),
        "RECO_API_KEYS_FILE": str(folder / "keys"),
        "RECO_AUDIT_FILE": str(audit),
        "RECO_LOG_LEVEL": "debug",
    }
    command = ["sh", "-c", f"exec '{sys.executable}' -m service run > '{log}' 2>&1"]
    with child(command, port, {**os.environ, **settings}, lambda client: client.get("/readyz").is_success) as started:
        keys = {role: key for role, (key, _) in made.items()} | {"slow": slow}
        yield Shop(f"http://{HOST}:{admin_port}", started.client, keys, (log, audit))


def enter(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Use").click()
    expect(page.get_by_role("button", name="Forget the key")).to_be_visible()


def alert(page: Page, text: str) -> Locator:
    """The first error with this text; views make several requests, each of which may fail."""
    return page.get_by_role("alert").filter(has_text=text).first


def settled(page: Page) -> None:
    """Wait until no request of the page is under way."""
    page.wait_for_load_state("networkidle")


# Keys.


def test_without_a_key_the_console_opens_and_shows_no_data(page: Page, shop: Shop) -> None:
    for view in VIEWS:
        open_view(page, shop.console, view)
        settled(page)
        assert "item-1" not in page.locator("main").inner_text()
    open_view(page, shop.console, "items")
    expect(alert(page, "an API key is required")).to_be_visible()
    expect(alert(page, "Enter an API key at the top of the page.")).to_be_visible()


@pytest.mark.parametrize("role", ROLES)
def test_no_view_leaks_the_key_nor_does_the_service_log_it(browser: Browser, shop: Shop, role: str) -> None:
    key = shop.keys[role]
    with new_page(browser) as page:
        addresses: list[str] = []
        page.on("request", lambda request: addresses.append(request.url))
        open_view(page, shop.console, "items")
        enter(page, key)
        expect(page.get_by_text("item-1").first).to_be_visible()
        for view in VIEWS:  # by the address after #: a reload would forget the key
            page.evaluate("hash => { location.hash = hash }", f"#/{view}")
            settled(page)
            assert leaks(page, key) == []
            refused = page.get_by_text("an API key is required")
            expect(refused).to_have_count(0)
        assert not [address for address in addresses if key in address or quote(key) in address]
    assert "/items" in shop.texts()
    assert key not in shop.texts()


def test_what_a_key_showed_is_gone_with_it(page: Page, shop: Shop) -> None:
    for forget in (lambda: page.get_by_role("button", name="Forget the key").click(), page.reload):
        open_view(page, shop.console, "items")
        enter(page, shop.keys["read"])
        expect(page.get_by_text("item-1").first).to_be_visible()
        forget()
        expect(alert(page, "an API key is required")).to_be_visible()
        expect(page.get_by_text("item-1")).to_have_count(0)
        expect(page.get_by_label("API key")).to_have_value("")


# An error of each kind.


def test_a_wrong_key_is_refused_in_the_services_words_and_can_be_replaced(page: Page, shop: Shop) -> None:
    open_view(page, shop.console, "items")
    enter(page, "reco_wrong")
    said = shop.public.get("/items", headers={"X-API-Key": "reco_wrong"}).json()["detail"]
    expect(alert(page, said)).to_be_visible()
    page.get_by_role("button", name="Forget the key").click()
    enter(page, shop.keys["read"])
    expect(page.get_by_text("item-1").first).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_a_refused_change_says_what_role_it_needs_and_leaves_the_view_as_it_was(page: Page, shop: Shop) -> None:
    open_view(page, shop.console, "items/item-3")
    enter(page, shop.keys["read"])
    hide(page)
    expect(alert(page, "this needs a key of role admin; 'read' has role read")).to_be_visible()
    expect(page.get_by_role("button", name="Hide from every list")).to_be_enabled()


def test_beyond_the_rate_limit_the_page_says_when_to_retry(page: Page, shop: Shop) -> None:
    shop.public.get("/popular", headers={"X-API-Key": shop.keys["slow"]})
    open_view(page, shop.console, "items")
    enter(page, shop.keys["slow"])
    expect(alert(page, "the rate limit of slow is 0.01 requests/s")).to_be_visible()
    expect(alert(page, "Retry in")).to_be_visible()
    expect(page.get_by_role("button", name="Retry").first).to_be_enabled()


def test_a_store_that_fails_is_an_error_that_says_so(page: Page, tmp_path: Path) -> None:
    publish(tmp_path / "registry")
    with serving(registry=tmp_path / "registry", data=tmp_path, audit_file="/dev/full") as client:
        open_view(page, str(client.base_url), "items/item-3")
        hide(page)
        expect(alert(page, "audit_unavailable (503)")).to_be_visible()
        expect(page.get_by_role("button", name="Hide from every list")).to_be_enabled()


def test_a_service_that_stopped_is_told_and_found_again(page: Page, tmp_path: Path) -> None:
    publish(tmp_path / "registry")
    settings = {"registry": tmp_path / "registry", "data": tmp_path, "port": free_port()}
    with serving(**settings) as client:
        open_view(page, str(client.base_url), "items")
        expect(page.get_by_text("item-1").first).to_be_visible()
    page.get_by_role("link", name="Experiments").click()
    expect(alert(page, "the service cannot be reached: has it stopped?")).to_be_visible()
    with serving(**settings):
        page.get_by_role("button", name="Retry").first.click()
        expect(page.get_by_role("alert")).to_have_count(0)


def hide(page: Page) -> None:
    page.get_by_role("button", name="Hide from every list").click()
    page.get_by_role("button", name="Hide it", exact=True).click()
