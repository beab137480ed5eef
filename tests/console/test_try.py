"""Try it: a list for a user or for an unknown visitor, clicks that change the next one, and why each item is there."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest
from browsers import PHONE, leaks, new_page, open_view, overflows, pictures_of, serious_problems
from bundles import make_content
from playwright.sync_api import Browser, Page, Route, expect
from servers import publish, serving

from service.http.security.keys import new_key

ITEMS = [f"item-{row}" for row in range(40)]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service whose items all have pictures, and whose events are no other module's."""
    folder = tmp_path_factory.mktemp("shop")
    content = make_content()
    items = [{**item, "image": f"{ITEMS[row]}.png"} for row, item in enumerate(content.items)]
    types = {"material": "string", "net weight": "number"}
    publish(folder / "registry", make_content(items=items, attribute_types=types))
    images = pictures_of(folder / "images", ITEMS)
    with serving(registry=folder / "registry", images=str(images), data=folder / "data") as client:
        yield client


def shown(page: Page) -> list[str]:
    """The items of the shelf, in their order."""
    return [str(card.get_attribute("data-item")) for card in page.locator(".shelf [data-item]").all()]


def open_try(page: Page, client: httpx.Client, query: str = "") -> None:
    open_view(page, str(client.base_url), f"try{query}")
    page.wait_for_selector(".shelf [data-item]")


def recommended(client: httpx.Client, user: str, **options: object) -> list[str]:
    answer = client.get(f"/recommend/{user}", params={"k": 12, **options})
    return [item["item_id"] for item in answer.json()["items"]]


def test_a_user_is_found_by_typing_and_chosen_by_keyboard(page: Page, shop: httpx.Client) -> None:
    open_try(page, shop)
    field = page.get_by_role("combobox", name="User")
    field.fill("user-2")
    options = page.get_by_role("listbox", name="Users found").get_by_role("option")
    expect(options).to_have_text([re.compile(f"^user-{row} ") for row in (2, *range(20, 27))])
    field.press("ArrowDown")
    field.press("ArrowDown")
    expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    field.press("Enter")

    expect(page.locator("[data-source=user]")).to_be_visible()
    assert page.url.endswith("#/try?user=user-20")
    assert shown(page) == recommended(shop, "user-20")
    expect(page.locator(".response")).to_contain_text(str(shop.get("/readyz").json()["bundle"]))
    expect(page.locator(".response")).to_contain_text("ms in the service (")


def test_a_like_of_a_user_is_stored_and_changes_the_next_list(page: Page, shop: httpx.Client) -> None:
    open_try(page, shop, "?user=user-4")
    expect(page.locator("[data-kept=stored]")).to_contain_text("stored as events")
    liked = shown(page)[1]
    page.locator(f"[data-item={liked}] [data-act=like]").click()

    expect(page.locator("[data-source=fold_in]")).to_be_visible()
    expect(page.locator(".said")).to_contain_text("You liked an item: stored as an event.")
    assert shop.get("/users/user-4").json()["events"] == 1
    assert shown(page) == recommended(shop, "user-4")
    assert liked not in shown(page)
    expect(page.locator(":focus")).to_have_attribute("data-act", "like")  # of the card in its place


def test_an_unknown_visitor_starts_from_popular_items_and_gets_personal_lists_by_clicks(
    page: Page, shop: httpx.Client
) -> None:
    open_try(page, shop)
    expect(page.locator("[data-source=popular]")).to_be_visible()
    expect(page.locator("[data-kept=page]")).to_contain_text("only in this page")
    popular = shown(page)
    page.locator(f"[data-item={popular[2]}] [data-act=like]").click()
    expect(page.locator("[data-source=session]")).to_be_visible()
    first = shown(page)
    page.locator(f"[data-item={first[0]}] [data-act=dislike]").click()
    expect(page.locator(f".shelf [data-item={first[0]}]")).to_have_count(0)

    session = {"liked": [popular[2]], "disliked": [first[0]], "k": 12}
    assert shown(page) == [item["item_id"] for item in shop.post("/recommend", json=session).json()["items"]]
    page.reload()  # the address holds the clicks
    expect(page.locator(".deed")).to_have_count(2)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator(".deed")).to_have_count(1)
    expect(page.locator(f".shelf [data-item={first[0]}]")).to_be_visible()
    assert shown(page) == first
    page.get_by_role("button", name="Undo").click()  # the button goes with the last click
    expect(page.locator(":focus")).to_contain_text("Like something")


