"""Experiments over HTTP: declared, changed, shown and ended."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from bundles import write_small_bundle
from servers import CREATED, serving, wait_until

from index.experiments import DOCUMENT, GivenArm
from index.gate_report import GateCheck, GateReport
from index.records import GateResult, PointerMove
from index.registry import Registry
from service.experiments.assignment import Assignment
from service.experiments.transitions import with_bundle


class Shop:
    """A service with a published bundle and a second one."""

    def __init__(self, client: httpx.Client, registry: Path, first: str, second: str) -> None:
        self.client, self.registry, self.first, self.second = client, registry, first, second

    def put(self, name: str, *arms: dict[str, Any], **more: Any) -> httpx.Response:
        return self.client.put(f"/experiments/{name}", json={"arms": arms, **more})

    def post(self, name: str, action: str, **body: Any) -> httpx.Response:
        return self.client.post(f"/experiments/{name}/{action}", json=body)

    def running(self) -> dict[str, Any] | None:
        return self.client.get("/experiments").json()["running"]  # type: ignore[no-any-return]

    def ready(self) -> dict[str, Any]:
        return self.client.get("/readyz").raise_for_status().json()  # type: ignore[no-any-return]


def arm(name: str, weight: float, bundle: str | None = None) -> dict[str, Any]:
    return {"name": name, "weight": weight, "bundle": bundle}


def arms(response: httpx.Response) -> dict[str, dict[str, Any]]:
    assert response.status_code == 200, response.text
    return {one["name"]: one for one in response.json()["experiment"]["arms"]}


def refusal(response: httpx.Response) -> tuple[int, str, str]:
    told = response.json()
    return response.status_code, told["error"], told["detail"]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    registry, data = tmp_path_factory.mktemp("registry"), tmp_path_factory.mktemp("data")
    first, second = two_bundles(registry)
    with serving(registry=registry, data=data, bundle_poll_s=0.05) as client:
        yield Shop(client, registry, first, second)


def two_bundles(registry: Path) -> tuple[str, str]:
    """The second one served before the first, so that no gate needs to run."""
    first, second = (write_small_bundle(registry, after_seconds=seed, seed=seed).name for seed in range(2))
    for name in (second, first):
        Registry(registry).publish(name, PointerMove(at=CREATED, by="test"))
    return first, second


@pytest.fixture(autouse=True)
def none_runs(shop: Shop) -> Iterator[None]:
    yield
    running = shop.running()
    if running is not None:
        shop.post(running["name"], "end").raise_for_status()


def test_a_declared_experiment_serves_at_once_and_is_listed(shop: Shop) -> None:
    told = arms(shop.put("twins", arm("control", 90), arm("twin", 10)))
    assert {name: (one["weight"], one["state"], one["serves"]) for name, one in told.items()} == {
        "control": (90, "serving", shop.first),
        "twin": (10, "serving", shop.first),
    }
    running = shop.running()
    assert running is not None
    assert (running["name"], running["state"], running["phase"]) == ("twins", "running", 1)


def test_other_weights_begin_a_new_phase(shop: Shop) -> None:
    shop.put("weighed", arm("control", 90), arm("twin", 10))
    changed = shop.put("weighed", arm("control", 80), arm("twin", 20)).json()["experiment"]
    assert (changed["phase"], [one["weight"] for one in changed["arms"]]) == (2, [80, 20])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([arm("control", 50), arm("twin", 40)], "arms: the weights sum to 90, expected 100"),
        ([arm("a", 50), arm("a", 50)], "arms: a appears twice, expected different names"),
        ([arm("a", 50, "20260101T120000Z-x-00000000"), arm("b", 50)], "expected none"),
        ([arm("A", 50), arm("b", 50)], "arms.0.name: string should match pattern"),
    ],
)
def test_wrong_arms_are_refused_with_what_was_found(shop: Shop, given: list[dict[str, Any]], said: str) -> None:
    status, error, detail = refusal(shop.put("wrong", *given))
    assert (status, error) == (422, "invalid_request")
    assert said in detail
    assert shop.running() is None


def test_a_wrong_name_is_refused_with_what_was_expected(shop: Shop) -> None:
    status, _, detail = refusal(shop.put("Two%20Words", arm("control", 100)))
    assert (status, detail) == (
        422,
        "name: expected text of the pattern '^[a-z0-9][a-z0-9._-]{0,63}$', found 'Two Words'",
    )


def test_a_second_experiment_and_another_salt_are_refused_with_what_runs(shop: Shop) -> None:
    shop.put("only", arm("control", 100))
    assert refusal(shop.put("another", arm("control", 100))) == (
        409,
        "experiment_conflict",
        "experiment only runs; end it first, as one runs at a time",
    )
    status, error, detail = refusal(shop.put("only", arm("control", 100), salt="pepper"))
    assert (status, error) == (409, "experiment_conflict")
    assert "found 'pepper', expected 'only'" in detail


def test_an_arm_of_a_bundle_that_is_not_there_changes_nothing(shop: Shop) -> None:
    status, error, _ = refusal(shop.put("none", arm("control", 50), arm("b", 50, "20260101T120000Z-x-00000000")))
    assert (status, error) == (404, "unknown_bundle")
    assert shop.running() is None


def test_an_arm_of_a_bundle_that_the_gate_refuses_changes_nothing(shop: Shop) -> None:
    worse = write_small_bundle(shop.registry, after_seconds=9).name
    check = GateCheck(name="recall", passed=False, found="0.1", required="0.2")
    report = GateReport(bundle_id=worse, checks=(check,))
    Registry(shop.registry).save_gate_report(worse, GateResult(at=CREATED, report=report))
    refused = shop.put("worse", arm("control", 50), arm("b", 50, worse))
    assert refusal(refused)[:2] == (409, "gate_refused")
    assert refused.json()["gate"]["passed"] is False
    assert shop.running() is None


def test_the_end_of_an_experiment_names_the_winner_and_the_bundle_that_everybody_gets(shop: Shop) -> None:
    shop.put("models", arm("control", 90), arm("other", 10, shop.first))
    ended = shop.post("models", "end", winner="other").raise_for_status().json()
    assert (ended["published"], ended["experiment"]["winner"]) == (shop.first, "other")
    assert shop.running() is None


def test_an_arm_gets_another_bundle_and_its_bundle_before(shop: Shop) -> None:
    shop.put("moves", arm("control", 50), arm("b", 50, shop.first))
    assert arms(shop.post("moves", "publish", arm="b", bundle=shop.second))["b"]["serves"] == shop.second
    assert arms(shop.post("moves", "rollback", arm="b", leaving=shop.second))["b"]["serves"] == shop.first


def test_a_repeated_rollback_of_an_arm_with_leaving_changes_nothing(shop: Shop) -> None:
    shop.put("again", arm("control", 50), arm("b", 50, shop.first))
    for _ in range(2):
        told = arms(shop.post("again", "rollback", arm="b", leaving=shop.second))["b"]
        assert (told["state"], told["serves"]) == ("serving", shop.first)


def test_an_arm_that_ended_is_shown_with_who_ended_it(shop: Shop) -> None:
    shop.put("ends", arm("control", 50), arm("b", 50))
    told = arms(shop.post("ends", "end-arm", arm="b"))["b"]
    assert (told["state"], told["serves"], told["reason"]) == ("ended", None, "ended by anybody")
    assert shop.ready()["arms_not_serving"] == {"b": "ended by anybody"}


@pytest.mark.parametrize("action", ["publish", "rollback", "end-arm"])
def test_an_arm_that_there_is_not_is_refused_with_those_there_are(shop: Shop, action: str) -> None:
    name = f"names-{action}"
    shop.put(name, arm("control", 50), arm("b", 50))
    more = {"bundle": shop.second} if action == "publish" else {}
    assert refusal(shop.post(name, action, arm="c", **more)) == (
        404,
        "unknown_arm",
        f"experiment {name} has no arm 'c'; expected one of control, b",
    )


def test_an_unknown_experiment_cannot_be_ended(shop: Shop) -> None:
    assert refusal(shop.post("nobody", "end"))[:2] == (404, "unknown_experiment")


def test_an_arm_whose_bundle_is_gone_is_shown_with_the_reason_and_the_service_is_ready(shop: Shop) -> None:
    shop.put("gone", arm("control", 50), arm("b", 50))
    missing = "20260101T120000Z-x-00000000"
    Registry(shop.registry).change_experiments(lambda before: with_bundle(before, "gone", "b", missing, CREATED))
    wait_until(lambda: f"the registry has no bundle {missing!r}" in shop.ready()["arms_not_serving"].get("b", ""))
    running = shop.running()
    assert running is not None
    assert (running["arms"][1]["state"], running["arms"][1]["serves"]) == ("unavailable", None)


def test_a_damaged_document_of_experiments_is_shown_and_the_arms_go_on(shop: Shop) -> None:
    shop.put("whole", arm("control", 50), arm("b", 50))
    document = shop.registry / DOCUMENT
    kept = document.read_bytes()
    document.write_bytes(kept[:100])
    try:
        wait_until(lambda: "experiments.json is damaged" in shop.ready()["experiments"])
        assert refusal(shop.client.get("/experiments"))[:2] == (503, "registry_unavailable")
        assert 'reco_arm_unavailable{arm="b",experiment="whole"} 0.0' in shop.client.get("/metrics").text
        assert shop.client.get("/recommend/user-3").status_code == 200
    finally:
        document.write_bytes(kept)
    wait_until(lambda: shop.ready()["experiments"] == "current")


def send(client: httpx.Client, kind: str, users: Sequence[str]) -> None:
    events = [{"user_id": user, "item_id": "item-1", "kind": kind, "request_id": f"{user}-lists"} for user in users]
    client.post("/events", json={"events": events}).raise_for_status()


def test_a_report_counts_the_users_of_each_arm_and_what_they_did(shop: Shop) -> None:
    shop.put("counted", arm("control", 50), arm("b", 50))
    users = [f"user-{i}" for i in range(30)]
    send(shop.client, "impression", users)
    send(shop.client, "click", users[:10])
    report = shop.client.get("/experiments/counted").raise_for_status().json()
    assignment = Assignment("counted", [GivenArm(name="control", weight=50), GivenArm(name="b", weight=50)])
    assert {one["name"]: (one["users"], one["impressions"], one["clicks"]) for one in report["arms"]} == {
        name: (own.count(name), own.count(name), own[:10].count(name))
        for own in [[assignment.arm_of(user) for user in users]]
        for name in ("control", "b")
    }
    assert report["decision"].startswith("b: too little data")
    assert report["sample_ratio"]["passed"] is True


def test_a_report_tells_the_answers_and_the_memory_of_the_arms_bundles_here(shop: Shop) -> None:
    shop.put("here", arm("control", 50), arm("b", 50, shop.second))
    shop.client.get("/recommend/user-1?force_arm=b").raise_for_status()
    report = shop.client.get("/experiments/here").json()
    assert report["arms"][1]["traffic"]["answers"] == 1
    assert report["arms"][1]["traffic"]["p99_ms"] > 0
    assert report["memory"]["bundles"] == 2
    assert report["memory"]["bytes"] > report["memory"]["shared_bytes"]


def test_the_memory_of_a_report_has_the_shadow_too(shop: Shop) -> None:
    shop.put("shadowed", arm("a", 100), shadow={"bundle": shop.second}).raise_for_status()
    assert shop.client.get("/experiments/shadowed").json()["memory"]["bundles"] == 2


def test_a_report_warns_of_an_arm_that_serves_what_is_published(shop: Shop) -> None:
    shop.put("alike", arm("a", 50), arm("b", 50, shop.first)).raise_for_status()
    warning = "b serves the published bundle, as the control does: they differ by chance alone"
    assert warning in shop.client.get("/experiments/alike").json()["warnings"]


def test_a_report_on_an_earlier_phase_tells_which_arms_ended_since(shop: Shop) -> None:
    shop.put("since", arm("a", 40), arm("b", 30), arm("c", 30)).raise_for_status()
    shop.put("since", arm("a", 50), arm("b", 50)).raise_for_status()
    shop.post("since", "end-arm", arm="b").raise_for_status()
    report = shop.client.get("/experiments/since?phase=1").json()
    states = [(one["state"], one["reason"]) for one in report["arms"]]
    gone = "the experiment has no such arm since a later phase"
    assert states == [("serving", None), ("ended", "ended by anybody"), ("ended", gone)]
    assert not [warning for warning in report["warnings"] if "gets no user" in warning]


def test_only_what_is_wrong_with_an_arm_is_told(shop: Shop) -> None:
    told = "body: arms.0.weight: input should be less than or equal to 100, found '150.0'"
    assert refusal(shop.put("heavy", arm("a", 150.0))) == (422, "invalid_request", told)


def test_answers_of_an_earlier_experiment_leave_the_metrics_when_the_next_one_starts(shop: Shop) -> None:
    for name in ("earlier", "later"):
        shop.put(name, arm("a", 100)).raise_for_status()
        assert shop.client.get("/recommend/user-1").json()["experiment"] == name
        shop.post(name, "end").raise_for_status()
    lines = shop.client.get("/metrics").text.splitlines()
    found = [line for line in lines if line.startswith("reco_arm_answers_total{")]
    assert found == ['reco_arm_answers_total{arm="a",experiment="later",why="own"} 1.0']


def test_a_report_warns_of_an_arm_that_gets_no_user_here(shop: Shop) -> None:
    shop.put("warned", arm("control", 50), arm("b", 50))
    shop.post("warned", "end-arm", arm="b")
    assert "b ended by anybody; its users count until then" in shop.client.get("/experiments/warned").json()["warnings"]


def test_an_earlier_phase_is_reported_with_its_weights(shop: Shop) -> None:
    shop.put("phases", arm("control", 90), arm("b", 10))
    shop.put("phases", arm("control", 50), arm("b", 50))
    report = shop.client.get("/experiments/phases?phase=1").json()
    assert (report["phase"], [one["weight"] for one in report["arms"]]) == (1, [90, 10])
    assert report["until"] == report["experiment"]["phase_at"]
    assert refusal(shop.client.get("/experiments/phases?phase=3"))[:2] == (404, "unknown_phase")


def test_an_experiment_that_ended_keeps_its_report(shop: Shop) -> None:
    shop.put("kept", arm("control", 50), arm("b", 50))
    send(shop.client, "impression", ["user-1"])
    shop.post("kept", "end")
    report = shop.client.get("/experiments/kept").json()
    assert (report["experiment"]["state"], sum(one["users"] for one in report["arms"])) == ("ended", 1)
