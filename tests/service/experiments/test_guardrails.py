"""An arm whose answers are bad ends, or gets its bundle before; it is not blamed for what the control fails too."""

import asyncio
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from bundles import edited
from experiment_worlds import BY, NOW, metric, registry_of, running, two_arms
from lively import until
from servers import counted, serving, wait_until

from index.experiments import Guardrails
from index.gate_report import GateReport
from index.records import GateResult
from index.registry import Registry
from service.bundles.bundle_errors import SwapFailedError
from service.bundles.traffic import LISTS, Traffic
from service.experiments import guardrails
from service.experiments.guardrails import Comparison, Finding, GuardedArms, coverage
from service.experiments.transitions import declared, with_bundle
from service.items.item import GivenItem
from service.ranking.recommender import BundleRecommender
from service.settings import Settings
from service.state import Service

SETTINGS = Settings(registry=Path("none"))  # type: ignore[call-arg]
FAST_S, SLOW_S = 0.005, 0.8
LIMITS = Guardrails(min_requests=100)


def record(traffic: Traffic, n: int, failed: int = 0, *, seconds: float = FAST_S, callers: int = 4) -> None:
    """Answers to each of the callers."""
    for caller in range(callers):
        for i in range(n):
            traffic.record("/recommend/{user_id}", "4", f"caller-{caller}", seconds, fault=i < failed)


def compared(arm: Traffic, control: Traffic, **changes: Any) -> Comparison:
    return Comparison(arm, control, 0.0, **changes)


def fault(comparison: Comparison, limits: Guardrails = LIMITS, now: float = 1.0) -> tuple[str, bool] | None:
    found = comparison.find(limits, SETTINGS, now)
    return None if found is None else (found.fault, found.certain)


def test_an_arm_that_fails_requests_which_the_control_answers_is_found() -> None:
    arm, control = Traffic(), Traffic()
    comparison = compared(arm, control)
    record(arm, 100, failed=5)
    record(control, 1_000)
    found = comparison.find(LIMITS, SETTINGS, 1.0)
    assert found == Finding("errors", "5.0% of 300 requests failed, limit 1.0%", 0.01)
    assert fault(comparison, LIMITS.model_copy(update={"max_error_share": None})) is None


def test_an_arm_is_not_blamed_for_what_the_control_fails_too() -> None:
    arm, control = Traffic(), Traffic()
    comparison = compared(arm, control)
    record(arm, 100, failed=50)
    record(control, 100, failed=50)
    assert fault(comparison) is None


def test_an_arm_that_fails_while_nobody_asks_the_control_is_only_suspected() -> None:
    arm = Traffic()
    comparison = compared(arm, Traffic())
    record(arm, 100, failed=50)
    assert fault(comparison) == ("errors", False)


def test_an_arm_that_is_slower_than_the_control_by_more_than_the_ratio_is_found() -> None:
    arm, control = Traffic(), Traffic()
    comparison = compared(arm, control)
    record(arm, 100, seconds=SLOW_S)
    record(control, 100, seconds=SLOW_S / 1.5)
    assert fault(comparison) is None
    assert fault(comparison, LIMITS.model_copy(update={"max_p99_ratio": 1.1})) == ("slow", True)
    assert fault(comparison, LIMITS.model_copy(update={"max_p99_ratio": 1.1, "min_requests": 1_000})) is None


def test_what_one_caller_says_is_only_a_suspicion() -> None:
    arm, control = Traffic(), Traffic()
    comparison = compared(arm, control)
    record(arm, 400, seconds=SLOW_S, callers=1)
    record(control, 400, callers=1)
    assert fault(comparison) == ("slow", False)
    record(arm, 400, failed=400, callers=1)
    assert fault(comparison) == ("errors", False)


