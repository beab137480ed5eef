"""`make screenshots`: the console's views of the demo in a real Chromium, written to docs/screenshots/.

Beside the tests, as it drives the browser as they do, and nothing that ships needs Playwright.
"""

import argparse
import io
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from browsers import PHONE, new_page, open_browser, open_view
from PIL import Image
from playwright.sync_api import Browser, Page

from deploy.processes import free_port, stack
from service.client import Client, GivenEvent

MOST_BYTES = 250_000
COLOURS = (None, 256, 128, 64)  # None: all of them; of these the most that keep a picture small
SAMPLES, SAMPLE_MS = 4, 5_000  # of the view Health
N_USERS, N_CLICKS, EXPERIMENT = 900, 3, "simpler-model"


def main() -> None:
    """Start the demo's service, let it live a little, and take the pictures."""
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--registry", type=Path, required=True)
    given.add_argument(
        "--runs", type=Path, required=True, help="where the run `ease` is, which makes the second bundle"
    )
    given.add_argument("--images", type=Path, required=True)
    given.add_argument("--data", type=Path, required=True, help="the dataset that the service may retrain on")
    given.add_argument("--out", type=Path, default=Path("docs/screenshots"))
    options = given.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    with service_of(options.registry, options.runs, options.images, options.data) as client, open_browser() as browser:
        user, item = live_a_little(client)
        take(browser, client, options.out, user, item)


@contextmanager
def service_of(registry: Path, runs: Path, images: Path, data: Path) -> Iterator[httpx.Client]:
    """The service on a copy of the registry that has a second bundle."""
    # The second model is worse than the gate would let through.
    gate = {"RECO_GATE": '{"metric_margin": 0.5}'}
    settings = {"RECO_ADMIN_OPEN": "true", "RECO_LOG_IMPRESSIONS": "true", "RECO_RETRAIN_DATA": str(data), **gate}
    with tempfile.TemporaryDirectory(prefix="anchorrec-screenshots-") as folder:
        copy = Path(folder) / "bundles"
        shutil.copytree(registry, copy, ignore=shutil.ignore_patterns("service"))
        if len([*copy.glob("*/manifest.json")]) < 2:
            command = [sys.executable, "-m", "trainer", "export", str(runs / "ease"), "--registry", str(copy)]
            subprocess.run([*command, "--encoders", "none"], check=True, stdout=subprocess.DEVNULL)
        with stack(copy, free_port(), images, settings) as client:
            yield client


def live_a_little(client: httpx.Client) -> tuple[str, str]:
    """Start an experiment and send visitors who click; returns a user with a past, and an item of that user's list."""
    bundles = client.get("/bundles").raise_for_status().json()
    other = next(one["bundle_id"] for one in bundles["bundles"] if one["bundle_id"] != bundles["published"])
    arms = [{"name": "control", "weight": 50}, {"name": "ease", "weight": 50, "bundle": other}]
    client.put(f"/experiments/{EXPERIMENT}", json={"arms": arms}).raise_for_status()
    users = [one["user_id"] for one in client.get("/users", params={"k": 100}).raise_for_status().json()["users"]]
    rng = random.Random(7)
    with Client(str(client.base_url)) as visitors:
        events = []
        for n in range(N_USERS):
            user_id = users[n] if n < len(users) else f"visitor-{n}"
            shown = visitors.recommend(user_id, k=10)
            kinds = rng.choices(["click", "like", "purchase"], [8, 3, 1], k=rng.randrange(N_CLICKS))
            for kind in kinds:
                item_id = rng.choice(shown.items).item_id
                events.append(GivenEvent(user_id=user_id, item_id=item_id, kind=kind, request_id=shown.request_id))
        visitors.send_events(events)
        # A list of the demo's own model, whose scores have several parts.
        lists = {user_id: visitors.recommend(user_id, k=1) for user_id in users}
        user = next(user_id for user_id, shown in lists.items() if shown.arm == "control")
        return user, lists[user].items[0].item_id


def take(browser: Browser, client: httpx.Client, out: Path, user: str, item: str) -> None:
    """Each view in light, the first one also in dark and on a phone; of some what is further down."""
    first = f"try?user={user}"
    a, b = (one["bundle_id"] for one in client.get("/bundles").json()["bundles"][:2])
    views: dict[str, tuple[str, dict[str, Any], str]] = {  # address, options of the browser, heading at the top
        "try": (first, {}, ""),
        "try-dark": (first, {"color_scheme": "dark"}, ""),
        "try-phone": (first, {"viewport": PHONE}, ""),
        "items": (f"items/{item}", {}, ""),
        "neighbours": (f"items/{item}", {}, "Neighbours"),
        "map": (f"map?user={user}", {}, ""),
        "models": ("models", {}, ""),
        "comparison": (f"models?a={b}&b={a}&user={user}", {}, "Comparison"),
        "experiments": (f"experiments/{EXPERIMENT}", {}, ""),
        "health": ("health", {}, ""),
    }
    for name, (view, options, heading) in views.items():
        with new_page(browser, **{"color_scheme": "light", **options}) as page:
            open_view(page, str(client.base_url), view)
            if view == "health":
                show_traffic(page, client)
            settle(page)
            if heading:
                page.get_by_role("heading", name=heading).first.evaluate("one => one.scrollIntoView()")
                settle(page)
            picture = small(page.screenshot())
            (out / f"{name}.png").write_bytes(picture)
            print(f"{name}.png: {len(picture) / 1000:.0f} kB")


def show_traffic(page: Page, client: httpx.Client) -> None:
    """Send lists while the page takes samples."""
    for n in range(SAMPLES):
        for visitor in range(200 + 40 * n):
            client.get(f"/recommend/visitor-{visitor}", params={"k": 5 + visitor % 40})
        page.wait_for_timeout(SAMPLE_MS)


def settle(page: Page) -> None:
    """Wait until the page requests nothing more and all its pictures in sight are there."""
    page.wait_for_load_state("networkidle")
    page.get_by_text("The charts begin with the second sample").wait_for(state="hidden")
    page.evaluate("Promise.allSettled([...document.images].map(one => one.complete || one.decode()))")


def small(png: bytes) -> bytes:
    """The picture with as many colours as MOST_BYTES allow."""
    whole = Image.open(io.BytesIO(png)).convert("RGB")
    for n_colours in COLOURS:
        file = io.BytesIO()
        fewer = whole if n_colours is None else whole.quantize(n_colours, dither=Image.Dither.NONE)
        fewer.save(file, "PNG", optimize=True)
        if file.tell() <= MOST_BYTES:
            return file.getvalue()
    raise RuntimeError(f"the picture has {file.tell()} bytes with {n_colours} colours; expected at most {MOST_BYTES}")


if __name__ == "__main__":
    main()
