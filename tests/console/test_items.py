"""The items view in a browser: what it shows is what the API answers, and hiding takes effect."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from browsers import PHONE, leaks, new_page, open_view, overflows, pictures_of, serious_problems
from bundles import make_content
from playwright.sync_api import Browser, Page, expect
from servers import publish, serving

from service.http.security.keys import new_key

TITLES = {"sofa-7": "Große graue Couch", "sofa-8": "🛋 Kleine Couch"}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service with pictures, two items that wait for a bundle, one item hidden and one unavailable."""
    folder = tmp_path_factory.mktemp("shop")
    bundle = publish(folder / "registry", make_content(n_users=200))
    images = pictures_of(folder / "images", [*bundle.item_ids])
    with serving(registry=folder / "registry", data=folder / "data", images=str(images)) as client:
        for item_id, title in TITLES.items():
            client.put(f"/items/{item_id}", json={"title": title, "categories": ["sofa"]})
        client.put("/items/item-9/hidden")
        client.patch("/items/item-8", json={"available": False, "image": "item-8.png"})
        yield client


def cards(page: Page) -> list[str]:
    """The ids of the shown items."""
    return page.locator(".cards.items code").all_inner_texts()


def listed(client: httpx.Client, **query: Any) -> list[str]:
    return [one["item_id"] for one in client.get("/items", params={"k": 24, **query}).json()["items"]]


def test_words_category_and_filter_find_the_items_that_the_api_lists(page: Page, shop: httpx.Client) -> None:
    open_view(page, str(shop.base_url), "items")
    assert cards(page) == listed(shop)

    page.get_by_label("Words in title or id").fill("couch GRAU")
    page.get_by_label("Words in title or id").press("Enter")
    expect(page.locator(".cards.items h3")).to_have_text([TITLES["sofa-7"]])
    expect(page.get_by_label("Words in title or id")).to_be_focused()

    page.reload()  # the search is in the address
    expect(page.get_by_label("Words in title or id")).to_have_value("couch GRAU")
    expect(page.locator(".cards.items h3")).to_have_text([TITLES["sofa-7"]])

    page.get_by_role("link", name="Clear").click()
    expect(page.get_by_label("Words in title or id")).to_be_focused()
    expect(page.get_by_label("Words in title or id")).to_have_value("")
    page.get_by_label("Category").fill("chair")
    page.get_by_label("Filter").fill("material = 'oak'")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("heading", name="Items found")).to_be_visible()
    expected = listed(shop, category="chair", filter="material = 'oak'")
    expect(page.locator(".cards.items code")).to_have_text(expected)
    assert expected


def test_pages_lead_on_and_back_and_hold_every_item_once(page: Page, shop: httpx.Client) -> None:
    open_view(page, str(shop.base_url), "items")
    first = cards(page)
    page.get_by_role("link", name="Next page").click()
    expect(page.locator(".cards.items code").first).not_to_have_text(first[0])
    second = cards(page)
    assert sorted([*first, *second]) == sorted(listed(shop, k=100))
    expect(page.get_by_role("status").filter(has_text="on the last page")).to_be_visible()

    page.get_by_role("link", name="First page").click()
    expect(page.locator(".cards.items code")).to_have_text(first)


def test_a_filter_that_the_service_refuses_is_told_in_its_words_and_can_be_corrected(
    page: Page, shop: httpx.Client
) -> None:
    refusal = shop.get("/items", params={"filter": "material ="}).json()["detail"]
    open_view(page, str(shop.base_url), f"items?filter={quote('material =')}")
    expect(page.get_by_role("alert")).to_contain_text(refusal)

    page.get_by_label("Filter").fill("material = 'oak'")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.locator(".cards.items code").first).to_be_visible()


def test_nothing_found_and_an_unknown_attribute_are_said(page: Page, shop: httpx.Client) -> None:
    open_view(page, str(shop.base_url), "items?q=submarine")
    expect(page.get_by_role("status").filter(has_text="No item matches")).to_be_visible()

    open_view(page, str(shop.base_url), f"items?filter={quote('colour = 1')}")
    expect(page.locator(".notice.warn, .notice.error")).to_contain_text("colour")