def test_answers_from_before_the_comparison_do_not_count() -> None:
    arm, control = Traffic(), Traffic()
    record(control, 1_000, failed=1_000)
    record(arm, 100, failed=100)
    comparison = compared(arm, control)
    assert fault(comparison) is None
    record(control, 100)
    record(arm, 100)
    assert fault(comparison) is None
    record(arm, 100, failed=10)
    assert fault(comparison) == ("errors", True)


def test_what_fails_late_is_found_however_long_all_went_well() -> None:
    arm, control = Traffic(), Traffic()
    comparison = compared(arm, control)
    for window in range(1, 10):
        record(arm, 1_000)
        record(control, 1_000)
        assert fault(comparison, now=window * guardrails.WINDOW_S) is None
    record(arm, 1_000, failed=50)
    assert fault(comparison, now=10 * guardrails.WINDOW_S) == ("errors", True)


def test_an_arms_new_bundle_is_compared_with_the_one_before_where_the_control_answers_little() -> None:
    arm, before = Traffic(), Traffic()
    record(before, 100)
    comparison = compared(arm, Traffic(), before=before)
    record(arm, 100, seconds=SLOW_S)
    assert fault(comparison) == ("slow", True)
    assert fault(replace(comparison, before=None)) is None


def shown(traffic: Traffic, lists: int, items: int) -> None:
    """Lists of ten of so many items, one to each user."""
    for user in range(lists):
        traffic.record_list(f"user-{user}", [(user * 10 + i) % items for i in range(10)])


def test_an_arm_that_shows_few_different_items_is_found() -> None:
    arm, control = Traffic(), Traffic()
    shown(arm, 200, items=40)
    shown(control, 1_000, items=100)
    found = coverage(arm, control, LIMITS)
    assert found == Finding("coverage", "200 lists show 40 different items, those of the control 100; limit 50%", 0.5)
    assert fault(compared(arm, control)) == ("coverage", True)
    assert coverage(arm, control, LIMITS.model_copy(update={"min_coverage": 0.4})) is None
    assert coverage(arm, control, LIMITS.model_copy(update={"min_coverage": None})) is None


def test_coverage_is_of_equally_many_lists_and_of_enough_of_them() -> None:
    arm, control = Traffic(), Traffic()
    shown(arm, 100, items=10_000)
    shown(control, 1_000, items=10_000)
    assert coverage(arm, control, LIMITS) is None
    assert coverage(control, arm, LIMITS) is None
    few = Traffic()
    shown(few, 99, items=10)
    assert coverage(few, control, LIMITS) is None


def test_the_lists_of_one_user_count_as_one_and_only_the_latest_users_are_remembered() -> None:
    traffic = Traffic()
    for _ in range(500):
        traffic.record_list("user-1", [1, 2, 3])
    assert (traffic.lists, traffic.distinct_items(1)) == (1, 3)
    shown(traffic, LISTS + 50, items=100_000)
    assert (traffic.lists, traffic.distinct_items(LISTS)) == (LISTS, 10 * LISTS)