def test_the_empty_field_chooses_the_unknown_visitor(page: Page, shop: httpx.Client) -> None:
    open_try(page, shop, "?user=user-3")
    field = page.get_by_role("combobox", name="User")
    field.fill("")
    field.press("Enter")

    expect(page.locator("[data-kept=page]")).to_be_visible()
    assert page.url.endswith("#/try")


def test_while_the_next_list_is_under_way_the_one_before_is_marked_and_nothing_is_said_of_it(
    page: Page, shop: httpx.Client
) -> None:
    open_try(page, shop, "?did=like:item-3")
    page.locator("[data-act=like]").first.click()
    expect(page.locator(".said")).to_contain_text("in the list")
    held: list[Route] = []
    page.route("**/recommend", lambda route: held.append(route))  # noqa: PLW0108 - Playwright marks the function
    page.locator("[data-act=dislike]").first.click()

    shelf = page.get_by_role("list", name="Recommended items")
    expect(shelf).to_have_attribute("aria-busy", "true")
    expect(page.locator(".said")).to_have_text("You disliked an item: kept only in this page.")
    held[0].continue_()
    expect(shelf).to_have_attribute("aria-busy", "false")
    expect(page.locator(".said")).to_contain_text("in the list")


def test_the_keyboard_stays_at_an_item_whose_event_was_refused_or_that_stays_in_the_list(
    page: Page, shop: httpx.Client
) -> None:
    open_try(page, shop, "?user=user-8&seen=true")
    liked = shown(page)[3]
    like = page.locator(f"[data-item={liked}] [data-act=like]")
    page.route("**/events", lambda route: (route.fetch(), route.abort()))  # stored, and the response is lost
    like.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("the service cannot be reached")
    expect(like).to_be_focused()

    page.unroute("**/events")
    page.get_by_role("button", name="Retry").click()
    expect(page.locator("[data-source=fold_in]")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)
    assert shop.get("/users/user-8").json()["events"] == 1  # sent twice

    like.press("Enter")
    expect(page.locator(".deed")).to_have_count(2)
    expect(page.locator(".shelf.current")).to_be_visible()
    expect(like).to_be_focused()


def test_after_a_click_an_empty_list_is_called_empty(page: Page, shop: httpx.Client) -> None:
    open_view(page, str(shop.base_url), "try?did=like:item-3&filter=material+%3D+air")
    expect(page.locator(".said")).to_have_text("You liked an item: kept only in this page. The list is empty.")
    page.get_by_role("button", name="List items as served").press("Enter")
    expect(page.locator(".shelf [data-item]")).to_have_count(12)
    expect(page.get_by_role("heading", name="Try it")).to_be_focused()


def test_the_parts_of_the_first_card_sum_to_its_score(page: Page, shop: httpx.Client) -> None:
    open_try(page, shop, "?user=user-6")
    why = page.locator(".shelf [data-item]").first.locator(".why")
    expect(why.locator(".sentence")).not_to_be_empty()
    shares = [float(str(one.get_attribute("data-share"))) for one in why.locator("[data-share]").all()]
    score = float(str(why.locator("[data-score]").get_attribute("data-score")))

    assert len(shares) == 5
    assert sum(shares) == pytest.approx(score, abs=1e-4)
    widths = why.locator(".segment").evaluate_all("all => all.map(one => parseFloat(one.style.width))")
    assert sum(widths) == pytest.approx(100, abs=0.1)


def test_a_switch_shows_the_rank_without_a_past_item(page: Page, shop: httpx.Client) -> None:
    answer = shop.get("/recommend/user-6", params={"k": 12, "explain": True, "counterfactual": True})
    item = answer.json()["items"][0]
    past = item["explanation"]["past_items"][0]
    open_try(page, shop, "?user=user-6")
    page.get_by_role("switch", name=f"Without {past['title']}").first.click()

    expected = f"rank 1 → {past['rank_without']}" if past["rank_without"] != 1 else "stays at rank 1"
    expect(page.locator(".rank-without", has_text=expected)).to_be_visible()


