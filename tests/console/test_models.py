"""The models view in a browser: bundles, the comparison of two, publish and roll back, and retraining."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from browsers import PHONE, leaks, new_page, open_view, overflows, serious_problems
from bundles import write_small_bundle
from playwright.sync_api import Browser, Page, expect
from retrainings import in_training, let_go, retraining
from servers import serving
from stand_in_trainer import WAITS

from index.registry import Registry
from service.http.security.keys import new_key

LOW = {name: {"recall@20": 0.01, "ndcg@20": 0.1} for name in ("valid", "test")}


class Shop:
    """A service with three bundles: one that serves, a good one and one that the gate refuses."""

    def __init__(self, folder: Path) -> None:
        self.first, self.second = (write_small_bundle(folder, after_seconds=seed, seed=seed).name for seed in range(2))
        self.worse = write_small_bundle(folder, after_seconds=5, metrics=LOW).name
        Registry(folder).publish(self.first)

    def compared(self, user: str = "user-3") -> str:
        return f"models?a={self.first}&b={self.second}&user={user}"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Shop]]:
    folder = tmp_path_factory.mktemp("models")
    made = Shop(folder / "registry")
    with serving(registry=folder / "registry", data=folder / "data") as client:
        yield client, made


def moved(item: dict[str, Any], k: int) -> str:
    """How the view says where an item of bundle A stands in the list of bundle B."""
    rank, other = item["rank"], item["other_rank"]
    if other is None or other > k:
        return "not in B's 200" if other is None else f"B: place {other}"
    if other == rank:
        return "same place"
    return f"▲ {other - rank} higher than B" if other > rank else f"▼ {rank - other} lower than B"


def serves(client: httpx.Client) -> str:
    return str(client.get("/readyz").json()["bundle"])


def test_bundles_are_listed_with_figures_and_what_serves(page: Page, shop: tuple[httpx.Client, Shop]) -> None:
    client, made = shop
    open_view(page, str(client.base_url), "models")
    rows = page.get_by_role("region", name="Bundles, newest first").locator("tbody tr")
    expect(rows.locator("code")).to_have_text([made.worse, made.second, made.first])
    expect(rows.nth(2)).to_contain_text("serves")
    expect(rows.nth(0)).to_contain_text("0.01")
    expect(rows.nth(2).get_by_role("button", name="Publish")).to_have_count(0)


def test_two_chosen_bundles_are_compared_for_a_user(page: Page, shop: tuple[httpx.Client, Shop]) -> None:
    client, made = shop
    open_view(page, str(client.base_url), "models")
    compare = page.get_by_role("button", name="Compare the two chosen")
    expect(compare).to_be_disabled()
    for one in (made.first, made.second):
        page.get_by_label(f"Compare {one}").check()
    compare.click()
    page.get_by_label("User id").fill("user-3")
    page.get_by_role("button", name="Show both lists").click()

    lists = page.get_by_role("region", name="List of bundle ")
    expect(lists).to_have_count(2)
    told = client.get(
        "/bundles/compare", params={"a": made.first, "b": made.second, "user_id": "user-3", "k": 20}
    ).json()
    for side, shown in zip(("a", "b"), (lists.nth(0), lists.nth(1)), strict=True):
        items = told["user"][side]["items"]
        expect(shown.locator("li")).to_have_count(len(items))
        for place, item in enumerate(items[:3]):
            expect(shown.locator("li").nth(place)).to_contain_text(item["title"])
    words = [moved(item, 20) for item in told["user"]["a"]["items"]]
    expect(lists.nth(0).locator(".models-move")).to_have_text(words)
    assert len(set(words)) > 3
    expect(page.locator(".figure strong").first).to_have_text(f"{told['overlap']:.1%}")

    address = page.url
    page.reload()
    assert page.url == address
    expect(lists).to_have_count(2)


def test_two_bundles_of_the_same_lists_are_said_to_have_learned_nothing(
    page: Page, shop: tuple[httpx.Client, Shop]
) -> None:
    client, made = shop
    open_view(page, str(client.base_url), f"models?a={made.first}&b={made.worse}&user=user-3")
    said = page.get_by_text("Their lists are the same: nothing new was learned.")
    expect(said).to_be_visible()
    page.get_by_role("combobox", name="Bundle B").select_option(made.second)
    expect(page).to_have_url(re.compile(made.second))
    expect(said).to_have_count(0)


def test_a_comparison_that_is_refused_is_told_in_the_services_words(
    page: Page, shop: tuple[httpx.Client, Shop]
) -> None:
    client, made = shop
    open_view(page, str(client.base_url), f"models?a={made.first}&b={made.first}")
    expect(page.get_by_role("alert")).to_contain_text("expected two different bundles")
    expect(page.get_by_label("Bundle B")).to_be_enabled()


def test_a_bundle_is_published_and_rolled_back_once_that_is_confirmed(page: Page, tmp_path: Path) -> None:
    made = Shop(tmp_path / "registry")
    with serving(registry=tmp_path / "registry", data=tmp_path / "data") as client:
        open_view(page, str(client.base_url), "models")
        page.get_by_role("button", name=f"Publish {made.second}").click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text(made.first)
        dialog.get_by_role("button", name="Cancel").click()
        assert serves(client) == made.first

        page.get_by_role("button", name=f"Publish {made.second}").click()
        dialog.get_by_role("button", name="Publish", exact=True).click()
        expect(page.get_by_role("status").filter(has_text=f"{made.second} serves now")).to_be_visible(timeout=30_000)
        row = page.get_by_role("row").filter(has_text=made.second)
        expect(row).to_contain_text("passed")
        expect(row.locator(".badge")).to_have_text("serves")
        assert serves(client) == made.second

        page.get_by_role("link", name="anchorrec").nth(1).click()
        expect(page.get_by_role("region", name="Checks of the gate")).to_contain_text("overlap of lists")

        page.get_by_role("button", name="Roll back …").click()
        expect(dialog).to_contain_text(f"Every user gets {made.first} again")
        dialog.get_by_role("button", name="Roll back", exact=True).click()
        expect(page.get_by_role("status").filter(has_text=f"{made.first} serves now")).to_be_visible(timeout=30_000)
        assert serves(client) == made.first


def test_a_bundle_that_the_gate_refuses_is_published_only_by_force(page: Page, tmp_path: Path) -> None:
    made = Shop(tmp_path / "registry")
    with serving(registry=tmp_path / "registry", data=tmp_path / "data") as client:
        open_view(page, str(client.base_url), "models")
        page.get_by_role("button", name=f"Publish {made.worse}").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="Publish", exact=True).click()
        checks = dialog.get_by_role("region", name="Checks of the gate").locator("tbody tr")
        expect(checks).to_have_count(1, timeout=30_000)
        expect(checks).to_contain_text("valid recall@20")
        expect(checks).to_contain_text("0.0100")
        assert serves(client) == made.first
        assert serious_problems(page) == []

        dialog.get_by_label("Publish though the gate refuses it").check()
        dialog.get_by_role("button", name="Publish by force").click()
        expect(page.get_by_role("status").filter(has_text="published by force")).to_be_visible(timeout=30_000)
        assert serves(client) == made.worse


def test_a_retraining_is_started_followed_and_published(page: Page, tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    Shop(registry)
    with serving(**retraining(WAITS, registry)) as client:
        open_view(page, str(client.base_url), "models")
        expect(page.get_by_text("There has been no retraining yet")).to_be_visible()
        page.get_by_role("button", name="Start a retraining").click()
        page.get_by_role("dialog").get_by_role("button", name="Start", exact=True).click()
        job = page.locator(".models-job")
        expect(job.locator(".runs")).to_contain_text("training", timeout=30_000)
        job.get_by_role("link").first.click()
        expect(page.get_by_role("log")).to_contain_text("begun with")
        expect(page.get_by_role("button", name="Cancel this retraining")).to_be_visible()

        job_id = client.get("/retrain").json()["jobs"][0]["id"]
        in_training(registry, job_id)
        let_go(registry)
        expect(job.locator(".badge")).to_have_text("published", timeout=60_000)
        row = page.get_by_role("row").filter(has_text=serves(client))
        expect(row.locator(".badge")).to_have_text("serves", timeout=5_000)  # sooner than the list is loaded by itself
        expect(row).to_contain_text("passed")
        expect(job.locator(".done")).to_have_count(4)
        expect(job.get_by_role("region", name="Checks of the gate")).to_be_visible()
        expect(job.get_by_role("link", name=serves(client))).to_be_visible()


def test_a_service_that_cannot_retrain_says_how_to_switch_it_on(page: Page, shop: tuple[httpx.Client, Shop]) -> None:
    client, _ = shop
    open_view(page, str(client.base_url), "models")
    expect(page.get_by_text("RECO_RETRAIN_DATA=")).to_be_visible()


def test_where_admin_routes_are_closed_the_view_says_what_to_do(page: Page, tmp_path: Path) -> None:
    made = Shop(tmp_path / "registry")
    with serving(registry=tmp_path / "registry", data=tmp_path / "data", admin_open=False) as client:
        open_view(page, str(client.base_url), "models")
        expect(page.get_by_role("alert")).to_contain_text("(403)")
        expect(page.locator("main")).to_contain_text("RECO_ADMIN_OPEN=true")
        expect(page.locator("main")).to_contain_text(f"answers from {made.first}")


def test_an_admins_key_opens_the_view_and_is_nowhere_on_the_page(page: Page, tmp_path: Path) -> None:
    made = Shop(tmp_path / "registry")
    key, line = new_key("ops", "admin")
    (tmp_path / "keys").write_text(line)
    with serving(registry=tmp_path / "registry", data=tmp_path, api_keys_file=tmp_path / "keys") as client:
        page.goto(f"{client.base_url}/console#/{made.compared()}")
        expect(page.get_by_role("alert").first).to_contain_text("(401)")
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Use", exact=True).click()
        expect(page.get_by_role("region", name="List of bundle A")).to_be_visible()
        assert leaks(page, key) == []


def test_a_comparison_fits_a_phone_and_axe_finds_nothing_serious(
    browser: Browser, shop: tuple[httpx.Client, Shop]
) -> None:
    client, made = shop
    with new_page(browser, viewport=PHONE) as page:
        open_view(page, str(client.base_url), made.compared())
        expect(page.get_by_role("region", name="List of bundle A")).to_be_visible()
        assert serious_problems(page) == []
        assert not overflows(page)
