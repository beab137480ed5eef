"""What a canary concludes from the answers of a new bundle and of the one before."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.bundles.canary import Verdict, judge, watch_limits
from service.bundles.traffic import MAX_TALLIES, SHARED_TALLIES, Tally, Traffic
from service.settings import Settings

FAST_S, SLOW_S = 0.005, 0.8
LISTS, SIMILAR, BATCHES = ("/recommend", "4"), ("/similar", "4"), ("/recommend/batch", "explain 9 7")
KINDS = st.sampled_from([LISTS, SIMILAR, BATCHES])
SECONDS = st.sampled_from([0.0, FAST_S, 0.15, SLOW_S, 30.0])
LIMITS = watch_limits(Settings(registry=Path("none")))  # type: ignore[call-arg]

Requests = list[tuple[tuple[str, str], float, bool, int]]
ANY = st.lists(st.tuples(KINDS, SECONDS, st.booleans(), st.integers(1, 400)), max_size=6)
FLOOD = st.sampled_from([1, 2_000])
FINE = st.lists(st.tuples(KINDS, st.just(FAST_S), st.just(False), st.integers(1, 100)), max_size=4)


def put(traffic: Traffic, caller: str, requests: Requests) -> None:
    """Record requests: their kind, their duration, whether they failed, and how many there are."""
    for kind, seconds, fault, n in requests:
        for _ in range(n):
            traffic.record(*kind, caller, seconds, fault=fault)


def of(**callers: Requests) -> Traffic:
    traffic = Traffic()
    for caller, requests in callers.items():
        put(traffic, caller, requests)
    return traffic


def named(callers: list[Requests]) -> dict[str, Requests]:
    return {f"shop-{i}": requests for i, requests in enumerate(callers)}


@given(before=st.lists(FINE, max_size=4), callers=st.lists(FINE, max_size=4), own=ANY, own_before=ANY)
def test_no_requests_of_one_caller_roll_a_bundle_back(
    before: list[Requests], callers: list[Requests], own: Requests, own_before: Requests
) -> None:
    new, old = of(**named(callers), attacker=own), of(**named(before), attacker=own_before)
    assert judge(new, [old], LIMITS).reason == ""


@given(crowd=st.tuples(KINDS, st.integers(2, 8), st.integers(10, 100)), own=ANY, own_before=ANY, flood=FLOOD)
def test_a_bundle_that_fails_a_tenth_of_several_callers_requests_goes_whatever_one_caller_does(
    crowd: tuple[tuple[str, str], int, int], own: Requests, own_before: Requests, flood: int
) -> None:
    kind, n, failing = crowd
    bad = [(kind, FAST_S, True, 2 * failing), (kind, FAST_S, False, 2 * (100 - failing))]
    own = [*own, (kind, 0.0, False, flood)]
    new, old = of(**named([bad] * n), attacker=own), of(attacker=own_before)
    assert "requests failed, limit 2.0%" in judge(new, [old], LIMITS).reason


@given(crowd=st.tuples(KINDS, st.integers(2, 8), st.integers(10, 100)), own=ANY, own_before=ANY, flood=FLOOD)
def test_a_bundle_that_is_slow_for_several_callers_goes_whatever_one_caller_does(
    crowd: tuple[tuple[str, str], int, int], own: Requests, own_before: Requests, flood: int
) -> None:
    kind, n, slow = crowd
    before = [(kind, FAST_S, False, 50)]
    now = [(kind, SLOW_S, False, 2 * slow), (kind, FAST_S, False, 2 * (100 - slow))]
    own = [*own, (kind, 0.0, False, flood)]
    new, old = of(**named([now] * n), attacker=own), of(**named([before] * n), attacker=own_before)
    assert "took longer than 100 ms and 3 times" in judge(new, [old], LIMITS).reason


MIX = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), min_size=1, max_size=6)


@given(before=MIX, now=MIX)
def test_another_mix_of_the_same_requests_is_no_slower_bundle(
    before: list[tuple[int, int]], now: list[tuple[int, int]]
) -> None:
    def mixed(mix: list[tuple[int, int]]) -> Traffic:
        return of(**named([[(LISTS, FAST_S, False, few), (BATCHES, SLOW_S, False, many)] for few, many in mix]))

    assert judge(mixed(now), [mixed(before)], LIMITS) == Verdict()


def test_callers_that_are_new_are_compared_with_those_of_before_where_there_were_many() -> None:
    few, many = ({f"{i}": [(LISTS, FAST_S, False, 3)] for i in range(n)} for n in (9, 10))
    new = of(**{f"new-{i}": [(LISTS, SLOW_S, False, 3)] for i in range(60)})
    assert judge(new, [of(**few)], LIMITS) == Verdict()
    assert judge(new, [of(**many)], LIMITS).reason.startswith("100.0% of 177 requests took longer")


def test_too_few_requests_say_nothing_and_one_callers_failures_are_a_suspicion() -> None:
    def failing(n: int) -> Requests:
        return [(LISTS, FAST_S, True, n)]

    assert judge(of(a=failing(49), b=failing(49)), [Traffic()], LIMITS) == Verdict()
    alone = judge(of(a=failing(100)), [Traffic()], LIMITS)
    assert alone == Verdict(suspicion="100.0% of 100 requests failed, limit 2.0%")
    assert judge(of(a=failing(100), b=failing(100)), [Traffic()], LIMITS).reason


def test_requests_that_failed_before_do_not_count() -> None:
    failing = [(BATCHES, FAST_S, True, 200)]
    callers = {"a": failing, "b": failing, "c": [(LISTS, FAST_S, False, 200)]}
    assert judge(of(**callers), [of(**callers)], LIMITS) == Verdict()
    assert judge(of(**callers), [of(a=failing)], LIMITS).reason, "only one caller's failed before"


@given(st.lists(st.floats(1e-5, 20), min_size=1, max_size=300))
def test_durations_are_known_to_a_fifth(seconds: list[float]) -> None:
    traffic = Traffic()
    for one in seconds:
        traffic.record(*LISTS, "a", one)
    ((_, _, tally),) = traffic.tallies()
    right = sorted(seconds)[-(len(seconds) // 100) - 1]
    assert right <= tally.p99_s <= 1.2 * right
    assert tally.slower_than(right * 1.2) <= len([one for one in seconds if one >= right])
    assert tally.slower_than(min(seconds) / 1.2) == len(seconds)
    assert Tally().p99_s == 0


def test_any_number_of_callers_takes_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.bundles.traffic.MAX_TALLIES", 100)
    traffic = Traffic()
    for i in range(1_000):
        traffic.record(*LISTS, f"caller-{i}", FAST_S)
    tallies = list(traffic.tallies())
    assert len(tallies) <= 100 + SHARED_TALLIES < MAX_TALLIES
    assert sum(tally.answers for _, _, tally in tallies) == 1_000
