"""One Chromium and one service for the views; a test that changes what the service keeps starts its own."""

from collections.abc import Iterator

import httpx
import pytest
from browsers import new_page, open_browser
from playwright.sync_api import Browser, Page
from servers import publish, serving


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Closed at the end of the module: while it is open, other tests of this process could run no event loop."""
    with open_browser() as opened:
        yield opened


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with new_page(browser) as opened:
        yield opened


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service of the small bundle; anybody may do anything. While it is open, other tests would log errors alone."""
    registry = tmp_path_factory.mktemp("registry")
    publish(registry)
    with serving(registry=registry) as client:
        yield client