def test_the_first_character_of_the_title_stands_in_for_a_missing_picture(page: Page, shop: httpx.Client) -> None:
    open_view(page, str(shop.base_url), "items?q=sofa-8")
    expect(page.locator(".cards.items .picture")).to_have_text("🛋")


def test_states_are_badges_and_hidden_items_are_listed(page: Page, shop: httpx.Client) -> None:
    open_view(page, str(shop.base_url), "items?q=item-9")
    expect(page.locator(".cards.items .badge")).to_have_text(["hidden"])
    page.get_by_text("1 hidden item").click()
    expect(page.locator("details").get_by_role("link", name="item-9")).to_be_visible()

    open_view(page, str(shop.base_url), "items?q=item-8")
    expect(page.locator(".cards.items .badge")).to_have_text(["unavailable", "changed"])
    expect(page.locator(".cards.items img")).to_have_attribute("src", f"{shop.base_url}/images/item-8.png")


def test_an_item_shows_its_parts_and_who_had_it(page: Page, shop: httpx.Client) -> None:
    told, users = shop.get("/items/item-3").json(), shop.get("/items/item-3/users?k=20").json()
    open_view(page, str(shop.base_url), "items/item-3")

    parts = page.get_by_role("heading", name="Its parts").locator("..")
    expect(parts.locator("tbody tr")).to_have_count(len(told["part_norms"]))
    largest = max(told["part_norms"], key=told["part_norms"].get)
    expect(parts.locator("tbody th").first).to_contain_text(largest)

    had = page.get_by_role("region", name="Who had it")
    expect(had.locator("strong")).to_have_text(f"{told['users']} users")
    expect(had.get_by_role("link")).to_have_text(users["user_ids"])
    had.get_by_role("link").first.click()
    assert page.url.endswith(f"#/try?user={users['user_ids'][0]}")


def test_who_had_it_is_paged_by_keyboard_to_its_end(page: Page, shop: httpx.Client) -> None:
    second = shop.get("/items/item-3/users?k=20&offset=20").json()["user_ids"]
    open_view(page, str(shop.base_url), "items/item-3")
    had = page.get_by_role("region", name="Who had it")
    following = had.get_by_role("button", name="Next")
    following.press("Enter")

    expect(had.get_by_role("link")).to_have_text(second)
    expect(following).to_be_disabled()
    expect(following).to_be_focused()


def test_neighbours_of_every_space_stand_side_by_side_with_their_cosines(page: Page, shop: httpx.Client) -> None:
    spaces = shop.get("/readyz").json()["spaces"]
    open_view(page, str(shop.base_url), "items/item-3")
    expect(page.locator(".space")).to_have_count(len(spaces))
    for space in spaces:
        near = shop.get("/similar/item-3", params={"by": space, "k": 6}).json()["items"]
        column = page.get_by_role("region", name=f"Nearest by {space}")
        expect(column.locator(".cosine")).to_have_text([f"{one['score']:.3f}" for one in near])
        expect(column.get_by_role("link")).to_have_text([one["title"] for one in near])


def test_from_one_item_to_the_next_the_keyboard_goes_on_from_the_top(page: Page, shop: httpx.Client) -> None:
    open_view(page, str(shop.base_url), "items")
    for link in (page.locator(".cards.items a").first, page.locator(".space a").first):
        link.press("Enter")
        expect(page.locator(".space").first).to_be_visible()
        expect(page.get_by_role("heading", name="Items", exact=True)).to_be_focused()


