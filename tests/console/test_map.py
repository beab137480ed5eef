"""The map of the console: what is drawn, what switches it off, and how an item on it is found and opened."""

import re
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
from browsers import PHONE, new_page, open_view, overflows, serious_problems
from bundles import make_content, make_map
from playwright.sync_api import Browser, Page, expect
from servers import publish, serving, wait_until

ALONE = (0.9, 0.2)  # where one item lies, far from all others
BLUE, ORANGE = (0x00, 0x72, 0xFF), (0xD8, 0x7B, 0x1B)  # the first two groups, in light


@pytest.fixture(scope="module")
def mapped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service whose item-3 lies alone and all others in the left half."""
    positions = make_map().positions * np.float32([0.4, 1])
    positions[3] = ALONE
    registry = tmp_path_factory.mktemp("registry")
    publish(registry, make_content(map=make_map(positions=positions)))
    with serving(registry=registry) as client:
        yield client


@pytest.fixture
def opened(page: Page, mapped: httpx.Client) -> Page:
    open_map(page, mapped)
    return page


def open_map(page: Page, service: httpx.Client, address: str = "map") -> None:
    page.emulate_media(color_scheme="light")
    open_view(page, str(service.base_url), address)
    page.wait_for_selector("canvas")
    drawn(page)


def drawn(page: Page) -> None:
    """Wait for the frame after what was done last."""
    page.evaluate("new Promise(resume => requestAnimationFrame(() => requestAnimationFrame(resume)))")


def pixels(page: Page, colour: tuple[int, int, int]) -> int:
    """How many pixels of the canvas have exactly this colour."""
    drawn(page)
    return int(
        page.evaluate(
            """colour => {
                const canvas = document.querySelector('canvas');
                const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
                let found = 0;
                for (let i = 0; i < data.length; i += 4)
                    found += data[i] === colour[0] && data[i + 1] === colour[1] && data[i + 2] === colour[2];
                return found;
            }""",
            colour,
        )
    )


def at_the_lone_item(page: Page) -> dict[str, float]:
    """Its place on the canvas while the whole map is shown."""
    box = page.locator("canvas").bounding_box()
    assert box is not None
    side = 0.94 * min(box["width"] - 2, box["height"] - 2)
    x, y = ((place - 0.5) * side + size / 2 for place, size in zip(ALONE, (box["width"], box["height"]), strict=True))
    return {"x": x, "y": y}


def test_every_group_is_drawn_and_one_that_is_switched_off_disappears(opened: Page) -> None:
    before = pixels(opened, BLUE), pixels(opened, ORANGE)
    assert min(before) > 50
    legend = opened.get_by_role("group", name="Categories")
    legend.get_by_role("checkbox").nth(0).uncheck()
    assert (pixels(opened, BLUE), pixels(opened, ORANGE)) == (0, before[1])
    legend.get_by_role("button", name="Hide all").click()
    assert pixels(opened, ORANGE) == 0
    legend.get_by_role("button", name="Show all").click()
    assert (pixels(opened, BLUE), pixels(opened, ORANGE)) == before


def test_the_legend_names_each_group_with_its_number_of_items(opened: Page) -> None:
    legend = opened.get_by_role("group", name="Categories")
    for name in ("chair", "lamp", "table", "rug"):
        expect(legend.get_by_role("checkbox", name=re.compile(f"{name} ?10"))).to_be_checked()
    opened.get_by_label("Colours").select_option("Clusters")
    expect(opened.get_by_role("group", name="Clusters")).to_contain_text("cluster 1, mostly chair")
    assert opened.url.endswith("#/map?by=cluster")


def test_the_item_under_the_pointer_is_named_and_a_click_opens_it(opened: Page) -> None:
    canvas = opened.locator("canvas")
    canvas.hover(position=at_the_lone_item(opened))
    expect(opened.locator(".map-card")).to_contain_text("oak rug no. 3")
    canvas.click(position=at_the_lone_item(opened))
    expect(opened).to_have_url(re.compile("#/items/item-3$"))


def test_a_drag_and_the_wheel_move_the_map_and_open_nothing(opened: Page) -> None:
    place = at_the_lone_item(opened)
    canvas = opened.locator("canvas")
    canvas.hover(position=place)
    opened.mouse.down()
    opened.mouse.move(300, 600, steps=3)
    opened.mouse.up()
    expect(opened).to_have_url(re.compile("#/map$"))
    canvas.hover(position=place)
    expect(opened.locator(".map-card")).to_have_count(0)  # the item went along
    opened.get_by_role("button", name="All of the map").click()
    before = pixels(opened, BLUE)
    canvas.hover(position={"x": place["x"] / 2, "y": place["y"]})
    opened.mouse.wheel(0, -300)
    assert pixels(opened, BLUE) != before
    canvas.press("0")
    assert pixels(opened, BLUE) == before


def test_the_keyboard_zooms_moves_chooses_and_opens(opened: Page) -> None:
    canvas = opened.locator("canvas")
    canvas.focus()
    before = pixels(opened, BLUE)
    canvas.press("+")
    assert pixels(opened, BLUE) != before
    canvas.press("ArrowLeft")
    canvas.press("0")
    assert pixels(opened, BLUE) == before
    canvas.press("Enter")
    for _ in range(40):  # from one item to the next on its right, until none is left: the lone one
        canvas.press("Shift+ArrowRight")
    expect(opened.locator(".map-card")).to_contain_text("oak rug no. 3")
    canvas.press("Enter")
    expect(opened).to_have_url(re.compile("#/items/item-3$"))


def test_back_from_an_item_the_map_is_as_it_was_left(opened: Page) -> None:
    legend = opened.get_by_role("group", name="Categories")
    legend.get_by_role("checkbox").nth(1).uncheck()
    canvas = opened.locator("canvas")
    canvas.press("+")
    left = pixels(opened, BLUE)
    canvas.press("Enter")
    canvas.press("Enter")
    expect(opened).to_have_url(re.compile("#/items/"))
    opened.go_back()

    expect(legend.get_by_role("checkbox").nth(1)).not_to_be_checked()
    wait_until(lambda: pixels(opened, BLUE) == left)  # the canvas is drawn once it has its size
    assert pixels(opened, ORANGE) == 0


def test_a_users_list_and_past_are_drawn_and_listed_with_links(page: Page, mapped: httpx.Client) -> None:
    open_map(page, mapped)
    ink = (0x16, 0x19, 0x1F)
    assert pixels(page, ink) == 0
    page.get_by_role("combobox", name="User").fill("user-3")
    options = page.get_by_role("listbox", name="Users found").get_by_role("option")
    expect(options).to_have_text([re.compile("^user-3 ")])
    page.get_by_role("button", name="Show on the map").click()
    best = mapped.get("/recommend/user-3", params={"k": 20, "explain": True}).json()["items"]
    rows = page.locator("ol.map-list li")
    expect(rows).to_have_count(len(best))
    expect(rows.first.get_by_role("link", name=best[0]["title"])).to_have_attribute(
        "href", f"#/items/{best[0]['item_id']}"
    )
    past = {one["item_id"] for item in best for one in item["explanation"]["past_items"]}
    expect(page.locator("ul.map-list li")).to_have_count(len(past))
    drawn_items = pixels(page, ink)
    assert drawn_items > 1_000
    page.get_by_label("Lines to past items").check()
    assert page.url.endswith("#/map?user=user-3&by=category")
    assert serious_problems(page) == []


def test_an_unknown_user_is_said_to_be_unknown(page: Page, mapped: httpx.Client) -> None:
    open_map(page, mapped, "map?user=nemo")
    expect(page.get_by_text("User nemo is unknown here: the list is that of popular items.")).to_be_visible()


def test_a_long_user_id_fits_a_phone(browser: Browser, mapped: httpx.Client) -> None:
    with new_page(browser, viewport=PHONE) as page:
        open_view(page, str(mapped.base_url), f"map?user={'U' * 200}")
        expect(page.get_by_role("heading", name="List of UUU")).to_be_visible()
        assert not overflows(page)


def test_a_bundle_without_a_map_says_so_and_how_to_get_one(page: Page, service: httpx.Client) -> None:
    open_view(page, str(service.base_url), "map")
    expect(page.get_by_text("it was exported with --no-map; export or retrain to have one")).to_be_visible()
    expect(page.get_by_text("python -m trainer export RUN")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_and_a_phone_holds_it(browser: Browser, mapped: httpx.Client, scheme: str) -> None:
    with new_page(browser, viewport=PHONE, color_scheme=scheme, has_touch=True) as page:
        open_view(page, str(mapped.base_url), "map?user=user-3")
        page.locator("canvas").tap(position=at_the_lone_item(page))
        link = page.locator(".map-card").get_by_role("link", name="oak rug no. 3")  # a finger has no hover
        expect(link).to_be_visible()
        assert not overflows(page)
        assert serious_problems(page) == []


def test_a_screen_with_finer_pixels_gets_them(browser: Browser, mapped: httpx.Client) -> None:
    with new_page(browser, device_scale_factor=2) as page:
        open_map(page, mapped)
        assert page.evaluate("(c => c.width / c.clientWidth)(document.querySelector('canvas'))") == 2