def test_ranks_without_a_past_item_that_could_not_be_requested_are_requested_again(
    page: Page, shop: httpx.Client
) -> None:
    open_try(page, shop, "?user=user-6")
    page.route("**/recommend/**", lambda route: route.abort())
    page.get_by_role("switch").first.click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("the service cannot be reached")
    expect(page.locator(".rank-without").first).to_be_empty()

    page.unroute("**/recommend/**")
    alert.get_by_role("button", name="Retry").press("Enter")
    expect(page.get_by_role("heading", name="Try it")).to_be_focused()
    expect(page.locator(".rank-without").first).to_contain_text("rank")


def test_a_filter_with_an_error_shows_the_services_own_words_and_a_right_one_applies(
    page: Page, shop: httpx.Client
) -> None:
    open_try(page, shop, "?user=user-3")
    field = page.get_by_label("Filter")
    field.fill("material ==")
    field.press("Enter")
    expect(field).not_to_have_attribute("placeholder", "attribute = value")  # once the shop's items are read
    assert recommended(shop, "user-3", filter=field.get_attribute("placeholder")) != []
    detail = shop.get("/recommend/user-3", params={"filter": "material =="}).json()["detail"]
    expect(page.locator("#filter-said")).to_have_text(detail)
    expect(field).to_have_attribute("aria-invalid", "true")
    field.fill("material = oak")
    field.press("Enter")
    expect(page.locator("#filter-said")).to_have_text("Enter applies it.")
    page.locator(".shelf:not(.stale)").wait_for()

    assert shown(page) == recommended(shop, "user-3", filter="material = oak")


def test_an_attribute_and_an_operator_of_its_type_begin_a_condition(page: Page, shop: httpx.Client) -> None:
    open_try(page, shop, "?user=user-3")
    field, conditions = page.get_by_label("Filter"), page.get_by_role("group", name="Begin a condition")
    expect(conditions.get_by_role("button")).to_have_text(["=", "!=", "contains"])
    conditions.get_by_role("button", name="=", exact=True).click()
    expect(field).to_be_focused()
    page.keyboard.type("oak")
    with page.expect_response(lambda response: "filter=" in response.url):
        field.press("Enter")
    page.locator(".shelf:not(.stale)").wait_for()

    assert shown(page) == recommended(shop, "user-3", filter="material = oak")
    conditions.get_by_label("Attribute").select_option("net weight (number)")
    expect(conditions.get_by_role("button")).to_have_text(["=", "!=", "<", "<=", ">", ">="])
    conditions.get_by_role("button", name="<=").click()
    expect(field).to_have_value("material = oak and `net weight` <= ")


def test_a_scenario_sets_the_options_and_the_address_holds_them(page: Page, shop: httpx.Client) -> None:
    open_try(page, shop, "?user=user-3")
    page.get_by_role("button", name="One of each kind").click()
    expect(page.locator(".shelf [data-item]")).to_have_count(4)
    assert page.url.endswith("#/try?user=user-3&cap=1")
    page.reload()
    expect(page.get_by_label("At most of one category")).to_have_value("1")
    expect(page.locator(".shelf [data-item]")).to_have_count(4)


def test_the_fields_of_exploration_are_named_without_their_hints(page: Page, shop: httpx.Client) -> None:
    open_try(page, shop, "?user=user-3")
    page.get_by_role("button", name="Explore").click()
    expect(page.get_by_label("Exploration", exact=True)).to_have_value("0.34")
    expect(page.get_by_label("Seed", exact=True)).to_have_value("1")
    expect(page.get_by_label("Seed", exact=True)).to_have_accessible_description(re.compile("^Draws the explored"))


def test_the_slider_is_named_diversity(page: Page, shop: httpx.Client) -> None:
    open_try(page, shop, "?user=user-3")
    page.get_by_role("slider", name="Diversity", exact=True).fill("0.4")
    expect(page.get_by_label("Alike in")).to_be_visible()
    assert page.url.endswith("#/try?user=user-3&diversity=0.4")


def test_pictures_of_cards_and_of_past_items_load(page: Page, shop: httpx.Client) -> None:
    open_try(page, shop, "?user=user-6")
    for picture in (page.locator(".frame img").first, page.locator(".past .thumbnail img").first):
        expect(picture).to_have_js_property("naturalWidth", 64)


