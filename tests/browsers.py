"""A real Chromium for tests of the console: Debian's package, driven by Playwright, with axe for accessibility."""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, expect, sync_playwright

from service.http.console_page import BUILT

AXE = BUILT.parent / "node_modules" / "axe-core" / "axe.min.js"
# Without these Chromium calls Google's hosts at every start.
ARGUMENTS = ("--no-sandbox", "--disable-quic", "--disable-background-networking", "--disable-component-update")
PHONE, DESKTOP = {"width": 360, "height": 740}, {"width": 1280, "height": 900}
PATIENCE_MS = 30_000  # a busy machine; Playwright's own 5 seconds for an expectation are too few there
expect.set_options(timeout=PATIENCE_MS)
SERIOUS = ("serious", "critical")


def chromium() -> str:
    """The path of Chromium: CHROMIUM, or what Debian's package installs."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium")
    if found is None:
        raise RuntimeError("found no Chromium: `apt-get install chromium`, or set CHROMIUM to the path of one")
    return found


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Chromium without a window."""
    if not (BUILT / "index.html").is_file():
        raise RuntimeError(f"{BUILT} has no console: run `make console`")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def new_page(browser: Browser, **options: Any) -> Iterator[Page]:
    """A page with nothing of earlier ones; an error of its scripts, or a request to another host, fails the test."""
    context = browser.new_context(**{"viewport": DESKTOP, **options})
    page = context.new_page()
    page.set_default_timeout(PATIENCE_MS)
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: _is_foreign(request.url) and wrong.append(f"requested {request.url}"))
    page.on("console", lambda message: _violates(message.text) and wrong.append(message.text))
    try:
        yield page
    finally:
        context.close()
    assert wrong == []


def _is_foreign(url: str) -> bool:
    return re.match(r"(http://127\.0\.0\.1:\d+/|blob:|data:)", url) is None


def _violates(text: str) -> bool:
    return "Content Security Policy" in text


def open_view(page: Page, base_url: str, view: str) -> None:
    """Open a view by its address, such as `try?user=user-3`, and wait until nothing in it loads."""
    page.goto(f"{base_url}/console#/{view}")
    page.wait_for_selector("main h1")
    expect(page.locator("[role=status]", has_text=re.compile("^Loading"))).to_have_count(0)


def serious_problems(page: Page) -> list[str]:
    """What axe calls serious or critical on the page as it is, one line each."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE.read_text())  # the page's policy allows no script element
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {node['target']} {node['failureSummary']}"
        for one in found["violations"]
        if one["impact"] in SERIOUS
        for node in one["nodes"]
    ]


def overflows(page: Page) -> bool:
    """Whether the page is wider than its window."""
    return bool(page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))


def leaks(page: Page, key: str) -> list[str]:
    """Where the page holds the key: in its text, its address, its storage, its cookies or the value of a field."""
    places: dict[str, str] = page.evaluate(
        """() => ({
            html: document.documentElement.outerHTML,
            address: location.href,
            storage: JSON.stringify([{...localStorage}, {...sessionStorage}]),
            cookies: document.cookie,
            fields: [...document.querySelectorAll('input, textarea')].map(field => field.value).join('\\n'),
        })"""
    )
    return [place for place, text in places.items() if key in text]


def pictures_of(folder: Path, item_ids: list[str]) -> Path:
    """A folder with a small picture for each item: `ITEM.png`, each of another colour."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for i, item_id in enumerate(item_ids):
        Image.new("RGB", (64, 64), (i * 47 % 256, i * 89 % 256, i * 151 % 256)).save(folder / f"{item_id}.png")
    return folder