def test_coverage_is_of_the_lists_that_users_of_arms_get_and_not_of_forced_ones(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[tuple[str, int]] = []
    monkeypatch.setattr(Traffic, "record_list", lambda _, user_id, rows: found.append((user_id, len(rows))))
    registry.change_experiments(partial(declared, name="trial", given=two_arms(None), move=BY))
    with serving(registry=registry.folder) as client:
        for path in ("user-1?k=7", "user-1?k=7", "user-2?k=6&force_arm=candidate"):
            client.get(f"/recommend/{path}").raise_for_status()
        client.get("/popular").raise_for_status()
    assert found == [("user-1", 7)], "the second one is a cached response"


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Three bundles that the gate let pass, of which the oldest serves."""
    return registry_of(tmp_path / "registry", 3)


def mute(bundle: Path) -> str:
    """The id of a bundle whose items no request can tell, so that every answer is a 500."""
    return edited(bundle, "items/bytes.npy", lambda text: text.fill(ord("x"))).name


def test_users_of_the_control_see_no_failure_while_an_arm_with_a_bad_bundle_gets_the_one_before(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guardrails, "CHECK_S", 0.01)
    monkeypatch.setattr(guardrails, "MOST_BUSY", 1.0)
    newest, middle, oldest = registry.ids()
    bad = mute(registry.path(newest))
    passed = GateReport(bundle_id=bad, checks=())
    registry.save_gate_report(bad, GateResult(at=NOW, report=passed))
    given = two_arms(middle, guardrails={"min_requests": 20})
    registry.change_experiments(partial(declared, name="trial", given=given, move=BY))
    settings = {"watch_min_requests": 20, "warm_up_requests": 0, "bundle_poll_s": 0.05, "answer_cache_mb": 0}
    statuses: dict[str, set[int]] = {"control": set(), "candidate": set()}
    with serving(registry=registry.folder, **settings) as client:
        arms = {f"user-{i}": client.get(f"/recommend/user-{i}").json()["arm"] for i in range(29)}

        def ask() -> bool:
            for user_id, arm in arms.items():
                statuses[arm].add(client.get(f"/recommend/{user_id}").status_code)
            return registry.record(bad).withdrawn is not None

        ask()
        registry.change_experiments(partial(with_bundle, name="trial", arm="candidate", bundle=bad, at=NOW))
        wait_until(ask)
        assert statuses == {"control": {200}, "candidate": {200, 500}}
        wait_until(lambda: client.get("/recommend/user-1?force_arm=candidate").json().get("bundle") == middle)
        series = 'reco_arm_endings_total{outcome="rolled_back",reason="errors"}'
        assert counted(client, series) == 1
    assert registry.current_id() == oldest


def answers(service: Service, arm: str) -> Traffic:
    slot = service.arms.served[arm].slot
    assert slot is not None
    return slot.loaded.traffic


async def answered(guarded: GuardedArms, service: Service, *, failed: int = 0) -> None:
    """Answers of both arms, of which some of the candidate's fail, between two checks."""
    await guarded.check()
    record(answers(service, "control"), 100)
    record(answers(service, "candidate"), 100, failed=failed)
    await guarded.check()


def guarded_by_hand(service: Service) -> GuardedArms:
    return GuardedArms(service.arms, service.experiments, service.settings, service.metrics, replica="replica-1")


def serves(service: Service) -> str:
    """The bundle that answers the candidate's users."""
    slot = service.arms.served["candidate"].slot
    assert slot is not None
    return slot.bundle_id


def ended(service: Service) -> str | None:
    move = service.arms.served["candidate"].arm.ended
    return None if move is None else move.why


def test_an_arm_whose_first_bundle_fails_ends_by_itself(registry: Registry) -> None:
    newest, _, _ = registry.ids()

    async def go() -> None:
        async with running(registry) as service:
            await service.experiments.declare("trial", two_arms(newest), by="test")
            await answered(guarded_by_hand(service), service, failed=50)
            assert (ended(service) or "").endswith("requests failed, limit 1.0%")
            assert registry.record(newest).withdrawn is None
            labels = {"reason": "errors", "outcome": "ended"}
            assert service.metrics.registry.get_sample_value("reco_arm_endings_total", labels) == 1
            assert metric(service, "reco_arm_ended", arm="candidate") == 1

    asyncio.run(go())


def test_an_arm_whose_new_bundle_fails_gets_the_one_before_and_the_bad_one_waits_for_a_person(
    registry: Registry,
) -> None:
    newest, middle, _ = registry.ids()

    async def go() -> None:
        async with running(registry) as service:
            await service.experiments.declare("trial", two_arms(middle), by="test")
            guarded = guarded_by_hand(service)
            await answered(guarded, service)
            await service.experiments.publish("trial", "candidate", newest, by="test")
            await answered(guarded, service, failed=50)
            assert serves(service) == middle
            assert ended(service) is None
            with pytest.raises(SwapFailedError, match=r"was withdrawn: .* requests failed"):
                await service.experiments.declare("trial", two_arms(newest, 20), by="test")
            await service.experiments.publish("trial", "candidate", newest, by="test")
            assert registry.record(newest).withdrawn is None
            assert serves(service) == newest

    asyncio.run(go())


@pytest.mark.parametrize("slow", [True, False])
def test_that_an_arm_is_slow_for_its_one_caller_must_be_confirmed_by_probes(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, slow: bool
) -> None:
    newest, _, _ = registry.ids()
    recommend, bad = BundleRecommender.recommend, []

    async def recommend_slowly(self: BundleRecommender, *arguments: Any, **options: Any) -> Any:
        await asyncio.sleep(0.06 if self in bad else 0)
        return await recommend(self, *arguments, **options)

    monkeypatch.setattr(BundleRecommender, "recommend", recommend_slowly)

    async def go() -> None:
        async with running(registry, watch_max_p99_ms=40) as service:
            await service.experiments.declare("trial", two_arms(newest), by="test")
            slot = service.arms.served["candidate"].slot
            assert slot is not None
            bad.extend([slot.loaded.recommender] if slow else [])
            guarded = guarded_by_hand(service)
            await guarded.check()
            record(answers(service, "control"), 400, callers=1)
            record(answers(service, "candidate"), 400, seconds=SLOW_S, callers=1)
            await guarded.check()
            assert ("a tenth of the probes take" in (ended(service) or "")) == slow

    asyncio.run(go())


def test_after_a_swap_of_the_control_only_answers_since_then_are_compared(registry: Registry) -> None:
    newest, middle, _ = registry.ids()

    async def go() -> None:
        async with running(registry) as service:
            await service.experiments.declare("trial", two_arms(middle), by="test")
            guarded = guarded_by_hand(service)
            await answered(guarded, service)
            registry.publish(newest)
            await service.bundles.swapper.poll()
            await guarded.check()
            record(answers(service, "control"), 100, failed=50)
            await answered(guarded, service, failed=50)
            assert ended(service) is None

    asyncio.run(go())


def test_a_bundle_that_an_arm_went_back_to_is_not_new(registry: Registry) -> None:
    newest, middle, oldest = registry.ids()

    async def go() -> None:
        async with running(registry) as service:
            await service.experiments.declare("trial", two_arms(oldest), by="test")
            for bundle_id in (middle, newest):
                await service.experiments.publish("trial", "candidate", bundle_id, by="test")
            guarded = guarded_by_hand(service)
            await answered(guarded, service)
            await service.experiments.roll_back("trial", "candidate", by="test", why="by hand")
            await answered(guarded, service, failed=50)
            assert (registry.record(middle).withdrawn, bool(ended(service))) == (None, True)

    asyncio.run(go())


def test_a_stored_item_begins_no_new_comparison(registry: Registry) -> None:
    newest, _, _ = registry.ids()

    async def go() -> None:
        async with running(registry) as service:
            await service.experiments.declare("trial", two_arms(newest), by="test")
            before = answers(service, "control"), answers(service, "candidate")
            await service.items.put({"item-3": GivenItem(title="Renamed")})
            await until(lambda: service.current.loaded.items.shown(3).name == "Renamed")
            assert (answers(service, "control"), answers(service, "candidate")) == before

    asyncio.run(go())


def test_of_two_processes_one_acts(registry: Registry) -> None:
    newest, middle, _ = registry.ids()

    async def go() -> None:
        async with running(registry) as service:
            control = service.experiments
            await control.declare("trial", two_arms(middle), by="test")
            await control.publish("trial", "candidate", newest, by="test")
            out = [
                await control.take_out("trial", "candidate", newest, by="test", why="bad", back=True) for _ in range(2)
            ]
            assert out == ["rolled_back", "done_by_another"]
            assert serves(service) == middle
            assert await control.take_out("trial", "candidate", middle, by="t", why="bad", back=True) == "ended"

    asyncio.run(go())
