"""The view of experiments and of quality: what it shows is what the API says, and its buttons do what they say."""

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from browsers import PHONE, new_page, open_view, overflows, serious_problems
from experiment_worlds import registry_of, two_arms
from playwright.sync_api import Browser, Locator, Page, expect
from servers import serving

from service.experiments.assignment import Assignment

TRIAL = "trial"
DAY_S = 86_400
SHOWN = 5  # items of each list


@pytest.fixture
def service(tmp_path: Path) -> Iterator[httpx.Client]:
    """A service of two bundles, the older published, that a test may change."""
    with serving(registry=registry_of(tmp_path / "registry", 2).folder, gpu="off") as client:
        yield client


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A service with an experiment of 400 users who saw lists and clicked; no test changes it."""
    with serving(registry=registry_of(tmp_path_factory.mktemp("running"), 2).folder, gpu="off") as client:
        start(client)
        show_lists(client, 400, clicks=lambda i: i % 4 == 0, buys=lambda i: i % 10 == 0)
        yield client


def newest_bundle(client: httpx.Client) -> str:
    return str(client.get("/bundles").json()["bundles"][0]["bundle_id"])


def start(client: httpx.Client, **more: Any) -> None:
    given = two_arms(newest_bundle(client), **more).model_dump(mode="json")
    client.put(f"/experiments/{TRIAL}", json=given).raise_for_status()


def show_lists(
    client: httpx.Client,
    users: int,
    *,
    clicks: Callable[[int], bool] = lambda i: False,
    buys: Callable[[int], bool] = lambda i: False,
    among: Callable[[str], bool] = lambda user: True,
    at: float | None = None,
) -> None:
    """A list for each user: some click its first item, and some buy it for 12.5."""
    events: list[dict[str, Any]] = []
    for i, user in enumerate([f"shopper-{i}" for i in range(users)]):
        if among(user):
            common = {"user_id": user, "request_id": f"list-{at}-{i}", "timestamp": at}
            events.append(common | {"kind": "impression", "value": SHOWN})
            events += [common | {"kind": "click", "item_id": "item-1"}] if clicks(i) else []
            events += [common | {"kind": "purchase", "item_id": "item-1", "value": 12.5}] if buys(i) else []
    client.post("/events", json=events).raise_for_status()


def show(page: Page, client: httpx.Client, view: str = "experiments") -> None:
    open_view(page, str(client.base_url), view)


def row(page: Page, table: str, first: str) -> Locator:
    """The row of a table, or of its region, that begins with `first`."""
    header = page.get_by_role("rowheader", name=re.compile(f"^{re.escape(first)}"))
    return page.get_by_role("region", name=table).get_by_role("row").filter(has=header)


def percent(share: float) -> str:
    return f"{100 * share:.3g}%"


def test_the_running_experiment_has_the_figures_of_its_report(page: Page, running: httpx.Client) -> None:
    report = running.get(f"/experiments/{TRIAL}").json()
    candidate = report["arms"][1]
    measure, lift = candidate["click_through"], candidate["click_through"]["lift"]

    show(page, running)

    expect(page.get_by_text(report["decision"])).to_be_visible()
    counted = row(page, "Arms", "candidate")
    for field in ("users", "impressions", "clicks", "conversions"):
        expect(counted.get_by_role("cell", name=f"{candidate[field]:,}", exact=True).first).to_be_visible()
    measured = row(page, "Click-through of each arm", "candidate")
    expect(measured).to_contain_text(percent(measure["value"]))
    expect(measured).to_contain_text(" to ".join(map(percent, measure["interval"])))
    expect(measured).to_contain_text("no difference shown yet" if lift["verdict"] is None else lift["verdict"])


def test_an_arm_with_too_little_data_says_what_is_missing(page: Page, running: httpx.Client) -> None:
    missing = running.get(f"/experiments/{TRIAL}").json()["arms"][1]["revenue_per_user"]["lift"]["too_little"]

    show(page, running)

    assert missing
    expect(row(page, "Revenue per user of each arm", "candidate")).to_contain_text(f"too little data: {missing}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_is_accessible_and_fits_a_phone(browser: Browser, running: httpx.Client, scheme: str) -> None:
    with new_page(browser, viewport=PHONE, color_scheme=scheme) as page:
        show(page, running, f"experiments/{TRIAL}")
        expect(page.get_by_role("heading", name=TRIAL)).to_be_visible()

        assert serious_problems(page) == []
        assert not overflows(page)


def test_users_who_do_not_fall_into_the_arms_by_weight_are_an_alert(page: Page, service: httpx.Client) -> None:
    start(service)
    of_control = Assignment(TRIAL, two_arms(None).arms)
    show_lists(service, 200, among=lambda user: of_control.arm_of(user) == "control")

    show(page, service)

    warning = service.get(f"/experiments/{TRIAL}").json()["warnings"][0]
    expect(page.get_by_role("alert")).to_contain_text(warning)


def test_an_earlier_phase_is_chosen_and_in_the_address(page: Page, service: httpx.Client) -> None:
    start(service, share=10)
    start(service, share=30)
    show(page, service)

    page.get_by_label("Phase").select_option("1")

    expect(row(page, "Arms", "candidate")).to_contain_text("10%")
    assert page.url.endswith(f"/console#/experiments/{TRIAL}?phase=1")


def test_an_experiment_is_started_by_the_form(page: Page, service: httpx.Client) -> None:
    bundle = newest_bundle(service)
    show(page, service)
    expect(page.get_by_role("heading", name="No experiment runs")).to_be_visible()
    expect(page.get_by_text("RECO_LOG_IMPRESSIONS=true")).to_be_visible()
    page.get_by_role("link", name="Start an experiment").click()

    page.get_by_label("Name", exact=True).fill("bigger-model")
    page.get_by_label("Bundle of the arm").select_option(bundle)
    page.get_by_role("button", name="Start the experiment").click()

    expect(page.get_by_role("heading", name="bigger-model")).to_be_visible()
    started = service.get("/experiments").json()["running"]
    assert [(arm["name"], arm["weight"], arm["bundle"]) for arm in started["arms"]] == [
        ("control", 90, None),
        ("candidate", 10, bundle),
    ]


def test_a_wrong_weight_is_refused_in_the_services_words(page: Page, service: httpx.Client) -> None:
    show(page, service, "experiments?show=new")
    page.get_by_label("Name", exact=True).fill("bigger-model")
    page.get_by_label("Weight, in percent").last.fill("20")

    page.get_by_role("button", name="Start the experiment").click()

    expect(page.get_by_role("alert")).to_contain_text("arms: the weights sum to 110, expected 100")
    assert service.get("/experiments").json()["running"] is None


def test_a_name_that_no_experiment_may_have_is_told_in_words_and_not_sent(page: Page, service: httpx.Client) -> None:
    show(page, service, "experiments?show=new")
    page.get_by_label("Name", exact=True).fill("bigger model")

    page.get_by_role("button", name="Start the experiment").click()

    expect(page.get_by_role("alert")).to_contain_text("small letters, digits, dots, hyphens and underscores")
    expect(page.get_by_role("alert")).to_have_count(1)


def test_other_weights_begin_a_phase_and_keep_the_arms_bundle(page: Page, service: httpx.Client) -> None:
    start(service, share=10)
    show(page, service, f"experiments/{TRIAL}?show=change")
    for i, weight in enumerate(("60", "40")):
        page.get_by_label("Weight, in percent").nth(i).fill(weight)

    page.get_by_role("button", name="Change the experiment").click()

    expect(page.get_by_label("Phase")).to_have_value("2")
    candidate = service.get("/experiments").json()["running"]["arms"][1]
    assert (candidate["weight"], candidate["bundle"]) == (40, newest_bundle(service))


def test_the_end_with_a_winner_publishes_its_bundle(page: Page, service: httpx.Client) -> None:
    start(service)
    bundle = newest_bundle(service)
    show(page, service)
    page.get_by_role("button", name="End the experiment").click()
    question = page.get_by_role("dialog")
    question.get_by_label("Winner").select_option("candidate")
    expect(question).to_contain_text(f"The gate checks {bundle}, it is published, and every user gets it.")

    question.get_by_role("button", name="End the experiment").click()

    expect(page.get_by_role("heading", name="No experiment runs")).to_be_visible()
    expect(page.get_by_role("status")).to_have_text(f"{TRIAL} has ended. {bundle} is published to everybody.")
    expect(row(page, "Experiments that ended", TRIAL)).to_contain_text("candidate")
    assert service.get("/bundles").json()["published"] == bundle


def test_an_arm_ends_after_a_question_and_not_before(page: Page, service: httpx.Client) -> None:
    start(service)
    show(page, service)
    page.get_by_role("button", name="End candidate").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(row(page, "Arms", "candidate")).to_contain_text("serving")
    expect(page.get_by_role("button", name="End candidate")).to_be_focused()

    page.keyboard.press("Enter")
    page.get_by_role("dialog").get_by_role("button", name="End the arm").click()

    expect(row(page, "Arms", "candidate")).to_contain_text("ended without a key")


def test_where_admin_requests_are_closed_reports_stay_and_changes_say_why(page: Page, tmp_path: Path) -> None:
    registry = registry_of(tmp_path / "registry", 2).folder
    with serving(registry=registry, gpu="off") as client:
        start(client)
    with serving(registry=registry, gpu="off", admin_open=False) as client:
        show(page, client)
        page.get_by_role("button", name="Other bundle for candidate").click()
        question = page.get_by_role("dialog")
        question.get_by_label("Bundle").fill("20260102T000000Z-anchorrec-0123abcd")
        question.get_by_role("button", name="Give it this bundle").click()

        refusal = client.post(f"/experiments/{TRIAL}/end-arm", json={"arm": "candidate"})
        expect(question.get_by_role("alert")).to_contain_text(refusal.json()["detail"])
        question.get_by_role("button", name="Cancel").click()
        expect(row(page, "Arms", "candidate")).to_contain_text("serving")


def test_quality_has_the_rates_of_what_was_sent(page: Page, running: httpx.Client) -> None:
    show(page, running, "experiments?show=quality")

    clicked = row(page, "Click-through by bundle", "all")
    expect(clicked).to_contain_text("5%")  # 100 clicks of 2,000 items
    expect(clicked).to_contain_text("4.13% to 6.04%")  # Wilson's
    expect(row(page, "Hit rate by bundle", "all")).to_contain_text("25%")
    expect(row(page, "Conversion by bundle", "all")).to_contain_text("2%")
    counts = row(page, "Counts by bundle", "all").get_by_role("cell")
    expect(counts).to_have_text(["400", "2,000", "100", "40", "500", "1.25"])


def test_a_day_has_the_clicks_of_its_own_lists(page: Page, service: httpx.Client) -> None:
    show_lists(service, 40, clicks=lambda i: i < 10, at=time.time() - 2 * DAY_S)
    show_lists(service, 20, clicks=lambda i: i < 2)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "by=day" in request.url else None)
    show(page, service, "experiments?show=quality")

    page.get_by_text("The numbers").click()

    days = page.get_by_role("region", name="Click-through by day").get_by_role("row")
    expect(days.nth(1)).to_contain_text(re.compile("100.*2.*2%"))
    expect(days.nth(3)).to_contain_text(re.compile("200.*10.*5%"))
    assert len(asked) == 1


def test_where_lists_are_in_the_log_it_is_not_said_how_to_get_them_there(page: Page, service: httpx.Client) -> None:
    show_lists(service, 1, at=time.time() - DAY_S / 4)
    show(page, service)
    expect(page.get_by_role("link", name="Start an experiment")).to_be_visible()
    expect(page.get_by_text("RECO_LOG_IMPRESSIONS")).to_have_count(0)

    show(page, service, "experiments?show=quality&hours=1")
    expect(page.get_by_text("The log has 1 list of the last 30 days: choose a longer window")).to_be_visible()


def test_without_impressions_quality_says_where_they_come_from(page: Page, service: httpx.Client) -> None:
    click = {"user_id": "user-1", "item_id": "item-1", "kind": "click"}
    service.post("/events", json=click).raise_for_status()

    show(page, service, "experiments?show=quality")

    expect(page.get_by_role("heading", name="No list was shown in this window")).to_be_visible()
    expect(page.get_by_text("RECO_LOG_IMPRESSIONS=true")).to_be_visible()
    expect(page.get_by_role("term")).to_have_text(["click"])