def test_everything_opened_fits_a_phone_in_the_dark_and_axe_finds_nothing_serious(
    browser: Browser, shop: httpx.Client
) -> None:
    with new_page(browser, viewport=PHONE, color_scheme="dark") as page:
        open_try(page, shop, "?did=like:item-3&did=dislike:item-4&did=purchase:item-5&diversity=0.3")
        page.locator("summary", has_text="Options of the list").click()
        page.get_by_role("switch").first.click()
        expect(page.locator(".rank-without").first).to_have_text(re.compile("rank"))
        page.locator(".shelf [data-item]").nth(1).locator("summary").click()
        page.get_by_label("Filter").fill("material ==")
        page.get_by_label("Filter").press("Enter")
        expect(page.locator("#filter-said")).to_contain_text("expected a value")
        page.get_by_role("combobox", name="User").fill("user-1")
        expect(page.locator("#users-found [role=option]")).to_have_count(8)

        assert serious_problems(page) == []
        assert not overflows(page)


def test_a_long_id_without_spaces_fits_a_phone(browser: Browser, shop: httpx.Client) -> None:
    with new_page(browser, viewport=PHONE) as page:
        open_try(page, shop, f"?user={'U' * 200}")
        expect(page.locator("[data-kept=stored]")).to_contain_text("nothing is known yet")

        assert not overflows(page)


@pytest.mark.parametrize(
    "query", ["?user=user-3&filter=material+%3D+oak&category=chair", "?did=like:item-3&did=purchase:item-5"]
)
def test_the_copied_command_and_python_give_the_items_that_are_shown(
    browser: Browser, shop: httpx.Client, query: str
) -> None:
    with new_page(browser, permissions=["clipboard-read", "clipboard-write"]) as page:
        open_try(page, shop, query)
        listed = shown(page)
        page.get_by_role("button", name="Copy curl").click()
        expect(page.get_by_role("button", name="Copy curl")).to_have_text("Copied")
        command = page.evaluate("navigator.clipboard.readText()")
        code = page.locator("[data-snippet=python]").inner_text()
    answer = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True).stdout
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert [item["item_id"] for item in json.loads(answer)["items"]] == listed
    assert [line.split()[0] for line in printed.splitlines()] == listed


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, dict[str, str]]]:
    """A service that requires keys, and one of each role."""
    folder = tmp_path_factory.mktemp("keyed")
    publish(folder / "registry")
    made = {role: new_key(role, role) for role in ("read", "write")}
    (folder / "keys.jsonl").write_text("".join(f"{line}\n" for _, line in made.values()))
    with serving(registry=folder / "registry", data=folder / "data", api_keys_file=folder / "keys.jsonl") as client:
        yield client, {role: key for role, (key, _) in made.items()}


def sign_in(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Use").click()


def test_with_keys_required_the_view_says_so_and_works_with_one_that_it_shows_nowhere(
    page: Page, keyed: tuple[httpx.Client, dict[str, str]]
) -> None:
    client, keys = keyed
    open_view(page, str(client.base_url), "try?user=user-3")
    expect(page.get_by_role("alert").first).to_contain_text("Enter an API key at the top of the page.")
    sign_in(page, keys["write"])
    expect(page.locator("[data-source=user]")).to_be_visible()
    page.locator("[data-act=like]").first.click()
    expect(page.locator("[data-source=fold_in]")).to_be_visible()
    command = page.locator("[data-snippet=curl]").inner_text()

    assert leaks(page, keys["write"]) == []
    assert "Bearer $RECO_KEY" in command
    environment = {**os.environ, "RECO_KEY": keys["write"]}
    answer = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, env=environment).stdout
    assert [item["item_id"] for item in json.loads(answer)["items"]] == shown(page)


def test_a_key_that_may_only_read_shows_lists_and_says_what_it_may_not(
    page: Page, keyed: tuple[httpx.Client, dict[str, str]]
) -> None:
    client, keys = keyed
    open_view(page, str(client.base_url), "try?user=user-5")
    sign_in(page, keys["read"])
    page.locator("[data-act=like]").first.click()
    expect(page.get_by_role("alert")).to_contain_text("The key's role does not allow this")
    page.get_by_role("combobox", name="User").fill("user-7")
    expect(page.locator(".found")).to_contain_text("needs a key of role write")
    page.get_by_role("combobox", name="User").press("Enter")

    expect(page.locator("[data-kept=stored]")).to_contain_text("user-7")
    expect(page.locator("[data-source=user]")).to_be_visible()
