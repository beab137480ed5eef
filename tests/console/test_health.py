"""The health view in a browser: its figures are what the test sent, and what is broken shows."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from browsers import open_view, serious_problems
from playwright.sync_api import Locator, Page, expect
from servers import Valkey, publish, serving, wait_until

from service.http.security.keys import new_key

EVERY_MS = 5_000  # between two samples


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry")
    publish(folder)
    return folder


@pytest.fixture(scope="module")
def busy(registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service after 12 lists, 3 of them from its cache, 2 refused requests and 4 events."""
    with serving(registry=registry, data=tmp_path_factory.mktemp("data")) as client:
        for i in [*range(9), 0, 1, 2]:
            assert client.get(f"/recommend/user-{i}").status_code == 200
        for _ in range(2):
            assert client.get("/recommend/user-1?k=0").status_code == 422
        for i in range(4):
            event = {"user_id": "nobody-here", "item_id": f"item-{i}", "kind": "click"}
            assert client.post("/events", json=event).status_code == 202
        yield client


def figure(page: Page, name: str) -> Locator:
    return page.locator(".figure", has=page.get_by_text(name, exact=True)).locator("dd")


def table_row(page: Page, name: str) -> Locator:
    return page.get_by_role("row", name=name).get_by_role("cell")


def test_figures_since_the_start_are_what_was_sent(page: Page, busy: httpx.Client) -> None:
    open_view(page, str(busy.base_url), "health?window=start")

    lists = table_row(page, "GET /recommend/{user_id}")
    expect(lists.nth(0)).to_have_text("14")
    expect(lists.nth(2)).to_have_text("200: 12422: 2")
    expect(lists.nth(3)).to_contain_text("ms")
    expect(table_row(page, "POST /events").nth(0)).to_have_text("4")
    expect(table_row(page, "invalid_request").nth(0)).to_have_text("2")
    expect(table_row(page, "events").first).to_have_text("4")
    expect(figure(page, "Response cache")).to_have_text("25%3 of 12")
    expect(figure(page, "Events appended").locator("strong")).to_have_text("4")
    expect(figure(page, "Redis circuit")).to_have_text("off")
    expect(page.get_by_role("listitem").filter(has_text="Redis")).to_contain_text("off: none is configured")
    expect(figure(page, "Up for")).to_contain_text(re.compile(r"\d (s|min|ms)"))


def test_new_traffic_shows_with_the_next_sample_and_in_the_charts(page: Page, busy: httpx.Client) -> None:
    page.clock.install()
    open_view(page, str(busy.base_url), "health")
    expect(page.get_by_text("The charts begin with the second sample")).to_be_visible()
    for _ in range(5):
        busy.get("/popular")
    page.clock.fast_forward(EVERY_MS)

    expect(table_row(page, "GET /popular").nth(0)).to_have_text("5")
    expect(page.locator(".line-chart canvas")).to_have_count(2)
    expect(page.locator(".line-chart").first).to_contain_text("at most")
    assert serious_problems(page) == []


def test_the_status_names_the_bundle_and_everything_that_the_service_needs(page: Page, busy: httpx.Client) -> None:
    open_view(page, str(busy.base_url), "health")
    status = page.get_by_role("region", name="Status")
    expect(status.locator("h2")).to_contain_text("ready")
    expect(status).to_contain_text(str(busy.get("/readyz").json()["bundle"]))
    expect(status.locator("li")).to_have_count(10)
    expect(status.locator("li", has=page.locator(".bad"))).to_have_count(0)


def test_an_open_circuit_to_redis_shows(page: Page, registry: Path, tmp_path: Path) -> None:
    valkey = Valkey(tmp_path).start()
    settings = {"redis_url": valkey.url, "redis_retry_s": 60, "profile_cache_mb": 0, "answer_cache_mb": 0}
    with serving(registry=registry, data=tmp_path, **settings) as client:
        client.get("/recommend/user-1")
        valkey.kill()
        wait_until(lambda: client.get("/recommend/user-1") and client.get("/readyz").json()["redis"] == "open")
        open_view(page, str(client.base_url), "health")

        expect(figure(page, "Redis circuit")).to_have_text("opennot reachable")
        status = page.get_by_role("region", name="Status")
        expect(status.locator("h2")).to_contain_text("degraded: 1")
        expect(status.get_by_role("listitem").filter(has_text="Redis")).to_contain_text("not reachable (circuit open)")
        alert = page.get_by_role("region", name="Alerts that would fire").locator(
            ".alerts li", has_text="RecoRedisAway"
        )
        expect(alert).to_contain_text("pending")
        expect(alert).to_contain_text("Prometheus fires it after 5 min")


def test_an_alert_fires_when_a_changed_rules_file_is_refused(page: Page, registry: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules.json"
    rules.write_text("{}")
    with serving(registry=registry, data=tmp_path, rules_file=rules, rules_reload_s=0.02) as client:
        rules.write_text("no rules")
        wait_until(lambda: 'reco_rules_reloads_total{outcome="refused"} 1.0' in client.get("/metrics").text)
        open_view(page, str(client.base_url), "health")

        alerts = page.get_by_role("region", name="Alerts that would fire")
        alert = alerts.locator(".alerts li", has_text="RecoFileRefused")
        expect(alert).to_contain_text("fires")
        expect(alert).to_contain_text("A changed file of rules was refused")
        alerts.get_by_text("alerts that need Prometheus").click()
        expect(alerts.get_by_text("RecoAvailabilityBurnsFast")).to_be_visible()


def test_metrics_that_need_a_key_are_told_and_the_status_stays(page: Page, registry: Path, tmp_path: Path) -> None:
    key, line = new_key("shop", "read")
    (tmp_path / "keys").write_text(line)
    with serving(registry=registry, data=tmp_path, api_keys_file=tmp_path / "keys") as client:
        open_view(page, str(client.base_url), "health")
        expect(page.get_by_role("alert")).to_contain_text("(401)")
        expect(page.get_by_role("region", name="Status").locator("h2")).to_contain_text("ready")

        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Use", exact=True).click()
        expect(page.get_by_role("heading", name="Requests", exact=True)).to_be_visible()
        expect(page.get_by_role("alert")).to_have_count(0)


def test_a_service_that_stops_is_said_to_be_away_and_its_last_figures_stay(
    page: Page, registry: Path, tmp_path: Path
) -> None:
    with serving(registry=registry, data=tmp_path) as client:
        client.get("/popular")
        page.clock.install()
        open_view(page, str(client.base_url), "health")
        expect(table_row(page, "GET /popular").nth(0)).to_have_text("1")

    page.clock.fast_forward(EVERY_MS)
    expect(page.get_by_role("alert").first).to_contain_text("cannot be reached")
    expect(page.get_by_role("region", name="Status").locator("h2")).to_contain_text("not ready")
    expect(page.get_by_text("What follows is of")).to_be_visible()
    expect(table_row(page, "GET /popular").nth(0)).to_have_text("1")
