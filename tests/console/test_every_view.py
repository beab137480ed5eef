"""What holds for every view: it opens, fits a phone, works in light and dark, and axe finds nothing serious."""

import httpx
import pytest
from browsers import PHONE, new_page, open_view, overflows, serious_problems
from playwright.sync_api import Browser

VIEWS = (
    "try?user=user-3",
    "items",
    "items/item-3",
    "map",
    "models",
    "experiments",
    "experiments?show=new",
    "experiments?show=quality",
    "health",
)

TRANSITIONS = "document.getAnimations().filter(one => one instanceof CSSTransition)"


@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing_serious_in_light_and_in_dark(browser: Browser, service: httpx.Client, view: str) -> None:
    with new_page(browser, color_scheme="light") as page:
        open_view(page, str(service.base_url), view)
        assert serious_problems(page) == []
        page.emulate_media(color_scheme="dark")
        page.evaluate(f"Promise.all({TRANSITIONS}.map(one => one.finished))")
        assert serious_problems(page) == []


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_is_no_wider_than_a_phone(browser: Browser, service: httpx.Client, view: str) -> None:
    with new_page(browser, viewport=PHONE) as page:
        open_view(page, str(service.base_url), view)

        assert not overflows(page)