def test_an_item_is_hidden_once_that_is_confirmed_and_shown_again(page: Page, shop: httpx.Client) -> None:
    best = shop.get("/popular?k=1").json()["items"][0]["item_id"]
    open_view(page, str(shop.base_url), f"items/{best}")
    page.get_by_role("button", name="Hide from every list").click()
    page.get_by_role("button", name="Cancel").click()
    assert not shop.get(f"/items/{best}").json()["hidden"]

    page.get_by_role("button", name="Hide from every list").press("Enter")
    expect(page.get_by_role("button", name="Hide it", exact=True)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".one-item .badge").first).to_have_text("hidden")
    expect(page.get_by_role("status").filter(has_text="no list shows it from now on")).to_be_visible()
    assert shop.get("/popular?k=1").json()["items"][0]["item_id"] != best

    page.get_by_role("button", name="Show in lists again").click()
    page.get_by_role("button", name="Show it", exact=True).click()
    expect(page.locator(".one-item .badge").first).to_have_text("listed")
    assert shop.get("/popular?k=1").json()["items"][0]["item_id"] == best


def test_a_key_that_may_only_read_is_told_so_and_the_item_stays_usable(browser: Browser, tmp_path: Path) -> None:
    publish(tmp_path / "registry")
    key, line = new_key("shop", "read")
    (tmp_path / "keys").write_text(line)
    with (
        serving(registry=tmp_path / "registry", data=tmp_path, api_keys_file=tmp_path / "keys") as client,
        new_page(browser) as page,
    ):
        page.goto(f"{client.base_url}/console#/items/item-3")
        expect(page.get_by_role("alert").first).to_contain_text("key")
        page.get_by_label("API key").fill(key)
        page.get_by_role("button", name="Use", exact=True).click()
        expect(page.get_by_role("region", name="Who had it").get_by_role("alert")).to_contain_text("(403)")
        expect(page.locator(".space .cosine").first).to_be_visible()

        page.get_by_role("button", name="Hide from every list").click()
        page.get_by_role("button", name="Hide it", exact=True).click()
        expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("(403)")
        page.keyboard.press("Escape")
        expect(page.get_by_role("button", name="Hide from every list")).to_be_enabled()
        expect(page.locator(".one-item .badge").first).to_have_text("listed")
        assert leaks(page, key) == []


def test_an_item_that_does_not_exist_is_told_in_the_services_words(page: Page, shop: httpx.Client) -> None:
    open_view(page, str(shop.base_url), f"items/{quote('no/such item', safe='')}")
    expect(page.get_by_role("alert")).to_contain_text("no/such item")


@pytest.mark.parametrize("item_id", ["shop/12", "100%"])
def test_an_address_that_was_written_by_hand_leads_to_the_item_too(
    page: Page, shop: httpx.Client, item_id: str
) -> None:
    open_view(page, str(shop.base_url), f"items/{item_id}")
    expect(page.get_by_role("alert")).to_contain_text(f"'{item_id}'")


def test_an_item_that_waits_for_a_bundle_says_why(page: Page, shop: httpx.Client) -> None:
    open_view(page, str(shop.base_url), "items/sofa-7")
    expect(page.locator(".one-item .badge").first).to_have_text("waiting")
    expect(page.get_by_text(str(shop.get("/items/sofa-7").json()["reason"]))).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)


def test_an_error_with_a_long_id_fits_a_phone(browser: Browser, shop: httpx.Client) -> None:
    with new_page(browser, viewport=PHONE) as page:
        open_view(page, str(shop.base_url), f"items/{'Z' * 200}")
        expect(page.get_by_role("alert")).to_contain_text("ZZZ")
        assert not overflows(page)


@pytest.mark.parametrize("view", ["items/item-8", "items?q=submarine"])
def test_a_stored_item_and_an_empty_page_fit_a_phone_and_axe_finds_nothing_serious(
    browser: Browser, shop: httpx.Client, view: str
) -> None:
    with new_page(browser, viewport=PHONE) as page:
        open_view(page, str(shop.base_url), view)
        expect(page.locator(".space").or_(page.get_by_text("No item matches")).first).to_be_visible()
        assert serious_problems(page) == []
        assert not overflows(page)
